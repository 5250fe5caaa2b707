"""How much would a choice of prompts gain that knew every candidate's gradient, or success rate?

    make experiment PLAN=results/oracle_limit/plan.yaml
    python research/oracle.py runs/compare-oracle_limit/gradients/seed-*   # what these runs saw

Two selectors for `gdro train` and `gdro compare`, by their path. They are no methods but limits:
every `refresh` steps they sample fresh rollouts of a pool of training prompts, as many from each
source, and nobody charges them for it; no rollout that chooses is trained on. Until the next look
they choose from the pool, and with the share `explore` from all training prompts, as `live` does.

`GradientOracle`. With P the diagonal by which AdamW would multiply the next gradient, a visit of
prompt i raises the target, to first order, in proportion to

    G_i = U'_i(p_i) <grad p_i, d>,    d = P grad (mean success rate of the target prompts)

U'(p) grad p being the mean gradient of a visit under gdro's baseline (`posterior_slope`). The
target is the score that the comparison asks for, on prompts of its own: as many from each source,
none of them trained or evaluated on. No prompt's gradient is ever stored: <grad p_i, d> is the
covariance over rollouts y of the reward and of <grad log pi(y), d>, a central difference of log pi
along d. Prompts are drawn in proportion to max(G_i, 0)^power, G shrunk towards the mean of its
source as far as two halves of the rollouts disagree.

`RateOracle` is `live` with fresh rollouts of the pool's prompts added to their posteriors.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from transformers import TrainerCallback
from transformers.trainer import DEFAULT_CALLBACKS

from gdro.config import TrainConfig, load_config
from gdro.config.data import ReasoningGymData
from gdro.controllers.part import Batch
from gdro.controllers.parts.selectors import LEAST, Live, worth_of_next
from gdro.core.belief import Belief
from gdro.core.difficulty import bins_at
from gdro.core.errors import RunError
from gdro.core.hashing import Keys, exponentials, prompt_key
from gdro.core.outcome import Outcome
from gdro.core.state import State, read_array, read_float, read_int, read_state
from gdro.core.theory import posterior_slope
from gdro.core.types import Floats, Ints, Metric
from gdro.data.prompts import Prompt
from gdro.lab.text import table
from gdro.runs.folder import RunFolder
from gdro.runs.policy import Policy
from gdro.runs.prompts import RunPrompts, load_prompts
from gdro.runs.rewards import verifier_of
from gdro.verify import Verifier

sys.path.append(str(Path(__file__).parent))  # a part is loaded by its path alone
from gradient_batches import adam_step, cosine
from gradient_scores import Groups, Setting, by_source, drawn_evenly, rate_gradient, rate_slopes

TARGET_SEED = 1_000_003
"""Added to `data.seed`: of the target's prompts."""
TARGET_POOL, TARGET_PROMPTS, TARGET_ROLLOUTS = 60, 20, 8
"""Target prompts of each source in all, those of one look, and their rollouts."""
WORN = 5.0
"""Visits since the last look after which another is worth 1 / e of the first."""


class Insight(TrainerCallback):  # type: ignore[misc]
    """The run of this process, for a selector that may see what no selector may: its model and its
    optimizer. Every trainer of transformers makes one."""

    now: ClassVar[Insight | None] = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.model, self.optimizer = kwargs["model"], kwargs["optimizer"]
        self.tokenizer = kwargs["processing_class"]
        self.folder = RunFolder(Path(args.output_dir).parent)
        Insight.now = self

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        Insight.now = None
        if "verifier" in vars(self):
            self.verifier.close()

    @cached_property
    def config(self) -> TrainConfig:
        """The settings of the run."""
        return load_config(self.folder.config)

    @cached_property
    def verifier(self) -> Verifier:
        """Scores as the run's does."""
        return verifier_of(self.config.verifier, self.config.data)

    @cached_property
    def prompts(self) -> RunPrompts:
        """All that the run trains or is evaluated on."""
        return load_prompts(self.config.data)

    @cached_property
    def train(self) -> dict[str, list[Prompt]]:
        """Training prompts by source."""
        return by_source(self.prompts.train)

    @cached_property
    def target(self) -> dict[str, list[Prompt]]:
        """TARGET_POOL prompts by source, none of which has the text of a prompt that the run trains
        or is evaluated on."""
        data, count = self.config.data, len(self.train)
        if not isinstance(data, ReasoningGymData):
            raise RunError("an oracle's target is drawn by reasoning-gym; data.kind is another")
        taken = {str(prompt.messages) for prompt in [*self.prompts.train, *self.prompts.heldout]}
        other = data.model_copy(
            update={
                "seed": data.seed + TARGET_SEED,
                "size": count,
                "heldout_size": 2 * TARGET_POOL * count,
                "heldout_shares": "equal",
            }
        )
        fresh = load_prompts(other).heldout
        apart = by_source([prompt for prompt in fresh if str(prompt.messages) not in taken])
        for source in self.train:
            if len(apart.get(source, [])) < TARGET_POOL:
                raise RunError(f"source {source} has fewer than {TARGET_POOL} prompts for a target")
        return {source: apart[source][:TARGET_POOL] for source in self.train}

    def setting(self, prompts: Sequence[Prompt]) -> Setting:
        """The model of now with these prompts."""
        policy = Policy(self.model, self.tokenizer, "", self.config.data.chat_template_kwargs or {})
        encoded = [policy.encode(prompt) for prompt in prompts]
        config = self.config.for_model(policy.context)
        return Setting(config, policy, self.verifier, prompts, encoded)


