"""What a batch was chosen from, and what came of it, by source and by difficulty: for the record.

It answers whether the method acts: what share of the prompts offered the controller expects to
have a gradient, against the share among those that it trained on, and which sources and bins it
prefers. It decides nothing.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from gdro.controllers.controller import Controller as OwnController
from gdro.core.belief import live_probability
from gdro.core.prompts import source_of
from gdro.engines.interface import Controller

SOURCES = 24
"""Sources recorded by name, those with most prompts offered; the others are counted together."""
OTHERS = "(other sources)"

ChoiceRecord = dict[str, Any]


def what_was_offered(
    controller: Controller, offered: Sequence[str], chosen: Sequence[str]
) -> ChoiceRecord:
    """The prompts that a batch was chosen from, before anything of it is generated.

    Args:
        offered: ids of the candidates; the batch itself where nothing is chosen.
        chosen: ids of the batch.

    Returns:
        `offered` and `chosen` (counts); `sources`: source -> {offered, chosen}; and of gdro's own
        controllers `offered_bins` and `chosen_bins` (B,), prompts by bin, and `live_offered`, the
        mean probability that `mean_rollouts` rollouts of a prompt offered differ (NaN without a
        posterior).
    """
    named, taken = _by_source(controller, offered), _by_source(controller, chosen)
    most = sorted(named | taken, key=lambda name: (-named[name], name))
    sources = {name: {"offered": named[name], "chosen": taken[name]} for name in most[:SOURCES]}
    if rest := most[SOURCES:]:
        sources[OTHERS] = {
            "offered": sum(named[name] for name in rest),
            "chosen": sum(taken[name] for name in rest),
        }
    record: ChoiceRecord = {"offered": len(offered), "chosen": len(chosen), "sources": sources}
    if not isinstance(controller, OwnController):
        return record
    belief = controller.belief(offered)
    live = math.nan
    if belief.a is not None:
        live = float(live_probability(*belief.beta, controller.mean_rollouts).mean())
    return record | {
        "live_offered": live,
        "offered_bins": _by_bin(belief.bins, controller.bins),
        "chosen_bins": _by_bin(controller.belief(chosen).bins, controller.bins),
    }


def with_rewards(
    record: ChoiceRecord, prompt_ids: Sequence[str], rewards: Sequence[ArrayLike]
) -> ChoiceRecord:
    """The record with what came of each source: `rollouts`, their mean `reward`, and `live`, the
    number of groups whose rewards differ."""
    groups: dict[str, list[Any]] = {}
    for prompt_id, group in zip(prompt_ids, rewards, strict=True):
        name = source_of(prompt_id)
        name = name if name in record["sources"] else OTHERS
        groups.setdefault(name, []).append(np.atleast_1d(np.asarray(group, np.float64)))
    known = {"offered": 0, "chosen": 0}
    sources = dict(record["sources"])
    for name, found in groups.items():
        values = np.concatenate(found)
        sources[name] = (
            known
            | sources.get(name, {})
            | {
                "rollouts": len(values),
                "reward": float(values.mean()) if len(values) else math.nan,
                "live": sum(len(group) > 0 and bool(np.ptp(group) > 0) for group in found),
            }
        )
    return record | {"sources": sources}


def _by_source(controller: Controller, prompt_ids: Sequence[str]) -> Counter[str]:
    if isinstance(controller, OwnController):  # which has split the ids already
        return Counter(controller.count_sources(prompt_ids))
    return Counter(map(source_of, prompt_ids))


def _by_bin(bins: Any, count: int) -> list[int]:
    """(B,) prompts of each bin; those of none are left out."""
    counts: list[int] = np.bincount(bins[bins >= 0], minlength=count).tolist()
    return counts
