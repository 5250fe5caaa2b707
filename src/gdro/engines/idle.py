"""Whether a run has prompts enough, and its controller anything to act on: asked once, before it
starts."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np

from gdro.controllers.controller import Controller as OwnController
from gdro.controllers.parts.estimators import SourcePosterior
from gdro.core.errors import OptionError
from gdro.core.prompts import source_of
from gdro.engines.interface import Controller

FEW = 4
"""Candidates for each prompt chosen, below which a choice has little room."""
PROBE_BATCHES, PROBE_PROMPTS = 6, 16


def check_enough(prompts: int, batch: int, setting: str) -> None:
    """Refuse a training set of less than a batch, whose prompts are distinct.

    Args:
        prompts: of the training set.
        batch: M.
        setting: what says so, in the engine's words.

    Raises:
        OptionError: too few prompts.
    """
    if prompts < batch:
        raise OptionError(
            f"the training set has {prompts} prompts, and a batch takes {batch} distinct ones"
            f" ({setting}); lower that, or add prompts"
        )


def why_idle(
    controller: Controller, ids: Sequence[str], prompts: int, drawn: int, factor: int | None = None
) -> str | None:
    """Why the controller cannot act, or not as it was asked to, in a run; None where nothing
    stands in the way.

    Args:
        ids: (N,) of the training set.
        prompts: M of a batch.
        drawn: prompts that the run takes in all, each time it takes one counted.
        factor: candidates for each prompt chosen; None for the controller's own.
    """
    if controller.name == "uniform" or not isinstance(controller, OwnController):
        return None
    if controller.selects:
        wanted = prompts * (controller.pool_factor if factor is None else factor)
        if len(ids) < min(wanted, FEW * prompts):
            return (
                f"{len(ids):,} training prompts for {wanted:,} candidates a step: controller"
                f" {controller.name!r} chooses {prompts} of the same {len(ids):,} each time, so it"
                " can act little. Add prompts, or take fewer a step."
            )
        if factor is not None and len(ids) < wanted:
            return (
                f"candidates={factor} asks for {wanted:,} candidates a step ({factor} for each of"
                f" {prompts} prompts), and the training set has {len(ids):,} prompts: every step"
                f" chooses among all of them. Set candidates to at most {len(ids) // prompts}, or"
                " add prompts."
            )
        named = isinstance(controller.parts.estimator, SourcePosterior)
        if named and len({source_of(prompt_id) for prompt_id in ids}) == 1:
            return (
                "All prompts carry one source name, so controller"
                f" {controller.name!r} expects the same of every prompt before its first visit. Put"
                " the source into the ids (source/number), or let it read the texts: estimator:"
                " text_posterior."
            )
        return None
    if drawn <= len(ids) and not controller.reads_texts and not acts_on_new(controller, ids):
        return (
            f"No prompt comes twice in this run ({drawn:,} draws from {len(ids):,} prompts), and"
            f" controller {controller.name!r} learns of a prompt from its earlier visits: it will"
            " act as uniform does. Train longer, on fewer prompts, or take one that learns from"
            " sources (live_gdro)."
        )
    return None


def acts_on_new(controller: OwnController, ids: Sequence[str]) -> bool:
    """Whether a controller treats prompts unequally that it has never seen: tried on a copy of it,
    with made-up prompts of the run's sources and made-up rewards."""
    probe, rng = copy.deepcopy(controller), np.random.default_rng(0)
    sources = sorted({source_of(prompt_id) for prompt_id in ids})[:PROBE_PROMPTS]
    low, high = probe.reward_range
    for batch in range(PROBE_BATCHES):
        names = [
            f"{sources[n % len(sources)]}/probe-{batch}-{n}".lstrip("/")
            for n in range(PROBE_PROMPTS)
        ]
        plan = probe.plan(names)
        rates = (np.arange(PROBE_PROMPTS) % len(sources) + 1) / (len(sources) + 1)
        rewards = [
            np.where(rng.random(count) < rate, high, low)
            for count, rate in zip(plan.rollouts.tolist(), rates.tolist(), strict=True)
        ]
        feedback = probe.observe(names, rewards)
        probe.observe_losses(names, rng.normal(size=PROBE_PROMPTS))
        equal = (plan.rollouts == probe.mean_rollouts).all() and (feedback.weights == 1.0).all()
        if not equal or feedback.baselines is not None:
            return True
    return False