DEFAULT_CALLBACKS.append(Insight)


@dataclass(kw_only=True, eq=False)
class Oracle(Live):
    """What the two have in common: a look every `refresh` steps, and a choice within its pool.

    The first batch, before any look, is drawn as many from each source.

    Attributes:
        pool: prompts of a look.
        refresh: steps from one look to the next.
        rollouts: of each prompt of a look.
    """

    pool: int = 520
    refresh: int = 25
    rollouts: int = 8

    pool_factor: ClassVar[int] = 1024
    """All training prompts of the default run."""

    def start(self) -> None:
        super().start()
        self.require(self.explore < 1.0, "explore", "must be below 1: an oracle chooses")
        self.require(self.pool >= 1, "pool", "must be at least 1 prompt")
        self.require(self.refresh >= 1, "refresh", "must be at least 1 step")
        self.require(self.rollouts >= 4, "rollouts", "must be at least 4: two halves, two of each")
        self.state = {
            "keys": np.zeros(self.pool, np.uint64),
            "size": 0,
            "right": np.zeros(self.pool),
            "used": np.zeros(self.pool, np.int64),
            "halves": np.zeros((2, self.pool)),
            "aim": 0.0,
        }

    def rank(self, batch: Batch) -> Floats:
        return exponentials(batch.keys) / self.oracle_chances(batch)

    def oracle_chances(self, batch: Batch) -> Floats:
        """(N,) chance of each candidate to be drawn first; they sum to 1."""
        at, known = self.seen(batch.prompts.keys)
        if not len(at):
            return _shares(1.0 / batch.prompts.source_sizes())
        chance = np.full(len(batch), self.explore / len(batch))
        chance[at] += (1.0 - self.explore) * _shares(self.worth(batch, at, known))
        return np.maximum(chance, LEAST / len(batch))

    def seen(self, keys: Keys) -> tuple[Ints, Ints]:
        """Which of these prompts are in the pool: their places here and there."""
        _, at, known = np.intersect1d(
            keys, self.state["keys"][: self.state["size"]], assume_unique=True, return_indices=True
        )
        return at, known

    def worth(self, batch: Batch, at: Ints, known: Ints) -> Floats:
        """(S,) what the candidates `at`, places `known` of the pool, are worth, 0 or more."""
        raise NotImplementedError

    def update(self, outcome: Outcome, before: Belief) -> None:
        super().update(outcome, before)
        self.state["used"][self.seen(outcome.prompts.keys)[1]] += 1
        if (outcome.step - 1) % self.refresh == 0:
            self.look(outcome.step)

    def look(self, step: int) -> None:
        """Sample a new pool with the policy of now."""
        run, seed = Insight.now, self.facts.seed * 1_000_003 + step
        if run is None:
            raise RunError(
                f"selector {self.name!r} looks into a run of gdro train, and there is none"
            )
        prompts = drawn_evenly(run.train, self.pool, seed)
        keys = np.array([prompt_key(prompt.id) for prompt in prompts], np.uint64)
        order, size = np.argsort(keys), len(prompts)
        setting = run.setting([prompts[place] for place in order.tolist()])
        training = run.model.training
        groups = setting.draw(self.rollouts, seed)
        run.model.eval()
        halves = self.measure(run, setting, groups, seed)
        run.model.train(training)
        self.state["size"], self.state["keys"][:size] = size, keys[order]
        self.state["right"][:size] = [rewards.sum() for rewards in groups.rewards]
        self.state["used"][:], self.state["halves"][:, :size] = 0, halves

    def measure(self, run: Insight, setting: Setting, groups: Groups, seed: int) -> Floats:
        """(2, M) slopes of the pool's prompts, for an oracle that wants them."""
        return np.zeros((2, len(groups.tokens)))

    def known_beta(self, batch: Batch, at: Ints, known: Ints) -> tuple[Floats, Floats]:
        """(N,) the posterior with the rollouts of the last look taken in."""
        a, b = (values.copy() for values in batch.belief.beta)
        a[at] += self.state["right"][known]
        b[at] += self.rollouts - self.state["right"][known]
        return a, b

    def live_worth(self, batch: Batch, at: Ints) -> Floats:
        """(S,) `live`'s chances of the candidates `at`, without its even share. Of each source as
        many are in the pool; each counts for as many as its source has for each in there."""
        groups = batch.prompts.groups
        stands_for = batch.prompts.source_sizes()[at] / np.bincount(groups[at])[groups[at]]
        return np.asarray((self.chances(batch)[at] - self.explore / len(batch)) * stands_for)

    def state_dict(self) -> State:
        own = {key: np.copy(v) if isinstance(v, np.ndarray) else v for key, v in self.state.items()}
        return {"oracle": own, "live": super().state_dict()}

    def load_state_dict(self, state: State) -> None:
        own = read_state(state, "oracle")
        self.state = {
            key: read_array(own, key, value)
            if isinstance(value, np.ndarray)
            else {int: read_int, float: read_float}[type(value)](own, key)
            for key, value in self.state.items()
        }
        super().load_state_dict(read_state(state, "live"))


