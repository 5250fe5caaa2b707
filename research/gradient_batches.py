"""The gradient of one batch, drawn again and again at equal rollouts under each plan.

A controller first sees the batch's prompts a few times, with fresh rollouts by its own plans. Then
its next plan is carried out R times with fresh rollouts, each time from the same state of the
controller. The gradient is the engine's, up to a scale common to all plans: mean over prompts of
(w_i / n_i) sum_j A_ij s_ij, which is what advantages scaled by nbar / n_i and averaged over
rollouts give; with the run's weighting `row`, w_i / nbar instead. (The engine divides by the
batch's tokens, not its rollouts.)
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike

from gdro.core.advantages import AdvantageKind, group_advantages
from gdro.core.budget import exact_budget
from gdro.core.types import UNSEEN, Feedback, Floats, Ints, Plan
from gdro.engines.interface import Controller
from gdro.lab.stats import Estimate
from gradient_moments import RESAMPLES
from gradient_scores import Setting, batch_gradients, trained


class FixedPlan:
    """Rollouts that somebody who knows the variances would choose: the law under the bounds, weight
    1, nothing learnt.

    Args:
        variance: (M,) what the law takes for each prompt's variance, >= 0.
    """

    def __init__(self, variance: Floats, mean_rollouts: int, low: int, high: int) -> None:
        self.rollouts = exact_budget(np.sqrt(variance), mean_rollouts * len(variance), low, high)

    def plan(self, prompt_ids: Sequence[str]) -> Plan:
        """The same plan every time."""
        return Plan(tuple(prompt_ids), self.rollouts, np.full(len(self.rollouts), UNSEEN))

    def observe(self, prompt_ids: Sequence[str], rewards: Sequence[ArrayLike]) -> Feedback:
        """Weight 1."""
        return Feedback(
            tuple(prompt_ids), np.ones(len(self.rollouts)), np.full(len(self.rollouts), UNSEEN)
        )


@dataclass(frozen=True)
class Repeats:
    """R gradients of one batch of M prompts under one plan, for each of K kinds of advantage.

    Attributes:
        rollouts: (M,) the plan.
        weights: (M,) mean of the controller's weights over the repeats.
        gram: (K, R, R) inner products of the gradients.
        against: (K, R, R) inner products with the gradients of the baseline's repeats (columns),
            independent of these.
    """

    rollouts: Ints
    weights: Floats
    gram: Floats
    against: Floats

    def figures(self, kind: int, base: Repeats, seed: int) -> dict[str, Estimate]:
        """Measured figures of one kind of advantage, with 95 % bootstrap intervals over the repeats
        of both plans.

        Returns:
            variance_ratio: variance of the gradient over the baseline's.
            signal_to_noise: squared length of the mean gradient over the variance; indifferent to
                scale.
            signal_ratio: the former over the baseline's.
            direction: cosine between the mean gradient and the baseline's; NaN for the baseline
                itself.
            shift: length of the difference of the mean gradients over the length of the baseline's;
                NaN likewise.
        """
        count, other = self.gram.shape[1], base.gram.shape[1]
        rng = np.random.default_rng((seed, kind, count))
        mine = np.vstack(
            [np.ones(count), rng.multinomial(count, np.full(count, 1 / count), RESAMPLES)]
        )
        theirs = np.vstack(
            [np.ones(other), rng.multinomial(other, np.full(other, 1 / other), RESAMPLES)]
        )
        if base is self:
            theirs = mine
        signal, variance = _moments(self.gram[kind], mine)
        signal_base, variance_base = _moments(base.gram[kind], theirs)
        with np.errstate(invalid="ignore", divide="ignore"):
            shared = np.full(len(mine), np.nan)
            if base is not self:
                shared = ((mine @ self.against[kind]) * theirs).sum(1) / (
                    mine.sum(1) * theirs.sum(1)
                )
            found = {
                "variance_ratio": variance / variance_base,
                "signal_to_noise": signal / variance,
                "signal_ratio": signal / variance / (signal_base / variance_base),
                "direction": shared / np.sqrt(signal * signal_base),
                "shift": np.sqrt(np.maximum(signal + signal_base - 2 * shared, 0.0) / signal_base),
            }
        return {name: _estimate(values) for name, values in found.items()}

    def variance(self, kind: int) -> float:
        """Trace of the covariance of one batch's gradient."""
        return float(_moments(self.gram[kind], np.ones((1, self.gram.shape[1])))[1][0])


def warm_up(setting: Setting, controller: Controller, visits: int, seed: int) -> None:
    """Let a controller see the setting's prompts `visits` times, with rollouts by its own plans.

    A controller that asks for surrogate losses is told 0, which they are on-policy.
    """
    for visit in range(visits):
        plan = controller.plan(setting.ids)
        controller.observe(setting.ids, setting.draw(plan.rollouts, _seed(seed, 0, visit)).rewards)
        if controller.needs_losses:
            controller.observe_losses(setting.ids, np.zeros(len(setting.ids)))


