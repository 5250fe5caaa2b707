"""What to look at: conditions of a run that are often a mistake, each by a threshold stated here.

A check gives the figure that it looked at whether or not it warns, so that the report shows what
was checked; a check whose figure the record does not hold is told apart from one that passed.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from gdro.core.diagnostics import read_interval
from gdro.core.types import Floats
from gdro.report.figures_training import source_groups
from gdro.report.panels import last_known
from gdro.report.read import Record, mapping

ENTROPY_LEFT = 0.1
"""Entropy of the last tenth of the steps over that of the first tenth."""
CUT_OFF = 0.05
"""Share of completions cut off at the limit, in the last tenth of the steps."""
ZERO_VARIANCE = 0.8
"""Share of groups without a gradient, mean of the run."""
INFORMATIVE = 0.5
"""Share of the steps in which the adversary's bins differ."""
REPEATED = 0.02
"""Share of the prompts of a batch that were trained on before, mean after the first tenth."""
VERIFIER = 0.005
"""Share of answers on which the verifier gave up: out of time, out of memory, or crashed."""
EARNS = 0.02
"""A source earns where its reward, or its mean@k, is above this share of the best source's."""
ENOUGH_STEPS = 20
"""A trend needs as many steps."""
GIVEN_UP = ("timed_out", "crashed", "out_of_memory")


@dataclass(frozen=True)
class Finding:
    """One check of a run.

    Attributes:
        name: what was checked.
        figure: what was found, in words; "" where the record does not hold it.
        threshold: when the check warns, in words.
        warns: whether it does.
        advice: what to do then, one sentence.
    """

    name: str
    figure: str
    threshold: str
    warns: bool
    advice: str


def findings(record: Record) -> list[Finding]:
    """Every check, those that warn first."""
    found = [check(record) for check in CHECKS]
    return sorted(found, key=lambda finding: not finding.warns)


def _entropy(record: Record) -> Finding:
    values = record.scalar("entropy")
    first, last = _ends(values)
    enough = len(record.steps) >= ENOUGH_STEPS and first > 0 and math.isfinite(last)
    left = last / first if enough else math.nan
    return Finding(
        "Entropy",
        f"{last:.3g} nats a token at the end, {left:.0%} of {first:.3g} at the start"
        if enough
        else "",
        f"below {ENTROPY_LEFT:.0%} of the start",
        left < ENTROPY_LEFT,
        "The policy has stopped exploring: lower learning_rate, raise epsilon_high (0.28 is"
        " common), or stop earlier.",
    )


def _cut_off(record: Record) -> Finding:
    _, last = _ends(record.scalar("completions_cut"))
    return Finding(
        "Answers cut off at the limit",
        f"{last:.1%} of the completions at the end" if math.isfinite(last) else "",
        f"above {CUT_OFF:.0%}",
        last > CUT_OFF,
        "A cut-off answer scores 0 whatever it was going to say: raise max_completion_length, or"
        " ask for shorter answers.",
    )


def _zero_variance(record: Record) -> Finding:
    share = _mean(record.scalar("zero_variance_share"))
    return Finding(
        "Groups without a gradient",
        f"{share:.0%} of the groups were all right or all wrong" if math.isfinite(share) else "",
        f"above {ZERO_VARIANCE:.0%}",
        share > ZERO_VARIANCE,
        "Most rollouts teach nothing: take a controller that chooses prompts (live_gdro), more"
        " rollouts a prompt, or data nearer to what the model can do.",
    )


def _adversary(record: Record) -> Finding:
    informative = record.scalar("signal_informative")[
        np.nansum(record.per_bin("share"), axis=1) > 0
    ]
    share = _mean(informative)
    spread = last_known(record.scalar("signal_spread"))
    settings = mapping(record.config.get("controller"))
    signal = settings.get("signal")
    spread_words = (
        f"; at the end the largest bin weight is {1.0 + spread:.3g} times the smallest"
        if math.isfinite(spread)
        else ""
    )
    return Finding(
        f"The adversary's `{signal}` signal" if isinstance(signal, str) else "The adversary",
        f"tells the bins apart in {share:.0%} of the steps{spread_words}"
        if math.isfinite(share)
        else "",
        f"in at most {INFORMATIVE:.0%}",
        share <= INFORMATIVE,
        "Its weights are as good as 1, so in this respect the run is plain GRPO: "
        + (
            "raise controller.eta, which turns differences between bins into weights."
            if signal in ("failure", "variance")
            else "train with --set controller.signal=failure (where the model fails) or variance"
            " (where a gradient exists)."
        ),
    )