@dataclass(kw_only=True, eq=False)
class RateOracle(Oracle):
    """`live` on success rates that are known: the posterior of each prompt of the pool has fresh
    rollouts in it."""

    rollouts: int = 16

    name: ClassVar[str] = "rate_oracle"

    def worth(self, batch: Batch, at: Ints, known: Ints) -> Floats:
        a, b = self.known_beta(batch, at, known)
        rate = a / (a + b)
        belief = Belief(bins_at(self.facts.edges, rate), batch.belief.visits, rate, a, b)
        return self.live_worth(replace(batch, belief=belief), at)


@dataclass(kw_only=True, eq=False)
class GradientOracle(Oracle):
    """The prompts whose gradients raise the target most.

    Attributes:
        power: of max(G, 0) in the chance of a prompt; the larger, the greedier.
    """

    power: float = 1.0

    name: ClassVar[str] = "gradient_oracle"

    def start(self) -> None:
        super().start()
        self.require(self.power > 0.0, "power", "must be above 0")
        self.saw: dict[str, Metric] = {}

    def measure(self, run: Insight, setting: Setting, groups: Groups, seed: int) -> Floats:
        target = run.setting(drawn_evenly(run.target, TARGET_PROMPTS * len(run.target), seed))
        count = len(target.prompts)
        answers = target.draw(TARGET_ROLLOUTS, seed + 1)
        parts = [rate_gradient(target, answers, range(first, count, 2)) for first in (0, 1)]
        whole = [0.5 * (left + right) for left, right in zip(*parts, strict=True)]
        step = adam_step(run.optimizer, whole, run.model)
        self.state["aim"] = cosine(*(adam_step(run.optimizer, part, run.model) for part in parts))
        return rate_slopes(setting, groups, step)

    def worth(self, batch: Batch, at: Ints, known: Ints) -> Floats:
        sources = np.unique(batch.prompts.groups[at], return_inverse=True)[1]
        before, after = batch.belief.beta, self.known_beta(batch, at, known)
        a, b, x, y = (values[at].tolist() for values in (*before, *after))
        n = self.facts.mean_rollouts
        slopes = [posterior_slope([x[i] / (x[i] + y[i])], n, a[i], b[i])[0] for i in range(len(at))]
        halves = self.state["halves"][:, known] * np.array(slopes)
        worn = worth_of_next(self.state["used"][known], WORN)
        share = trust(halves, sources)
        self.saw = {"oracle_aim": self.state["aim"], "oracle_trust": share}
        self.saw |= self.first_order(batch, at, halves, sources, worn)
        return self.gains(halves.mean(0), sources, share) * worn

    def gains(self, slopes: Floats, sources: Ints, share: float) -> Floats:
        """(S,) max(G, 0)^power of slopes that keep this share of their distance from the mean of
        their source."""
        means = (np.bincount(sources, slopes) / np.bincount(sources))[sources]
        found: Floats = np.maximum(means + share * (slopes - means), 0.0) ** self.power
        return found

    def first_order(
        self, batch: Batch, at: Ints, halves: Floats, sources: Ints, worn: Floats
    ) -> dict[str, Metric]:
        """What a visit gains to first order under five choices: as the data are, as many from each
        source, as `live` chooses, by the means of sources, by prompt. The last two choose by one
        half of the rollouts and are read off the other, so that no luck is counted."""
        mean, share = halves.mean(0), trust(halves, sources)
        as_they_are = batch.prompts.source_sizes()[at] / np.bincount(sources)[sources]
        by_source, by_prompt = (
            [_shares(self.gains(halves[k], sources, kept) * worn) @ halves[1 - k] for k in (0, 1)]
            for kept in (0.0, share / (2.0 - share))  # half of the rollouts deserve less trust
        )
        found = {
            "data": _shares(as_they_are) @ mean,
            "even": mean.mean(),
            "live": _shares(self.live_worth(batch, at)) @ mean,
            "by_source": np.mean(by_source),
            "by_prompt": np.mean(by_prompt),
        }
        return {f"gain_{name}": float(value) for name, value in found.items()}

    def metrics(self) -> dict[str, Metric]:
        return super().metrics() | self.saw


