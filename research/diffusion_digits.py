"""Group-level direct rewards on real digits: every arm of a plan, five seeds, one table and one
figure.

    python research/diffusion_digits.py results/diffusion_digits --work runs/diffusion-digits
    python research/diffusion_digits.py results/diffusion_digits  # table and figure again

The folder holds plan.yaml, written before the run. One process trains every (seed, arm) of it on
one base, all arms of a seed on the same stored images, with the package's own trainer; what is done
is kept in the work folder, so that a second call goes on. Then it writes outcomes.npz, table.md,
figure.svg and samples.png beside the plan.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file

from gdro.diffusion.adapters import Adapters
from gdro.diffusion.config import DiffusionConfig, load_config
from gdro.diffusion.evaluation import Evaluation, evaluate, features, kernel_distance
from gdro.diffusion.families import Digits, digit_of, fingerprint
from gdro.diffusion.rewards import load_reward, score, written_rewards
from gdro.diffusion.store import GroupStore
from gdro.diffusion.training import Scored, Trainer
from gdro.io import to_json, write_atomic
from gdro.report.chart import Chart, extent
from gdro.report.palette import fixed

MEASURES = ("reward", "judge", "drift", "diversity", "realness")
"""Of an evaluation. realness: kernel distance to the real digits of the prompt's class; smaller is
better."""
WATCHED = ("winner_gap", "loser_gap", "rank_agreement", "grad_norm", "stating")
"""Of training, the mean over the steps since the evaluation before."""
SERIES = (*MEASURES, *WATCHED)
T_975 = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 8: 2.306, 9: 2.262}
"""Student's t at 97.5 %, by degrees of freedom."""
DIGITS = {"drift": 4, "realness": 4, "winner_gap": 4}


@dataclass(frozen=True)
class Job:
    """One training run of the plan."""

    arm: str
    seed: int
    settings: dict[str, Any]

    @property
    def name(self) -> str:
        """Names its file."""
        return f"{self.arm}--{self.seed}".replace("/", "__").replace(" ", "_").replace(",", "")


def jobs(plan: dict[str, Any]) -> Iterator[Job]:
    """Every run, all arms of a seed before the next seed, so that what is there can always be
    compared."""
    for seed in plan["seeds"]:
        for reward, arms in plan["arms"].items():
            for arm, settings in arms.items():
                yield Job(
                    f"{reward}/{arm}", seed, {"reward": reward} | plan["common"] | (settings or {})
                )


