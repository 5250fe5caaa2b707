"""One recorded stream of rewards, and what every adapter must make of it.

`stream.json` holds, for each step, the prompt ids of the batch and for each prompt more rewards
than a plan asks for: a prompt with a plan of n gets the first n. A controller that selects is
offered FACTOR candidates a prompt and rewarded by `world`, since it trains on other prompts than
were recorded. The batches are EPOCHS passes over PROMPTS prompts in the order that TRL's sampler
draws with SEED, so that a real trainer meets them by itself. Beside them are the digests of what
the bare core made of it. `python tests/replay/replay_stream.py` (needs torch) writes it again.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import world

import gdro
from gdro.engines.candidates import CandidatePool

HERE = Path(__file__).parent
CONTROLLERS: dict[str, dict[str, Any]] = {
    "uniform": {},
    "prompt_gdro": {"adversary": "exp3p"},
    "rollout_gdro": {},
    "joint": {},
    "sqrt_law": {},
    "paper": {},
    "posterior_gdro": {"baseline": "posterior"},
    "live_gdro": {"size_power": 0.25, "pace": 0.0005},
    "text_gdro": {},
    "sec": {},
}
MEAN_ROLLOUTS, MAX_ROLLOUTS, DIGITS = 4, 12, 8
PROMPTS, BATCH, EPOCHS, SEED, FACTOR = 48, 16, 8, 7, 2
TEXTS = [f"{place % 10}+{place // 10}=" for place in range(PROMPTS)]
"""What the prompts ask, in their order; every adapter tells them by itself."""


@dataclass(frozen=True)
class Step:
    """One batch: prompt ids, rewards[i] of at least MAX_ROLLOUTS, and a surrogate loss a prompt."""

    prompt_ids: list[str]
    rewards: list[list[float]]
    losses: list[float]

    def rewards_of(
        self, prompt_ids: Sequence[str], rollouts: Sequence[int], number: int
    ) -> list[list[float]]:
        """The rewards of a plan in step `number`: recorded for the recorded batch, the world's for
        a chosen one."""
        if list(prompt_ids) == self.prompt_ids:
            return [row[:n] for row, n in zip(self.rewards, rollouts, strict=True)]
        return [world.rewards(i, number, n) for i, n in zip(prompt_ids, rollouts, strict=True)]


@dataclass
class Replay:
    """What came out: the prompts chosen where the controller selects, rollouts and weights of each
    step, unweighted advantages where the controller sets baselines, and the hash of the final
    state."""

    chosen: list[list[str]] = field(default_factory=list)
    rollouts: list[list[int]] = field(default_factory=list)
    weights: list[list[float]] = field(default_factory=list)
    advantages: list[list[float]] = field(default_factory=list)
    state: str = ""

    def digest(self) -> str:
        """Of plans exactly and weights to DIGITS significant digits (exp may differ in the last bit
        between CPUs)."""
        numbers = [self.weights] + ([self.advantages] if self.advantages else [])
        rounded = [
            [[f"{number:.{DIGITS - 1}e}" for number in step] for step in steps] for steps in numbers
        ]
        chosen = [self.chosen] if self.chosen else []
        return sha256(json.dumps([self.rollouts, *rounded, *chosen]).encode()).hexdigest()


def make(name: str) -> gdro.Controller:
    """The controller under replay."""
    return gdro.make_controller(
        name, mean_rollouts=MEAN_ROLLOUTS, max_rollouts=MAX_ROLLOUTS, seed=SEED, **CONTROLLERS[name]
    )


def load_stream() -> list[Step]:
    """The recorded steps."""
    return [Step(**step) for step in json.loads((HERE / "stream.json").read_text())["steps"]]


def expected(name: str) -> str:
    """Digest that the bare core gave when the stream was recorded."""
    digest: str = json.loads((HERE / "stream.json").read_text())["digests"][name]
    return digest


def bare_core(name: str, steps: list[Step]) -> Replay:
    """The stream through the controller itself."""
    controller, out = make(name), Replay()
    controller.describe([name_of(place) for place in range(PROMPTS)], TEXTS)
    pool = pool_of(controller)
    for number, step in enumerate(steps):
        ids = step.prompt_ids if pool is None else pool.choose(step.prompt_ids, number)
        if pool is not None:
            out.chosen.append(ids)
        plan = controller.plan(ids)
        rewards = [np.array(row) for row in step.rewards_of(ids, plan.rollouts.tolist(), number)]
        out.rollouts.append(plan.rollouts.tolist())
        feedback = controller.observe(ids, rewards)
        out.weights.append(feedback.weights.tolist())
        if feedback.baselines is not None:
            unweighted = replace(feedback, weights=np.ones_like(feedback.weights))
            out.advantages.append(
                np.concatenate(gdro.group_advantages(rewards, feedback=unweighted)).tolist()
            )
        if controller.needs_losses:
            controller.observe_losses(step.prompt_ids, step.losses)
    out.state = gdro.state_hash(controller.state_dict())
    return out


def pool_of(controller: gdro.Controller) -> CandidatePool | None:
    """The candidates of a controller that selects: the prompts of the stream."""
    if not controller.selects:
        return None
    return CandidatePool(controller, [name_of(place) for place in range(PROMPTS)], FACTOR, SEED)


def name_of(place: int) -> str:
    """Id of the prompt at that place of the data set."""
    return f"recorded/{place}"


def _batches() -> Iterator[np.ndarray]:
    """(BATCH,) places of each step's prompts: one seeded permutation after the other, as in TRL's
    `RepeatSampler`."""
    import torch

    order = torch.Generator().manual_seed(SEED)
    for _ in range(EPOCHS):
        places = torch.randperm(PROMPTS, generator=order).numpy()
        yield from places.reshape(-1, BATCH)


def _record() -> list[dict[str, Any]]:
    """Prompts of all difficulties that slowly get easier, rewards 0 and 1."""
    random = np.random.default_rng(20261123)
    ability = random.uniform(0.0, 1.0, PROMPTS)
    steps = []
    for chosen in _batches():
        rewards = (random.random((BATCH, MAX_ROLLOUTS)) < ability[chosen, None]).astype(float)
        # exact in every sum and quotient
        losses = np.round(random.normal(0.0, 0.1, BATCH) * 1024.0) / 1024.0
        ids = [name_of(place) for place in chosen.tolist()]
        steps.append({"prompt_ids": ids, "rewards": rewards.tolist(), "losses": losses.tolist()})
        ability[chosen] += 0.05 * (1.0 - ability[chosen])
    return steps


def main() -> None:
    """Write stream.json."""
    recorded = _record()
    steps = [Step(**step) for step in recorded]
    digests = {name: bare_core(name, steps).digest() for name in CONTROLLERS}
    lines = ",\n".join(json.dumps(step) for step in recorded)
    (HERE / "stream.json").write_text(
        f'{{"digests": {json.dumps(digests, indent=1)},\n"steps": [{lines}]}}\n'
    )


if __name__ == "__main__":
    main()