def trust(halves: Floats, sources: Ints) -> float:
    """The share of the variance within sources of the mean of two halves that is not noise."""
    counts = np.bincount(sources)
    centred = [half - (np.bincount(sources, half) / counts)[sources] for half in halves]
    seen = float((np.mean(centred, axis=0) ** 2).sum())
    return float(np.clip((centred[0] * centred[1]).sum() / seen, 0.0, 1.0)) if seen > 0.0 else 0.0


def _shares(worth: Floats) -> Floats:
    """Summing to 1; alike where nothing is worth anything."""
    total = worth.sum()
    return np.asarray(worth / total if total > 0.0 else np.full(len(worth), 1.0 / len(worth)))


FIGURES = ("oracle_aim", "oracle_trust")
GAINS = ("gain_data", "gain_even", "gain_live", "gain_by_source", "gain_by_prompt")
PARTS = 3
"""Of a run, one after the other."""


def rows(run: RunFolder) -> list[list[str]]:
    """A row a third of the run: gains in units of that of drawing every source alike.

    Raises:
        RunError: no run of a GradientOracle.
    """
    events = [json.loads(line) for line in run.record.read_text(encoding="utf-8").splitlines()]
    steps = [event["controller"] for event in events if event["event"] == "step"]
    seen = np.array([[s[key] for key in FIGURES + GAINS] for s in steps if GAINS[0] in s])
    if len(seen) < PARTS:
        raise RunError(f"{run.path}: fewer than {PARTS} steps of a GradientOracle in its record")
    found, end = [], len(steps) - len(seen)
    for part in np.array_split(seen, PARTS):
        end, mean = end + len(part), part.mean(0)
        gains = mean[len(FIGURES) :] / mean[len(FIGURES) + GAINS.index("gain_even")]
        numbers = [*mean[: len(FIGURES)].tolist(), *gains.tolist()]
        found.append([str(run.path), str(end), *(f"{number:.2f}" for number in numbers)])
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Print what finished runs of a GradientOracle saw."""
    parser = argparse.ArgumentParser(description="What finished runs of a GradientOracle saw.")
    parser.add_argument("runs", nargs="+", type=Path, help="folders of finished runs")
    chosen = parser.parse_args(arguments)
    heads = ["run", "to step", "aim", "trust", "data", "even", "live", "by source", "by prompt"]
    found = [row for path in chosen.runs if path.is_dir() for row in rows(RunFolder(path))]
    print(table(heads, found), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
