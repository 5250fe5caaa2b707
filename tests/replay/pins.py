"""What every preset decides on the streams of `world`, as digests: a change of any decision, at any
step, shows here.

A case is a controller with its options, and a way of meeting it:

    plain  plan, observe, losses where they are asked for, one batch after the other
    late   up to three plans wait; rewards come for a later plan first, prompts in another order;
           losses come two batches late; every seventh plan is cancelled

Each case is pinned in parts: what was selected, the rollouts of each plan, its bins, the weights,
the baselines and deviations, the metrics. `pins.json` holds for each part one short digest a step,
so that a failure names the first step that differs. Whole numbers and names count exactly, other
numbers to DIGITS significant digits.

`python tests/replay/pins.py [CASE ...]` writes the digests of these cases again, or of all of them:
do so only where a change of behaviour is meant, and say which in the changelog.
"""

from __future__ import annotations

import json
import math
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import world

import gdro

HERE = Path(__file__).parent
STEPS, PROMPTS, OFFERED, DIGITS, NOISE = 24, 16, 64, 8, 1e-12
PARTS = ("selected", "rollouts", "bins", "weights", "baselines", "metrics")

DEFAULT_RUN: dict[str, Any] = {"size_power": 0.25, "pace": 0.0005}
"""The options that published comparisons give live_gdro; text_gdro has them by itself."""
GRADED: dict[str, Any] = {"reward_range": (-1.0, 1.0)}

VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "live_gdro of gdro train": ("live_gdro", DEFAULT_RUN),
    "live_gdro of gdro train, graded": ("live_gdro", DEFAULT_RUN | GRADED),
    "live_gdro, pace alone": ("live_gdro", {"pace": 0.002}),
    "live_gdro, no repeats": ("live_gdro", {"repeats": None}),
    "live_gdro, repeats 2": ("live_gdro", {"repeats": 2.0}),
    "live_gdro, group baseline": ("live_gdro", {"baseline": "group"}),
    "live_gdro, on gradients": ("live_gdro", {"weigher": {"acts": "gradient"}}),
    "live_gdro, on both": ("live_gdro", {"weigher": {"acts": "both"}}),
    "live_gdro, live groups": ("live_gdro", {"allocator": "live_groups"}),
    "live_gdro, live groups from 1": ("live_gdro", {"allocator": "live_groups", "min_rollouts": 1}),
    "live_gdro, no exploration": ("live_gdro", {"explore": 0.0, "size_power": 1.0}),
    "live_gdro, 8 rollouts": ("live_gdro", {"mean_rollouts": 8, "max_rollouts": 24}),
    "live_gdro, exp3p": ("live_gdro", {"weigher": {"adversary": "exp3p"}}),
    "posterior_gdro, posterior baseline": ("posterior_gdro", {"baseline": "posterior"}),
    "posterior_gdro, posterior baseline, graded": (
        "posterior_gdro",
        {"baseline": "posterior"} | GRADED,
    ),
    "posterior_gdro, quick ageing": ("posterior_gdro", {"estimator": {"ageing": 0.8, "window": 5}}),
    "prompt_gdro, hedge": ("prompt_gdro", {"adversary": "hedge"}),
    "prompt_gdro, exp3p": ("prompt_gdro", {"adversary": "exp3p"}),
    "prompt_gdro, tsallis_inf": ("prompt_gdro", {"adversary": "tsallis_inf"}),
    "prompt_gdro, variance": ("prompt_gdro", {"signal": "variance", "weights": "omega"}),
    "prompt_gdro, surrogate": ("prompt_gdro", {"signal": "surrogate", "weights": "mean_one"}),
    "prompt_gdro, floor": ("prompt_gdro", {"weigher": {"share_floor": 0.05}}),
    "prompt_gdro, any_of_n": ("prompt_gdro", {"estimator": {"statistic": "any_of_n", "window": 5}}),
    "prompt_gdro, pass_at_k": ("prompt_gdro", {"estimator": {"statistic": "pass_at_k", "k": 4}}),
    "prompt_gdro, mean_reward": (
        "prompt_gdro",
        {"estimator": {"statistic": "mean_reward", "hysteresis": 0.0}} | GRADED,
    ),
    "prompt_gdro, edges": ("prompt_gdro", {"bins": [0.05, 0.3, 0.9]}),
    "rollout_gdro, surrogate": ("rollout_gdro", {"utility": "surrogate"}),
    "rollout_gdro, from 1": ("rollout_gdro", {"min_rollouts": 1}),
    "joint, uncoupled": ("joint", {"coupled": False}),
    "joint, surrogates": ("joint", {"signal": "surrogate", "allocator": {"utility": "surrogate"}}),
    "joint, 16 rollouts": ("joint", {"mean_rollouts": 16, "max_rollouts": 48}),
    "joint, graded": ("joint", GRADED),
    "random_ragged, from 1": ("random_ragged", {"min_rollouts": 1}),
    "sec, sources": ("sec", {"category": "source"}),
    "dump, sources": ("dump", {"category": "source", "span": 40}),
    "daro, dr_grpo": ("daro", {"advantage": "dr_grpo"}),
    "maxrl, sample deviation": ("maxrl", {"ddof": 1}),
}
SHOWN = ("uniform", "joint", "live_gdro of gdro train", "sec", "random_ragged", "paper")
"""The cases whose last metrics are pinned as they are, to be read."""


