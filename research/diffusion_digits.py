"""Group-level direct rewards on real digits: every arm of a plan, five seeds, one table and one figure.

    python research/diffusion_digits.py results/diffusion_digits --work runs/diffusion-digits

The folder holds plan.yaml, written before the run. One process trains every (seed, arm) of it on one base, and all arms
of a seed and a guidance on the same stored images; what is done is kept in the work folder, so that a second call goes
on. Left out: nothing of the package's trainer is replaced, but checkpoints and reports of the single runs are not
written.
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
from safetensors.torch import load_file

from gdro.diffusion.adapters import Adapters
from gdro.diffusion.config import DiffusionConfig, load_config
from gdro.diffusion.evaluation import Evaluation, evaluate
from gdro.diffusion.families import Digits, digit_of, fingerprint
from gdro.diffusion.measures import features, kernel_distance
from gdro.diffusion.rewards import load_reward, score, written_rewards
from gdro.diffusion.store import GroupStore
from gdro.diffusion.training import Scored, Trainer
from gdro.io import to_json, write_atomic

MEASURES = ("reward", "judge", "drift", "diversity", "realness")
"""Of an evaluation. realness: kernel distance to the real digits of the prompt's class; smaller is better."""
WATCHED = ("winner_gap", "loser_gap", "rank_agreement", "grad_norm", "stating")
"""Of training, the mean over the steps since the evaluation before."""


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
    """Every run, all arms of a seed before the next seed, so that what is there can always be compared."""
    for seed in plan["seeds"]:
        for reward, arms in plan["arms"].items():
            for arm, settings in arms.items():
                yield Job(f"{reward}/{arm}", seed, {"reward": reward} | plan["common"] | (settings or {}))


class Study:
    """The base, and the images and rewards of a seed, loaded once for all arms."""

    def __init__(self, work: Path) -> None:
        self.work = work
        self.family: Digits | None = None
        self.base = ""
        self.data: dict[tuple[Any, ...], list[Scored]] = {}

    def config(self, job: Job) -> DiffusionConfig:
        """A job's settings."""
        settings = job.settings | {
            "seed": job.seed,
            "groups_dir": str(self.work / f"groups-{job.seed}"),
            "pretrained_model_name_or_path": str(self.work / "base"),
        }
        return load_config("digits", [f"{key}={json.dumps(value)}" for key, value in settings.items()])

    def run(self, job: Job) -> dict[str, Any]:
        """Train one arm; what every evaluation found and what it cost."""
        config = self.config(job)
        if self.family is None:
            self.family = Digits(config, tell)
            self.base = fingerprint(self.family.transformer)
            self.real = load_file(self.family.folder / "digits.safetensors")
        family = self.family
        began = time.process_time()
        told = family.encode(config.prompt_list)
        data = self.scored(config, told)
        if "default" in (getattr(family.transformer, "peft_config", None) or {}):
            family.transformer.delete_adapters("default")
        adapters = Adapters(family, config)
        trainer = Trainer(family, adapters, told, data, config)
        reward, judge = load_reward(config.reward, config), load_reward("judge", config)
        rows, block = [], []
        for step in range(config.max_train_steps + 1):
            if step:
                block.append(trainer.step(step))
            if step % config.validation_steps == 0:
                with adapters.averaged():
                    found = evaluate(family, told, data, config, reward, judge)
                rows.append({"step": step} | self.measured(found, data, config) | watched(block))
                block = []
        last = found.images.reshape(len(data), config.num_validation_images, *found.images.shape[1:3])[:, :6]
        return {
            "arm": job.arm,
            "seed": job.seed,
            "base": self.base,
            "settings": job.settings,
            "rows": rows,
            "cpu_seconds": round(time.process_time() - began, 2),
            "images": last.tolist() if job.seed == 0 else None,
        }

    def scored(self, config: DiffusionConfig, told: Any) -> list[Scored]:
        """The seed's images with this arm's reward; the last used stay in memory."""
        key = (config.seed, config.reward)
        if key not in self.data:
            store = GroupStore(Path(str(config.groups_dir)), config, self.base)
            store.open()
            assert self.family is not None
            store.sample(self.family, told, config, lambda done, total: None)
            reward = load_reward(config.reward, config)
            known = written_rewards(store, reward)
            stored = [store.read(name) for name in store.prompts]
            self.data = {key: [Scored(one, row, score(store, one, reward, known)) for row, one in enumerate(stored)]}
        return self.data[key]

    def measured(self, found: Evaluation, data: list[Scored], config: DiffusionConfig) -> dict[str, float]:
        """The evaluation's own measures, and the distance to the real digits of each class."""
        count, real = config.num_validation_images, []
        for place, one in enumerate(data):
            of_class = self.real["images"][self.real["labels"] == digit_of(one.stored.prompt)][:200]
            pixels = ((of_class + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
            mine = found.images[place * count : (place + 1) * count]
            real.append(kernel_distance(features(mine), features(pixels)))
        return {name: found.fields[name] for name in MEASURES[:-1]} | {"realness": float(np.mean(real))}


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
    study, outcomes = Study(work), work / "outcomes"
    outcomes.mkdir(parents=True, exist_ok=True)
    wanted = [job for job in jobs(plan) if not (outcomes / f"{job.name}.json").is_file()]
    for number, job in enumerate(wanted):
        found = study.run(job)
        write_atomic(outcomes / f"{job.name}.json", to_json(found))
        first, last = found["rows"][0], found["rows"][-1]
        tell(
            f"{number + 1}/{len(wanted)} {job.arm} seed {job.seed}: reward {first['reward']:.3f} {last['reward']:.3f}, "
            f"judge {first['judge']:.3f} {last['judge']:.3f}, drift {last['drift']:.4f}, diversity "
            f"{last['diversity'] / first['diversity']:.2f}, winner gap {last['winner_gap']:.4f}, loser gap "
            f"{last['loser_gap']:.4f}, {found['cpu_seconds']:.0f} CPU s"
        )


def main() -> None:
    """See the file's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, help="the folder of plan.yaml, where table and figure go")
    parser.add_argument("--work", type=Path, required=True, help="base, images and single outcomes")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    plan = yaml.safe_load((chosen.results / "plan.yaml").read_text(encoding="utf-8"))
    train_all(plan, chosen.work)


if __name__ == "__main__":
    main()
