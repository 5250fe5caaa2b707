"""Each prompt's gradient variance on the real model, beside p (1 - p), which the square-root law
takes for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from gdro.core.advantages import AdvantageKind
from gdro.core.difficulty import bin_edges, bins_at
from gdro.core.types import Bools, Floats, Ints
from gdro.lab.stats import Estimate
from gradient_moments import (
    allocation_gains,
    group_variance,
    over_prompts,
    power_slope,
    rollout_variance,
)
from gradient_scores import Setting, score_gram


@dataclass(frozen=True)
class PromptVariances:
    """What was measured of M prompts.

    Attributes:
        rate: (M,) share of right answers in the screening rollouts.
        reward_variance: (M,) variance of a reward in them, unbiased; p (1 - p) for rewards of 0 and
            1.
        length: (M,) mean squared length of a score.
        single: (M,) variance of one rollout's gradient against the true baseline (the screening
            mean).
        kinds: (K,) kinds of advantage.
        sizes: (S,) sizes of a group.
        groups: (K, S, M) variance of a group's mean gradient.
    """

    rate: Floats
    reward_variance: Floats
    length: Floats
    single: Floats
    kinds: tuple[AdvantageKind, ...]
    sizes: tuple[int, ...]
    groups: Floats

    @property
    def standardised(self) -> Floats:
        """(M,) variance of one rollout's gradient with its advantage divided by the reward's
        standard deviation."""
        return np.divide(
            self.single,
            self.reward_variance,
            out=np.zeros(len(self.single)),
            where=self.reward_variance > 0.0,
        )

    @property
    def mixed(self) -> Bools:
        """(M,) prompts answered both right and wrong in the screening rollouts."""
        return self.reward_variance > 0.0

    def of_plan(self, kind: AdvantageKind, rollouts: Ints, weights: Floats) -> float:
        """Variance of the batch of the first prompts under a plan (m,) with weights (m,): sum w_i^2
        V_i(n_i) / m^2."""
        curve = self.groups[self.kinds.index(kind)]
        places = [self.sizes.index(int(n)) for n in rollouts]
        return float(
            (weights**2 * curve[places, np.arange(len(rollouts))]).sum() / len(rollouts) ** 2
        )


def measure_prompts(
    setting: Setting,
    kinds: Sequence[AdvantageKind],
    sizes: Sequence[int],
    *,
    screen: int,
    pool: int,
    seed: int,
    scale: torch.Tensor | None = None,
    tell: Callable[[str], None] = lambda text: None,
) -> PromptVariances:
    """Sample each prompt `screen` times for its success rate, and `pool` further times for its
    gradients.

    `scale` (D,) multiplies each coordinate of a gradient. A prompt whose pool has equal rewards
    that the screening shares has no gradient; its scores are not computed.
    """
    update, temperature = setting.config, setting.config.temperature
    first = setting.draw(screen, seed)
    drawn = setting.draw(pool, seed + 1)
    count = len(setting.prompts)
    length, single = np.zeros(count), np.zeros(count)
    groups = np.zeros((len(kinds), len(sizes), count))
    setting.policy.model.eval()
    for place, rewards in enumerate(drawn.rewards):
        if np.ptp(np.concatenate([rewards, first.rewards[place]])) == 0.0:
            length[place] = np.nan
            continue
        gram = score_gram(
            setting.policy.model,
            setting.encoded[place],
            drawn.tokens[place],
            temperature,
            scale=scale,
        )
        length[place] = float(np.diag(gram).mean())
        single[place] = rollout_variance(gram, rewards, float(first.rewards[place].mean()))
        for number, kind in enumerate(kinds):
            groups[number, :, place] = group_variance(
                gram,
                rewards,
                sizes,
                kind,
                ddof=update.advantage_ddof,
                clip=update.advantage_clip,
                seed=seed + place,
            )
        if (place + 1) % 16 == 0:
            tell(f"{place + 1} of {count} prompts")
    threshold = setting.config.correct_threshold
    return PromptVariances(
        np.array([(rewards >= threshold).mean() for rewards in first.rewards]),
        np.array([rewards.var(ddof=1) for rewards in first.rewards]),
        length,
        single,
        tuple(kinds),
        tuple(sizes),
        groups,
    )


@dataclass(frozen=True)
class BinRow:
    """One bin of success rate.

    Attributes:
        reward_variance, single, length: means over the bin's prompts.
        per_variance: single over reward_variance, relative to all prompts: 1 everywhere if the law
            holds.
        standardised: the variance with standardised advantages, relative to the mean over prompts
            of mixed bins.
    """

    number: int
    prompts: int
    reward_variance: float
    single: float
    length: float
    per_variance: Estimate
    standardised: Estimate


def by_bin(found: PromptVariances, bins: int, seed: int) -> list[BinRow]:
    """Bins with prompts that were answered both right and wrong, hardest first; intervals are over
    prompts."""
    mixed = np.flatnonzero(found.mixed)
    number = bins_at(bin_edges(bins), found.rate[mixed])
    overall = found.single[mixed].sum() / found.reward_variance[mixed].sum()
    level = found.standardised[mixed].mean()
    rows = []
    for b in range(bins):
        members = mixed[number == b]
        if not members.size:
            continue

        def ratio(rows: Ints, members: Ints = members) -> float:
            chosen = members[rows]
            return float(found.single[chosen].sum() / found.reward_variance[chosen].sum() / overall)

        def standard(rows: Ints, members: Ints = members) -> float:
            return float(found.standardised[members[rows]].mean() / level)

        rows.append(
            BinRow(
                b,
                members.size,
                float(found.reward_variance[members].mean()),
                float(found.single[members].mean()),
                float(found.length[members].mean()),
                over_prompts(ratio, members.size, seed),
                over_prompts(standard, members.size, seed),
            )
        )
    return rows


def law_figures(found: PromptVariances, seed: int) -> dict[str, Estimate]:
    """How well p (1 - p) stands for the measured variance, over prompts answered both right and
    wrong.

    Returns:
        slope: the b of variance = a (p (1 - p))^b; 1 if the law's model holds.
        law: variance of a batch of all prompts by the square-root law with the true p (1 - p),
            without bounds and with the baseline known, over that at equal rollouts.
        best: the same by the law with the measured variances; too low by the noise in them.
        best_bins: the same by the law with the measured mean variances of ten bins.
        top_tenth: share of the variance of one rollout that the tenth of the prompts with the
            highest holds.
    """
    mixed = np.flatnonzero(found.mixed)

    slope = over_prompts(
        lambda rows: power_slope(found.reward_variance[mixed[rows]], found.single[mixed[rows]]),
        mixed.size,
        seed,
    )
    held = np.where(found.mixed, np.maximum(found.single, 0.0), 0.0)
    number = bins_at(bin_edges(10), found.rate)

    def by_bins(rows: Ints) -> float:
        sums = np.bincount(number[rows], held[rows], minlength=10)
        means = sums / np.maximum(np.bincount(number[rows], minlength=10), 1)
        return allocation_gains(held[rows], means[number[rows]])[0]

    def top(rows: Ints) -> float:
        sorted_rows = np.sort(held[rows])
        return float(sorted_rows[-max(len(rows) // 10, 1) :].sum() / sorted_rows.sum())

    statistics: dict[str, Callable[[Ints], float]] = {
        "law": lambda rows: allocation_gains(held[rows], found.reward_variance[rows])[0],
        "best": lambda rows: allocation_gains(held[rows], found.reward_variance[rows])[1],
        "best_bins": by_bins,
        "top_tenth": top,
    }
    return {"slope": slope} | {
        name: over_prompts(of, len(held), seed) for name, of in statistics.items()
    }