def cases() -> dict[str, tuple[str, dict[str, Any]]]:
    """Every preset as it is, then the variants."""
    return {name: (name, {}) for name in gdro.controller_names()} | VARIANTS


def make(case: str) -> gdro.Controller:
    """The controller of a case."""
    name, options = cases()[case]
    controller = gdro.make_controller(
        name, **({"mean_rollouts": 4, "max_rollouts": 12, "seed": 7} | options)
    )
    ids = world.prompt_ids()
    controller.describe(ids, [world.text(prompt_id) for prompt_id in ids])
    return controller


@dataclass
class Decisions:
    """What a controller did: for each part one entry a step."""

    selected: list[Any] = field(default_factory=list)
    rollouts: list[Any] = field(default_factory=list)
    bins: list[Any] = field(default_factory=list)
    weights: list[Any] = field(default_factory=list)
    baselines: list[Any] = field(default_factory=list)
    metrics: list[Any] = field(default_factory=list)

    def take(self, feedback: gdro.Feedback, metrics: Any) -> None:
        """Keep an answer, prompts by id."""
        ids = feedback.prompt_ids
        self.weights.append(dict(zip(ids, feedback.weights.tolist(), strict=True)))
        if feedback.baselines is None or feedback.deviations is None:
            self.baselines.append(None)
        else:
            terms = zip(feedback.baselines.tolist(), feedback.deviations.tolist(), strict=True)
            self.baselines.append(dict(zip(ids, terms, strict=True)))
        self.metrics.append(dict(metrics))

    def digests(self) -> dict[str, str]:
        """For each part the digests of its steps, one word each."""
        return {part: " ".join(map(digest, getattr(self, part))) for part in PARTS}


def digest(value: Any) -> str:
    """Six hexadecimal digits that stand for a value, keys in order."""
    return sha256(json.dumps(rounded(value), sort_keys=True).encode()).hexdigest()[:6]


