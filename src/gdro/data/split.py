"""Training and held-out prompts, told apart by a hash of the id: adding rows never moves a prompt
across."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from gdro.core.errors import DataError
from gdro.data.prompts import COUNTS_ANEW, Prompt
from gdro.data.rows import content_hash


def position(prompt_id: str, purpose: str) -> float:
    """A number in [0, 1) that depends on the id and the purpose alone."""
    digest = hashlib.sha256(f"{purpose}:{prompt_id}".encode()).digest()
    return int.from_bytes(digest[:7], "big") / 2**56


def split_heldout(prompts: Sequence[Prompt], fraction: float) -> tuple[list[Prompt], list[Prompt]]:
    """(training, held-out): about `fraction` of the prompts are held out, each for good.

    Raises:
        DataError: `fraction` is not in [0, 1), or one side would be empty (0 holds out none on
            purpose).
    """
    if not 0 <= fraction < 1:
        raise DataError(f"held-out fraction {fraction}: must be at least 0 and below 1")
    train: list[Prompt] = []
    heldout: list[Prompt] = []
    for prompt in prompts:
        (heldout if position(prompt.id, "heldout") < fraction else train).append(prompt)
    if fraction > 0 and not (train and heldout):
        raise DataError(
            f"held-out fraction {fraction} of {len(prompts)} prompts leaves {len(train)} to train"
            f" on and {len(heldout)} held out; change the fraction or give a separate held-out file"
        )
    return train, heldout


def choose(prompts: Sequence[Prompt], count: int | None, purpose: str) -> list[Prompt]:
    """At most `count` of the prompts, those with the lowest hash, in their old order; None is
    all."""
    if count is None or count >= len(prompts):
        return list(prompts)
    ranked = sorted(
        range(len(prompts)), key=lambda row: (position(prompts[row].id, purpose), prompts[row].id)
    )
    return [prompts[row] for row in sorted(ranked[:count])]


def check_disjoint(train: Sequence[Prompt], heldout: Sequence[Prompt]) -> int:
    """How many held-out prompts have the text of a training prompt under another id (a leak to
    show).

    Raises:
        DataError: an id is in both.
    """
    texts = {prompt.id: content_hash(_plain(prompt)) for prompt in train}
    both = [prompt for prompt in heldout if prompt.id in texts]
    if both:
        first = min(prompt.id for prompt in both)
        others = sum(texts[prompt.id] != content_hash(_plain(prompt)) for prompt in both)
        remedy = (
            f"{others} of them name two prompts: {COUNTS_ANEW}"
            if others
            else "take them out of one"
        )
        raise DataError(
            f"{len(both)} ids are both trained on and held out, e.g. {first!r}; {remedy}"
        )
    known = set(texts.values())
    return sum(content_hash(_plain(prompt)) in known for prompt in heldout)


def _plain(prompt: Prompt) -> str:
    """All that the model is told, without regard to how it is split into messages."""
    if isinstance(prompt.messages, str):
        return prompt.messages
    return "\n".join(message["content"] for message in prompt.messages)