def repeat_batches(
    setting: Setting,
    controller: Controller | FixedPlan,
    kinds: Sequence[AdvantageKind],
    repeats: int,
    seed: int,
    base: torch.Tensor | None = None,
    scale: torch.Tensor | None = None,
) -> tuple[Repeats, torch.Tensor]:
    """Draw the batch's gradient `repeats` times under the controller's next plan; the controller
    stays as it is.

    Args:
        seed: of the rollouts; plans to be compared take different ones, so that they are
            independent.
        base: (K, R, D) gradients of the baseline's repeats, or None to compare the plan with
            nothing.
        scale: (D,) factor of each coordinate; None for 1.

    Returns:
        What was measured, and the (K, R, D) gradients, scaled.
    """
    update, model = setting.config, setting.policy.model
    model.eval()
    gradients, weights = [], []
    plan = deepcopy(controller).plan(setting.ids)
    for repeat in range(repeats):
        copy = deepcopy(controller)
        plan = copy.plan(setting.ids)
        groups = setting.draw(plan.rollouts, _seed(seed, 1, repeat))
        feedback = copy.observe(setting.ids, groups.rewards)
        weights.append(feedback.weights)
        per = (
            plan.rollouts
            if update.weighting == "prompt"
            else np.full(len(setting.ids), plan.rollouts.mean())
        )
        factor = np.repeat(1.0 / per / len(setting.ids), plan.rollouts)
        advantages = [
            np.concatenate(
                group_advantages(
                    groups.rewards,
                    kind,
                    ddof=update.advantage_ddof,
                    clip=update.advantage_clip,
                    feedback=feedback,
                )
            )
            for kind in kinds
        ]
        gradients.append(
            batch_gradients(
                model,
                setting.encoded,
                groups.tokens,
                np.array(advantages) * factor,
                setting.config.temperature,
            )
        )
    found = torch.stack(gradients, dim=1)
    if scale is not None:
        found *= scale
    against = np.zeros((len(kinds), repeats, 0)) if base is None else _products(found, base)
    return Repeats(plan.rollouts, np.mean(weights, axis=0), _products(found, found), against), found


def adam_scale(setting: Setting, batches: int, seed: int, epsilon: float = 1e-8) -> torch.Tensor:
    """(D,) 1 / (sqrt(v) + epsilon): what Adam multiplies each coordinate by, v the mean square of a
    batch's gradient.

    Measured with equal rollouts and the run's advantage, on `batches` passes over the setting's
    prompts in batches of the run's size.
    """
    size, update = setting.config.prompts_per_step, setting.config
    squares, count = None, 0
    for number in range(batches):
        for at in range(0, len(setting.prompts), size):
            part = setting.part(at, at + size)
            draw = part.draw(setting.config.num_generations, _seed(seed, 2 + number, at))
            advantages = np.concatenate(
                group_advantages(
                    draw.rewards,
                    update.advantage,
                    ddof=update.advantage_ddof,
                    clip=update.advantage_clip,
                )
            )
            gradient = batch_gradients(
                setting.policy.model,
                part.encoded,
                draw.tokens,
                advantages[None] / len(advantages),
                setting.config.temperature,
            )[0]
            squares = gradient**2 if squares is None else squares + gradient**2
            count += 1
    assert squares is not None
    return 1.0 / ((squares / count).sqrt() + epsilon)


def adam_step(
    optimizer: torch.optim.Optimizer, gradient: Sequence[torch.Tensor], model: torch.nn.Module
) -> list[torch.Tensor]:
    """The gradient times Adam's diagonal, were it the next gradient: g / (sqrt(v) + eps) with g in
    the second moment v, so that no coordinate without a past has all the weight; before the first
    step the sign of g."""
    of_weight = {weight: group for group in optimizer.param_groups for weight in group["params"]}
    steps = []
    for weight, g in zip(trained(model), gradient, strict=True):
        beta, known = of_weight[weight]["betas"][1], optimizer.state.get(weight, {})
        count = float(known.get("step", 0.0))
        v = beta * known.get("exp_avg_sq", torch.zeros_like(g)) + (1.0 - beta) * g**2
        v = v / (1.0 - beta ** (count + 1.0))
        steps.append(g / (v.sqrt() + of_weight[weight]["eps"]))
    return steps


def cosine(left: Sequence[torch.Tensor], right: Sequence[torch.Tensor]) -> float:
    """Of two directions, given weight by weight; 0 where one has no length."""

    def product(x: Sequence[torch.Tensor], y: Sequence[torch.Tensor]) -> float:
        return float(sum((p.double() * q.double()).sum() for p, q in zip(x, y, strict=True)))

    length = (product(left, left) * product(right, right)) ** 0.5
    return product(left, right) / length if length > 0.0 else 0.0


def _products(left: torch.Tensor, right: torch.Tensor) -> Floats:
    """(K, R, R') inner products, in float64 block by block."""
    total = torch.zeros(left.shape[0], left.shape[1], right.shape[1], dtype=torch.float64)
    for at in range(0, left.shape[2], 1 << 16):
        block = slice(at, at + (1 << 16))
        total += left[:, :, block].double() @ right[:, :, block].double().transpose(1, 2)
    return total.numpy()


def _moments(gram: Floats, counts: Floats) -> tuple[Floats, Floats]:
    """Squared length of the mean and variance, for each row of `counts` (B, R): how often a repeat
    is drawn.

    A repeat is never paired with itself, so the squared length is unbiased (it can be negative). A
    draw of one repeat alone has neither: NaN, which the intervals leave out.
    """
    squares = counts @ np.diag(gram)
    total = counts.sum(1)
    pairs = total**2 - (counts**2).sum(1)
    pairs = np.where(pairs > 0, pairs, np.nan)
    signal = (((counts @ gram) * counts).sum(1) - counts**2 @ np.diag(gram)) / pairs
    return signal, squares / total - signal


def _estimate(values: Floats) -> Estimate:
    low, high = (
        np.nanpercentile(values[1:], (2.5, 97.5))
        if np.isfinite(values[1:]).any()
        else (np.nan, np.nan)
    )
    return Estimate(float(values[0]), float(low), float(high))


def _seed(seed: int, stage: int, number: int) -> int:
    """A seed of one draw, apart from all others."""
    return int(np.random.SeedSequence((seed, stage, number)).generate_state(1, np.uint64)[0] >> 2)