def _repeats(record: Record) -> Finding:
    again = 1.0 - record.scalar("unseen_share")
    enough = len(record.steps) >= ENOUGH_STEPS and record.has("unseen_share")
    share = _mean(again[len(again) // 10 :]) if enough else math.nan
    idle = share <= REPEATED and not record.has_bins("share") and _controller(record) != "uniform"
    return Finding(
        "Prompts met before",
        f"{share:.0%} of a batch on average" if math.isfinite(share) else "",
        f"at most {REPEATED:.0%}, and no prompt ever had a bin",
        idle,
        "A prompt gets its bin on its second visit, so this controller had none to act on: train"
        " for more epochs, or take one that learns from sources (live_gdro).",
    )


def _one_prompt(record: Record) -> Finding:
    prompts = _mean(record.scalar("batch_prompts"))
    return Finding(
        "Prompts a batch",
        f"{prompts:,.0f}" if math.isfinite(prompts) else "",
        "below 2",
        prompts < 2,
        "Weights and rollouts are shared out among the prompts of a batch, and one prompt leaves"
        " nothing to share: raise prompts_per_step (TRL: steps_per_generation).",
    )


def _verifier(record: Record) -> Finding:
    totals = {
        name.removeprefix("verifier."): float(np.nansum(values))
        for name, values in record.scalars.items()
        if name.startswith("verifier.")
    }
    answers = sum(totals.values())
    share = sum(totals.get(cause, 0.0) for cause in GIVEN_UP) / answers if answers else math.nan
    return Finding(
        "Answers the verifier gave up on",
        f"{share:.2%} of {answers:,.0f} (out of time or memory, or crashed)" if answers else "",
        f"above {VERIFIER:.1%}",
        share > VERIFIER,
        "They score 0 without having been read: raise verifier.timeout or verifier.memory_mb, and"
        " look at what these answers are.",
    )


def _one_source(record: Record) -> Finding:
    rewards = _source_scores(record)
    best = max(rewards.values(), default=math.nan)
    earning = [name for name, value in rewards.items() if value > EARNS * best]
    several = len(rewards) >= 2 and best > 0
    return Finding(
        "Sources that earn a reward",
        f"{len(earning)} of {len(rewards)}"
        + (f": {earning[0] or '(no source)'}" if len(earning) == 1 else "")
        if several
        else "",
        f"only 1 above {EARNS:.0%} of the best",
        several and len(earning) == 1,
        "The other sources never see a reward: check how their answers are read (the completions"
        " below) before you blame the model.",
    )


def _source_scores(record: Record) -> dict[str, float]:
    """Mean reward of each source over the steps, else its mean@k at the last evaluation."""
    rewards = {
        name: _mean(columns["reward"])
        for name, columns in record.sources.items()
        if "reward" in columns
    }
    if not rewards and record.evaluations:
        rewards = {
            name: read_interval(entry.get("mean_at_k"))[0]
            for name, entry in source_groups(record.evaluations[-1]).items()
        }
    return {name: value for name, value in rewards.items() if math.isfinite(value)}


def _controller(record: Record) -> object:
    """The name of the controller; None where the record does not say."""
    given = record.config.get("controller")
    return mapping(given).get("name", given)


def _ends(values: Floats) -> tuple[float, float]:
    """Means of the first and of the last tenth of what is known."""
    known = values[np.isfinite(values)]
    if not known.size:
        return math.nan, math.nan
    size = max(1, len(known) // 10)
    return float(known[:size].mean()), float(known[-size:].mean())


def _mean(values: Floats) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if known.size else math.nan


CHECKS: tuple[Callable[[Record], Finding], ...] = (
    _adversary,
    _repeats,
    _one_prompt,
    _zero_variance,
    _cut_off,
    _entropy,
    _verifier,
    _one_source,
)
"""In the order in which they explain each other."""
