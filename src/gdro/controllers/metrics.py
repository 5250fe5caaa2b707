"""What every controller reports of a step: plain numbers, and lists with one value for each bin."""

from __future__ import annotations

import math

import numpy as np

from gdro.controllers.part import Facts
from gdro.core import signals
from gdro.core.belief import Belief, live_probability
from gdro.core.diagnostics import weighted_standard_error
from gdro.core.outcome import Outcome
from gdro.core.types import UNSEEN, Floats, Ints, Metric


def batch_metrics(
    outcome: Outcome, before: Belief, weights: Floats, mass: Ints, facts: Facts
) -> dict[str, Metric]:
    """Metrics of one observed batch, all by the bins of its plan.

    Args:
        mass: (B,) visited prompts of each bin, before this batch.
    """
    bins, counts, count = outcome.bins, outcome.counts, len(mass)
    binned = bins[bins != UNSEEN]
    share = signals.bin_shares(bins, count)
    seen = int(mass.sum())
    correct = outcome.correct
    mean_reward = outcome.rewards.mean()
    rollouts = signals.bin_means(counts, bins, count)
    variance = signals.pooled_variance(outcome.squares, counts, bins, count)
    metrics: dict[str, Metric] = {
        "step": outcome.step,
        "batch_prompts": len(bins),
        "batch_rollouts": int(counts.sum()),
        "seen_prompts": seen,
        "unseen_share": float((before.visits == 0).mean()),
        "reward_mean": float(mean_reward.mean()),
        "pass_rate_mean": float(correct.sum()) / float(counts.sum()),
        "any_correct": float((correct > 0).mean()),
        "zero_variance_share": float(1.0 - outcome.live.mean()),
        "weight_min": float(weights.min()),
        "weight_max": float(weights.max()),
        "demand_mean": float(outcome.plan.demand[binned].mean()) if binned.size else float("nan"),
        "wse": float(weighted_standard_error(share, variance, rollouts)),
        "wse_uniform": float(
            weighted_standard_error(share, variance, np.full(count, counts.mean()))
        ),
        "out_of_range": outcome.out_of_range,
        "share": share.tolist(),
        "mass": (mass / max(seen, 1)).tolist(),
        "reward": signals.bin_means(mean_reward, bins, count).tolist(),
        "pass_rate": signals.bin_means(correct / counts, bins, count).tolist(),
        "variance": variance.tolist(),
        "rollouts": rollouts.tolist(),
        "weight": signals.bin_means(weights, bins, count).tolist(),
        "demand": outcome.plan.demand.tolist(),
    }
    if not math.isnan(outcome.plan.shadow_price):
        metrics["shadow_price"] = outcome.plan.shadow_price
    if before.a is not None:
        metrics["live_predicted"] = float(
            live_probability(*before.beta, facts.mean_rollouts).mean()
        )
    return metrics