def rounded(value: Any) -> Any:
    """The value with its numbers as text: whole ones exactly, others to DIGITS digits, what is
    nearly 0 as 0."""
    if isinstance(value, dict):
        return {key: rounded(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [rounded(entry) for entry in value]
    if isinstance(value, float):
        return f"{0.0 if abs(value) < NOISE else value:.{DIGITS - 1}e}"
    return value


def plain(
    controller: gdro.Controller, graded: bool = False, restart: Restart | None = None
) -> Decisions:
    """One batch after the other; `restart` may replace the controller between two steps."""
    out = Decisions()
    for step in range(STEPS):
        if restart is not None:
            controller = restart(controller)
        plan = next_plan(controller, step, out)
        ids = plan.prompt_ids
        answers = [
            world.rewards(i, step, n, graded)
            for i, n in zip(ids, plan.rollouts.tolist(), strict=True)
        ]
        out.take(controller.observe(ids, answers), controller.metrics())
        if controller.needs_losses:
            controller.observe_losses(ids, [world.loss(i, step) for i in ids])
    return out


Restart = Callable[[gdro.Controller], gdro.Controller]


def late(
    controller: gdro.Controller, graded: bool = False, restart: Restart | None = None
) -> Decisions:
    """Rewards and losses come late and out of order; some plans are cancelled."""
    out = Decisions()
    waiting: list[tuple[int, gdro.Plan]] = []
    losses: list[tuple[int, tuple[str, ...]]] = []
    for step in range(STEPS):
        if restart is not None:
            controller = restart(controller)
        waiting.append((step, next_plan(controller, step, out)))
        if step % 7 == 5:
            controller.cancel(waiting.pop(1)[1])
        if len(waiting) < 3:
            continue
        asked, plan = waiting.pop(step % 2)  # in turn the oldest and the one after it
        rollouts = dict(zip(plan.prompt_ids, plan.rollouts.tolist(), strict=True))
        ids = sorted(rollouts)
        answers = [world.rewards(i, asked, rollouts[i], graded)[::-1] for i in ids]
        out.take(controller.observe(ids, answers), controller.metrics())
        losses.append((asked, tuple(ids)))
        if controller.needs_losses and len(losses) > 2:
            told, batch = losses.pop(0)
            controller.observe_losses(batch, [world.loss(i, told) for i in batch])
    return out


def next_plan(controller: gdro.Controller, step: int, out: Decisions) -> gdro.Plan:
    """Choose where the controller chooses, and plan."""
    if controller.selects:
        out.selected.append(controller.select(world.candidates(step, OFFERED), PROMPTS))
        plan = controller.plan(out.selected[-1])
    else:
        plan = controller.plan(world.batch(step, PROMPTS))
    out.rollouts.append(dict(zip(plan.prompt_ids, plan.rollouts.tolist(), strict=True)))
    out.bins.append(dict(zip(plan.prompt_ids, plan.bins.tolist(), strict=True)))
    return plan


WAYS = {"plain": plain, "late": late}


def replay(case: str, way: str, restart: Restart | None = None) -> Decisions:
    """The case, met in that way."""
    controller = make(case)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return WAYS[way](controller, controller.reward_range[0] < 0.0, restart)


def readable(metrics: dict[str, Any]) -> dict[str, Any]:
    """Metrics as JSON: numbers to DIGITS digits, "nan" and "inf" as names."""

    def plain_number(value: Any) -> Any:
        if isinstance(value, list):
            return [plain_number(entry) for entry in value]
        if isinstance(value, float) and not math.isfinite(value):
            return str(value)
        return (
            float(np.format_float_scientific(value, DIGITS - 1))
            if isinstance(value, float)
            else value
        )

    return {key: plain_number(value) for key, value in metrics.items()}


def pinned() -> dict[str, Any]:
    """What is committed: of each case the digests by way, and the last metrics of those shown."""
    found: dict[str, Any] = json.loads((HERE / "pins.json").read_text())
    return found


def main(chosen: list[str]) -> None:
    """Write the digests of these cases, or of all, and the metrics that are shown."""
    pins = pinned() if chosen else {}
    for case in chosen or cases():
        decisions = {way: replay(case, way) for way in WAYS}
        pins[case] = {way: decided.digests() for way, decided in decisions.items()}
        if case in SHOWN:
            pins[case]["last metrics"] = readable(decisions["plain"].metrics[-1])
    (HERE / "pins.json").write_text(json.dumps(pins, indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