class Study:
    """The base, and the images and rewards of a seed, loaded once for all arms."""

    def __init__(self, work: Path, pictured: int) -> None:
        self.work, self.pictured = work, pictured
        self.family: Digits | None = None
        self.base = ""
        self.adapted = False
        self.data: dict[tuple[Any, ...], list[Scored]] = {}
        self.start: dict[tuple[Any, ...], Evaluation] = {}

    def config(self, job: Job) -> DiffusionConfig:
        """A job's settings."""
        settings = job.settings | {
            "seed": job.seed,
            "groups_dir": str(self.work / f"groups-{job.seed}"),
            "pretrained_model_name_or_path": str(self.work / "base"),
        }
        return load_config(
            "digits", [f"{key}={json.dumps(value)}" for key, value in settings.items()]
        )

    def run(self, job: Job) -> dict[str, Any]:
        """Train one arm; what every evaluation found and what it cost."""
        config = self.config(job)
        if self.family is None:
            self.family = Digits(config, tell)
            self.base = fingerprint(self.family.transformer)
            self.real = load_file(self.family.folder / "digits.safetensors")
        family = self.family
        began = time.process_time()
        conditions = family.encode(config.prompt_list)
        if self.adapted:  # before anything is sampled: the images of the next seed are the base's
            family.transformer.unload_lora()
        assert fingerprint(family.transformer) == self.base
        data = self.scored(config, conditions)
        self.adapted = True
        adapters = Adapters(family, config)
        trainer = Trainer(family, adapters, conditions, data, config)
        reward, judge = load_reward(config.reward, config), load_reward("judge", config)
        rows, block = [], []
        for step in range(config.max_train_steps + 1):
            if step:
                block.append(trainer.step(step))
            if step % config.validation_steps == 0:
                found = None if step else self.start.get((job.seed, config.reward))
                if found is None:
                    found = evaluate(family, conditions, data, config, reward, judge)
                if not step:
                    # the base's, the same for every arm
                    self.start = {(job.seed, config.reward): found}
                rows.append({"step": step} | self.measured(found, data, config) | watched(block))
                block = []
        last = found.images.reshape(
            len(data), config.num_validation_images, *found.images.shape[1:3]
        )[:, :6]
        return {
            "arm": job.arm,
            "seed": job.seed,
            "base": self.base,
            "settings": job.settings,
            "rows": rows,
            "cpu_seconds": round(time.process_time() - began, 2),
            "images": last.tolist() if job.seed == self.pictured else None,
        }

    def scored(self, config: DiffusionConfig, conditions: Any) -> list[Scored]:
        """The seed's images with this arm's reward; the last used stay in memory."""
        key = (config.seed, config.reward)
        if key not in self.data:
            store = GroupStore(Path(str(config.groups_dir)), config, self.base)
            store.open()
            assert self.family is not None
            store.sample(self.family, conditions, config, lambda done, total: None)
            reward = load_reward(config.reward, config)
            known = written_rewards(store, reward)
            stored = [store.read(name) for name in store.prompts]
            self.data = {
                key: [
                    Scored(one, row, score(store, one, reward, known))
                    for row, one in enumerate(stored)
                ]
            }
        return self.data[key]

    def measured(
        self, found: Evaluation, data: list[Scored], config: DiffusionConfig
    ) -> dict[str, float]:
        """The evaluation's own measures, and the distance to the real digits of each class."""
        count, real = config.num_validation_images, []
        for place, one in enumerate(data):
            of_class = self.real["images"][self.real["labels"] == digit_of(one.stored.prompt)][:200]
            pixels = ((of_class + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
            mine = found.images[place * count : (place + 1) * count]
            real.append(kernel_distance(features(mine), features(pixels)))
        return {name: found.fields[name] for name in MEASURES[:-1]} | {
            "realness": float(np.mean(real))
        }


def watched(block: list[dict[str, float]]) -> dict[str, float]:
    """Means over the steps of a block."""
    if not block:
        return dict.fromkeys(WATCHED, float("nan"))
    table = {name: np.array([step[name] for step in block]) for name in block[0]}
    table["winner_gap"] = table["winner_err"] - table["winner_err_ref"]
    table["loser_gap"] = table["loser_err"] - table["loser_err_ref"]
    return {name: float(np.nanmean(table[name])) for name in WATCHED}


def tell(text: str) -> None:
    """A line for who watches."""
    print(f"{time.strftime('%H:%M:%S')}  {text}", file=sys.stderr, flush=True)


def train_all(plan: dict[str, Any], work: Path) -> None:
    """Every run that is not there yet."""
    study, outcomes = Study(work, plan["seeds"][0]), work / "outcomes"
    outcomes.mkdir(parents=True, exist_ok=True)
    wanted = [job for job in jobs(plan) if not (outcomes / f"{job.name}.json").is_file()]
    for number, job in enumerate(wanted):
        found = study.run(job)
        write_atomic(outcomes / f"{job.name}.json", to_json(found))
        first, last = found["rows"][0], found["rows"][-1]
        tell(
            f"{number + 1}/{len(wanted)} {job.arm} seed {job.seed}: reward {first['reward']:.3f}"
            f" {last['reward']:.3f}, judge {first['judge']:.3f} {last['judge']:.3f}, drift"
            f" {last['drift']:.4f}, diversity {last['diversity'] / first['diversity']:.2f}, winner"
            f" gap {last['winner_gap']:.4f}, loser gap {last['loser_gap']:.4f},"
            f" {found['cpu_seconds']:.0f} CPU s"
        )


def collect(plan: dict[str, Any], work: Path, results: Path) -> None:
    """outcomes.npz: (arm, seed, evaluation, measure) of every run, and samples.png of the first
    seed."""
    found = [json.loads((work / "outcomes" / f"{job.name}.json").read_text()) for job in jobs(plan)]
    arms = list(dict.fromkeys(one["arm"] for one in found))
    seeds, steps = list(plan["seeds"]), [row["step"] for row in found[0]["rows"]]
    values = np.full((len(arms), len(seeds), len(steps), len(SERIES)), np.nan, np.float32)
    for one in found:
        table = [
            [np.nan if row[name] is None else row[name] for name in SERIES] for row in one["rows"]
        ]
        values[arms.index(one["arm"]), seeds.index(one["seed"])] = table
    np.savez_compressed(
        results / "outcomes.npz",
        values=values,
        arms=arms,
        seeds=seeds,
        steps=steps,
        series=SERIES,
        cpu_seconds=np.array(sum(one["cpu_seconds"] for one in found)),
        base=found[0]["base"],
    )
    pictures = {one["arm"]: one["images"] for one in found if one["images"] is not None}
    shown = [name for name in plan["pictured"] if name in pictures]
    sheets = [np.array(pictures[name], np.uint8) for name in shown]
    gap = np.full((sheets[0].shape[0] * sheets[0].shape[2], 4), 128, np.uint8)
    parts: list[Any] = []
    for sheet in sheets:
        count, columns, height, width = sheet.shape
        parts += [sheet.transpose(0, 2, 1, 3).reshape(count * height, columns * width), gap]
    whole = np.concatenate(parts[:-1], 1)
    Image.fromarray(whole).resize(
        (whole.shape[1] * 2, whole.shape[0] * 2), Image.Resampling.NEAREST
    ).save(results / "samples.png", optimize=True)


def write_summary(plan: dict[str, Any], results: Path) -> None:
    """table.md and figure.svg, from outcomes.npz alone."""
    with np.load(results / "outcomes.npz") as found:
        outcomes = {name: found[name] for name in found.files}
    write_atomic(results / "table.md", table(plan, outcomes))
    write_atomic(results / "figure.svg", figure(plan, outcomes))


def table(plan: dict[str, Any], outcomes: dict[str, Any]) -> str:
    """Every arm at the last evaluation: means over seeds with 95 % t-intervals."""
    values, series = outcomes["values"].astype(np.float64), list(outcomes["series"])
    first, last = values[0, :, 0], values[:, :, -1]
    pick = {name: series.index(name) for name in series}
    lines = [
        f"Step {outcomes['steps'][-1]}, {len(outcomes['seeds'])} seeds, mean and 95 % t-interval;"
        " base "
        f"{outcomes['base']}, {float(outcomes['cpu_seconds']) / 60:.0f} CPU minutes.",
        "",
        "| reward / arm | reward | judge | drift | distance to real | diversity | winner gap"
        " | loser gap |",
        "|---|---|---|---|---|---|---|---|",
        "| base | " + " | ".join(_cell(first[:, pick[name]]) for name in ("reward", "judge"))
        + " | "
        + " | ".join(_cell(first[:, pick[name]], 4) for name in ("drift", "realness"))
        + " | 1 | | |",
    ]  # fmt: skip
    for arm, row in zip(outcomes["arms"], last, strict=True):
        ratio = row[:, pick["diversity"]] / first[:, pick["diversity"]]
        cells = [
            _cell(row[:, pick[name]], DIGITS.get(name, 3))
            for name in ("reward", "judge", "drift", "realness")
        ]
        gaps = [_cell(row[:, pick[name]], 4) for name in ("winner_gap", "loser_gap")]
        lines.append(f"| {arm} | " + " | ".join([*cells, _cell(ratio), *gaps]) + " |")
    lines += [
        "",
        *_against(plan, outcomes, last, pick),
        "",
        *_at_equal_drift(plan, outcomes, last, pick),
    ]
    return "\n".join(lines) + "\n"


def _against(
    plan: dict[str, Any], outcomes: dict[str, Any], last: Any, pick: dict[str, int]
) -> list[str]:
    """The differences that the plan asks for, seed by seed."""
    arms = list(outcomes["arms"])
    lines = [
        "| difference | reward | judge | drift | distance to real | winner gap |",
        "|---|---|---|---|---|---|",
    ]
    for one, other in plan["differences"]:
        gap = last[arms.index(one)] - last[arms.index(other)]
        names = ("reward", "judge", "drift", "realness", "winner_gap")
        lines.append(
            f"| {one} − {other} | "
            + " | ".join(_cell(gap[:, pick[name]], mark=True) for name in names)
            + " |"
        )
    return lines


def _at_equal_drift(
    plan: dict[str, Any], outcomes: dict[str, Any], last: Any, pick: dict[str, int]
) -> list[str]:
    """Each method's measures where its range of betas crosses one drift, interpolated in log drift
    seed by seed."""
    arms, goal = list(outcomes["arms"]), float(plan["at_drift"])
    names = ("reward", "judge", "realness")
    lines = [
        f"| at drift {goal} | reward | judge | distance to real | seeds in range |",
        "|---|---|---|---|---|",
    ]
    found = {}
    for method, members in plan["frontiers"].items():
        rows = last[[arms.index(name) for name in members]]
        table = np.full((rows.shape[1], len(names)), np.nan)
        for seed in range(rows.shape[1]):
            drift = np.maximum(rows[:, seed, pick["drift"]], 1e-6)
            order = np.argsort(drift)
            if drift.min() <= goal <= drift.max():
                table[seed] = [
                    np.interp(np.log(goal), np.log(drift[order]), rows[order, seed, pick[name]])
                    for name in names
                ]
        found[method] = table
        lines.append(_row(method, table))
    methods = list(found)
    lines += [
        _row(f"{methods[0]} − {other}", found[methods[0]] - found[other], mark=True)
        for other in methods[1:]
    ]
    return lines


def _row(label: str, table: Any, mark: bool = False) -> str:
    known = table[np.isfinite(table).all(1)]
    cells = [
        _cell(known[:, column], digits, mark=mark) if len(known) > 1 else "–"
        for column, digits in enumerate((3, 3, 4))
    ]
    return f"| {label} | " + " | ".join(cells) + f" | {len(known)} |"


def _cell(values: Any, digits: int = 3, *, mark: bool = False) -> str:
    """`0.912 ± 0.003`; a star where a difference's interval leaves 0 out."""
    half = T_975[len(values) - 1] * values.std(ddof=1) / np.sqrt(len(values))
    star = " *" if mark and abs(values.mean()) > half else ""
    return f"{values.mean():.{digits}f} ± {half:.{digits}f}{star}"


def figure(plan: dict[str, Any], outcomes: dict[str, Any]) -> str:
    """A panel a group of arms that the plan names: a measure against drift, a dot an evaluation,
    means over seeds."""
    arms, series = list(outcomes["arms"]), list(outcomes["series"])
    mean = outcomes["values"].astype(np.float64).mean(1)
    drift = mean[:, :, series.index("drift")]
    parts = []
    for number, panel in enumerate(plan["panels"]):
        measure = mean[:, :, series.index(panel["measure"])]
        chosen = [(label, arms.index(arm)) for label, arm in panel["arms"].items()]
        x = extent(*(drift[at] for _, at in chosen), zero=True)
        chart = Chart(
            x,
            extent(*(measure[at] for _, at in chosen)),
            panel["title"],
            panel["title"],
            width=400,
            right=90,
        )
        chart.y_axis()
        chart.x_axis("drift from the base")
        for colour, (_, at) in enumerate(chosen):
            chart.line(drift[at], measure[at], colour)
            for one, other in zip(drift[at], measure[at], strict=True):
                chart.dot(float(one), float(other), colour, radius=2.5)
        chart.end_labels(
            [(float(measure[at, -1]), label, colour) for colour, (label, at) in enumerate(chosen)]
        )
        place = f'x="{number % 2 * 420}" y="{number // 2 * 240}" width="400" height="220"'
        parts.append(chart.svg(f"p{number}").replace("<svg ", f"<svg {place} ", 1))
    height = (len(plan["panels"]) + 1) // 2 * 240
    body = fixed("".join(parts))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 820 {height}"'
        f' font-family="sans-serif"><rect width="820" height="{height}"'
        f' fill="#ffffff"/>{body}</svg>\n'
    )


def main() -> None:
    """See the file's docstring."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "results", type=Path, help="the folder of plan.yaml, where table and figure go"
    )
    parser.add_argument(
        "--work", type=Path, help="base, images and single outcomes; without it nothing is trained"
    )
    chosen = parser.parse_args()
    plan = yaml.safe_load((chosen.results / "plan.yaml").read_text(encoding="utf-8"))
    if chosen.work is not None:
        torch.set_num_threads(1)
        train_all(plan, chosen.work)
        collect(plan, chosen.work, chosen.results)
    write_summary(plan, chosen.results)


if __name__ == "__main__":
    main()
