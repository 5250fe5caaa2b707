"""A thousand workers and late feedback: what controllers lose when rewards come back up to 8
versions old.

    OMP_NUM_THREADS=1 python benchmarks/scaling/delay.py    5 seeds, 120 versions: about 10 minutes
    python benchmarks/scaling/delay.py --tables             the tables of a measurement, as Markdown

One version of the policy is one batch: every worker generates the rollouts of one prompt, as the
plan says, with the policy of that version. Three schedules say when the rewards are observed:

    fixed   one plan a version; the rewards come exactly d versions later, in order
    random  one plan a version; its rewards come 0 to d versions later, so out of order
    teams   10 plans a version of 100 workers each; each team's rewards come 0 to d versions later

The learner makes one update of every plan that came back, however old (`teams`: one a version, of
all teams that answered in it). Population and learner are those of `gdro simulate`
(`gdro.lab.world`): true success rates are known. The same seed gives the same prompts and the same
random numbers for every delay and method, so differences from d = 0 are paired.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from gdro.controllers.controller import Controller
from gdro.controllers.parts.weighers import BinAdversary
from gdro.core.budget import project
from gdro.core.diagnostics import weighted_standard_error
from gdro.core.regret import RegretMeter
from gdro.core.signals import bin_means
from gdro.core.types import UNSEEN, Floats, Ints, Plan
from gdro.io import to_json
from gdro.lab.simulation import controller_of
from gdro.lab.stats import seed_interval
from gdro.lab.text import table
from gdro.lab.world import Examination, Learner, Learning, Population, World, draw_population

METHODS = ("prompt_gdro", "prompt_gdro:adversary=hedge", "rollout_gdro", "joint")
SCHEDULES = {"fixed": (0, 1, 2, 4, 8), "random": (1, 2, 4, 8), "teams": (0, 8)}
"""Delays of each; `random` at d = 0 is `fixed` at d = 0."""

LONGEST = 8
TEAMS = 10
OUTPUT = Path("runs/scaling/delay.json")


@dataclass(frozen=True)
class Setting:
    """One simulated run.

    Attributes:
        schedule: fixed, random or teams (see above).
        delay: d, the largest lag in versions.
        workers: prompts of a version; prompts: size of the population.
    """

    method: str
    seed: int
    schedule: str
    delay: int
    versions: int = 120
    workers: int = 1000
    prompts: int = 10_000
    mean_rollouts: int = 4
    learning: Learning = field(default_factory=Learning)


class Answer(NamedTuple):
    """A plan on its way: when its rewards are due (a version, then a random order within it), and
    what they will be."""

    due: tuple[int, float]
    plan: Plan
    rows: Ints
    correct: Ints


def simulate(setting: Setting) -> dict[str, float]:
    """Run one setting; regret and scores at the end, budget error over all plans, the rest over the
    last half."""
    teams = TEAMS if setting.schedule == "teams" else 1
    controller = controller_of(
        setting.method, mean_rollouts=setting.mean_rollouts, seed=setting.seed
    )
    world = World(prompts=setting.prompts)
    prompts = draw_population(world, world.prompts, setting.seed, 0)
    examination = Examination(draw_population(world, 4000, setting.seed, 1))
    start = np.zeros(world.dimensions)
    learner, thetas, waiting = Learner(start, setting.learning), [start], list[Answer]()
    seen: dict[str, list[float]] = defaultdict(list)
    meter = RegretMeter(controller.bins)
    for version in range(setting.versions):
        rng = np.random.default_rng((setting.seed, 20, version))
        batch = rng.choice(len(prompts.ids), setting.workers, replace=False)
        lags, turns = lags_of(setting, version, teams)
        plans = []
        for rows, lag, turn in zip(np.split(batch, teams), lags, turns, strict=True):
            plan = controller.plan([prompts.ids[row] for row in rows.tolist()])
            seen["budget_error"].append(abs(plan.total - len(rows) * setting.mean_rollouts))
            correct = rng.binomial(plan.rollouts, prompts.rates(learner.theta, rows))
            waiting.append(Answer((version + int(lag), float(turn)), plan, rows, correct))
            plans.append(plan)
        if version >= setting.versions // 2:
            old = thetas[max(version - setting.delay, 0)]
            for name, number in lag_of(
                controller, prompts, plans, batch, learner.theta, old
            ).items():
                seen[name].append(number)
        arrived = sorted((a for a in waiting if a.due[0] <= version), key=lambda answer: answer.due)
        waiting = [answer for answer in waiting if answer.due[0] > version]
        answers = [(a, observe(controller, a, meter, prompts, learner.theta)) for a in arrived]
        noise = np.random.default_rng((setting.seed, 21, version))
        for update in [answers] if teams > 1 and answers else [[answer] for answer in answers]:
            rows, correct = (
                np.concatenate([getattr(a, name) for a, _ in update])
                for name in ("rows", "correct")
            )
            counts = np.concatenate([a.plan.rollouts for a, _ in update])
            weights = np.concatenate([weight for _, weight in update])
            learner.learn(prompts.features[rows], correct, counts, weights, noise)
        learner.rest(start, rng)
        thetas.append(learner.theta)
    scores = examination.hold(setting.versions, learner.theta)
    return regret(controller, meter) | {
        "budget_error": max(seen.pop("budget_error")),
        "mean_at_8": scores["mean_at_k"],
        "pass_at_8": scores["pass_at_k"],
        **{name: float(np.mean(values)) for name, values in seen.items()},
    }


def lags_of(setting: Setting, version: int, teams: int) -> tuple[Ints, Floats]:
    """(teams,) versions until each team's rewards are back, and a random order among those of one
    version."""
    rng = np.random.default_rng((setting.seed, 22, version))
    lags = rng.integers(0, setting.delay + 1, teams)
    return (np.full(teams, setting.delay) if setting.schedule == "fixed" else lags), rng.random(
        teams
    )


def observe(
    controller: Controller, answer: Answer, meter: RegretMeter, prompts: Population, theta: Floats
) -> Floats:
    """Weights (M,) of a plan's prompts; and a round of the meter with the gains of the policy of
    this moment."""
    plan = answer.plan
    if isinstance(controller.parts.weigher, BinAdversary) and (plan.bins != UNSEEN).any():
        failure = bin_means(1.0 - prompts.rates(theta, answer.rows), plan.bins, controller.bins)
        meter.record(controller.parts.weigher.learner.probabilities(), failure)
    ends = np.cumsum(plan.rollouts)
    place = np.arange(plan.total) - np.repeat(ends - plan.rollouts, plan.rollouts)
    rewards = (place < np.repeat(answer.correct, plan.rollouts)).astype(np.float64)
    return controller.observe(plan.prompt_ids, np.split(rewards, ends[:-1])).weights


def regret(controller: Controller, meter: RegretMeter) -> dict[str, float]:
    """Per round: the controller's own regret and its bound, and the regret in gains of the policy
    of the moment."""
    if not isinstance(controller.parts.weigher, BinAdversary):
        return {}
    own = controller.parts.weigher.meter
    bound = controller.parts.weigher.learner.regret_bound(own.rounds)
    return {
        "regret": own.regret / own.rounds,
        "regret_bound": bound / own.rounds,
        "regret_now": meter.regret / meter.rounds,
    }


def lag_of(
    controller: Controller,
    prompts: Population,
    plans: Sequence[Plan],
    rows: Ints,
    theta: Floats,
    old: Floats,
) -> dict[str, float]:
    """One version's plans against the true rates of its policy: the difficulty lag, and the
    allocation's.

    Args:
        rows: (M,) the prompts of all plans, in their order.
        theta, old: the policy now and d versions ago.
    """
    rates, edges, mean = prompts.rates(theta, rows), controller.edges, controller.mean_rollouts
    bins = np.concatenate([plan.bins for plan in plans])
    rollouts = np.concatenate([plan.rollouts for plan in plans])
    true_bin = np.searchsorted(edges[1:-1], rates, side="right")
    known = bins != UNSEEN
    estimate = controller.belief([prompts.ids[row] for row in rows.tolist()]).rate[known]
    share = np.bincount(true_bin, minlength=controller.bins) / len(rows)
    variance = bin_means(rates * (1.0 - rates), true_bin, controller.bins)
    law = project(
        np.sqrt(variance[true_bin]),
        mean * len(rows),
        controller.min_rollouts,
        controller.max_rollouts,
    )

    def wse(given: Floats | Ints) -> float:
        present = share > 0.0
        by_bin = bin_means(given, true_bin, controller.bins)
        return float(weighted_standard_error(share[present], variance[present], by_bin[present]))

    at_once = rates * (1.0 - rates)
    return {
        "rate_moved": float(np.abs(rates - prompts.rates(old, rows)).mean()),
        "estimate_error": float(np.abs(estimate - rates[known]).mean()),
        "wrong_bin": float((bins[known] != true_bin[known]).mean()),
        "bins_off": float(np.abs(bins[known] - true_bin[known]).mean()),
        "wse_over_law": wse(rollouts) / wse(law) - 1.0,
        "wse_over_uniform": wse(rollouts) / wse(np.full(len(rows), mean)) - 1.0,
        "variance_over_law": float((at_once / rollouts).sum() / (at_once / law).sum()) - 1.0,
    }


def settings(
    base: Setting, methods: Sequence[str], schedules: Sequence[str], seeds: Sequence[int]
) -> list[Setting]:
    """Every method, schedule, delay and seed."""
    return [
        replace(base, method=method, seed=seed, schedule=schedule, delay=delay)
        for method in methods
        for schedule in schedules
        for delay in SCHEDULES[schedule]
        for seed in seeds
    ]


def summarize(runs: Sequence[tuple[Setting, dict[str, float]]]) -> list[dict[str, Any]]:
    """For each method, schedule and delay: mean and 95 % interval over seeds, and of the difference
    from d = 0."""
    found: dict[tuple[str, str, int], dict[int, dict[str, float]]] = defaultdict(dict)
    for setting, values in runs:
        found[setting.method, setting.schedule, setting.delay][setting.seed] = values
    rows = []
    for (method, schedule, delay), by_seed in found.items():
        first = found.get((method, "fixed" if schedule == "random" else schedule, 0), {})
        row: dict[str, Any] = {
            "method": method,
            "schedule": schedule,
            "delay": delay,
            "seeds": len(by_seed),
        }
        for name in next(iter(by_seed.values())):
            row[name] = asdict(seed_interval([values[name] for values in by_seed.values()]))
            if delay and first:
                row[name]["change"] = asdict(
                    seed_interval([by_seed[s][name] - first[s][name] for s in by_seed])
                )
        rows.append(row)
    return rows


COLUMNS = (
    ("regret", "regret a round", 4, 1),
    ("regret_bound", "bound", 3, 1),
    ("regret_now", "regret, gains of the moment", 4, 1),
    ("budget_error", "budget error", 0, 1),
    ("rate_moved", "rates moved in d", 4, 1),
    ("estimate_error", "error of estimates", 4, 1),
    ("wrong_bin", "wrong bin, %", 1, 100),
    ("wse_over_law", "WSE over the law's, %", 2, 100),
    ("variance_over_law", "variance over the law's, %", 1, 100),
    ("mean_at_8", "mean@8", 3, 1),
    ("pass_at_8", "pass@8", 3, 1),
)


def tables(rows: Sequence[dict[str, Any]]) -> str:
    """One table a schedule: values at d = 0, then values with the change from d = 0 and its 95 %
    interval."""
    parts = []
    for schedule in dict.fromkeys(row["schedule"] for row in rows):
        lines = []
        for row in (row for row in rows if row["schedule"] == schedule):
            cells = [_cell(row.get(name), digits, scale) for name, _, digits, scale in COLUMNS]
            lines.append([f"`{row['method']}`", str(row["delay"]), *cells])
        heads = ("method", "d", *(title for _, title, _, _ in COLUMNS))
        parts.append(f"### {schedule}\n\n{table(heads, lines)}")
    return "\n".join(parts)


def _cell(entry: dict[str, Any] | None, digits: int, scale: int) -> str:
    if entry is None or entry["value"] is None:
        return "-"
    text, change = f"{scale * entry['value']:.{digits}f}", entry.get("change")
    if change is None or change["high"] is None or change["value"] == change["low"] == 0.0:
        return text
    half = scale * (change["high"] - change["value"])
    return f"{text} ({scale * change['value']:+.{digits}f} ± {half:.{digits}f})"


def main(arguments: Sequence[str] | None = None) -> int:
    """Simulate, write the JSON, print the tables; 1 when a budget was not met."""
    base = Setting("", 0, "", 0)
    parser = argparse.ArgumentParser(
        description="Controllers under late feedback from many workers."
    )
    parser.add_argument("--methods", nargs="+", default=list(METHODS), metavar="METHOD")
    parser.add_argument(
        "--schedules", nargs="+", default=list(SCHEDULES), choices=SCHEDULES, metavar="SCHEDULE"
    )
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first-seed", type=int, default=10)
    for name in ("versions", "workers", "prompts"):
        parser.add_argument(f"--{name}", type=int, default=getattr(base, name))
    parser.add_argument(
        "--rate", type=float, default=base.learning.rate, help="the learner's step length"
    )
    parser.add_argument(
        "--output", type=Path, default=OUTPUT, metavar="FILE", help="JSON to write, or to read"
    )
    parser.add_argument(
        "--tables", action="store_true", help="print the tables of --output; simulate nothing"
    )
    chosen = parser.parse_args(arguments)
    if chosen.workers % TEAMS or not chosen.workers <= chosen.prompts:
        parser.error(f"--workers must be a multiple of {TEAMS} and at most --prompts")
    if chosen.versions < 3 * LONGEST:
        parser.error(
            f"--versions must be at least {3 * LONGEST}, so that feedback is there in the last half"
        )
    if not chosen.tables:
        base = replace(
            base,
            versions=chosen.versions,
            workers=chosen.workers,
            prompts=chosen.prompts,
            learning=replace(base.learning, rate=chosen.rate),
        )
        runs = []
        seeds = range(chosen.first_seed, chosen.first_seed + chosen.seeds)
        for setting in settings(base, chosen.methods, chosen.schedules, seeds):
            runs.append((setting, simulate(setting)))
            print(
                setting.method,
                setting.schedule,
                setting.delay,
                setting.seed,
                file=sys.stderr,
                flush=True,
            )
        text = to_json(summarize(runs), indent=1)
        chosen.output.parent.mkdir(parents=True, exist_ok=True)
        chosen.output.write_text(text + "\n", encoding="utf-8")
    rows = json.loads(chosen.output.read_text(encoding="utf-8"))
    print(tables(rows))
    return int(any(row["budget_error"]["value"] != 0.0 for row in rows))


if __name__ == "__main__":
    sys.exit(main())
