"""A world whose rewards are a formula: 120 prompts of unequal sources, of all difficulties, some of
which get easier.

Every number is a hash of (what, prompt id, visit, place), so nothing is recorded, no random state
is needed, and a controller that chooses other prompts still meets a world that answers.
"""

from __future__ import annotations

from functools import cache
from hashlib import blake2b

SIZES = {"sums": 60, "words": 30, "proofs": 18, "rare/one": 8, "guess": 3}
"""Prompts a source; "rare/one" holds the separator. One more prompt has no source."""
GRADES = 4
"""`graded` rewards are quarters from -1 to 1."""


@cache
def number(*words: object) -> float:
    """A number in [0, 1) that stands for these words."""
    digest = blake2b("|".join(map(str, words)).encode(), digest_size=8).digest()
    return (int.from_bytes(digest, "little") >> 11) * 2.0**-53


@cache
def prompt_ids() -> tuple[str, ...]:
    """All prompts, in a fixed order that mixes the sources."""
    ids = [f"{source}/{place}" for source, size in SIZES.items() for place in range(size)]
    return tuple(sorted([*ids, "lonely"], key=lambda prompt_id: number("order", prompt_id)))


def text(prompt_id: str) -> str:
    """What a prompt asks: words that tell in part how hard it is."""
    first = round(10.0 ** (4.0 * number("ability", prompt_id)))
    return f"Of {prompt_id.partition('/')[0]}: what is {first} + {len(prompt_id)}?"


@cache
def ability(prompt_id: str, step: int) -> float:
    """Success rate of a prompt after so many steps; "proofs" and the rare source rise, "guess"
    stays at a half."""
    source = prompt_id.rpartition("/")[0]
    if source == "guess":
        return 0.5
    start = number("ability", prompt_id)
    start = start * start if source in ("proofs", "rare/one") else 1.0 - (1.0 - start) ** 2
    return start + (1.0 - start) * (step / 100.0 if source in ("proofs", "rare/one") else 0.0)


def rewards(prompt_id: str, step: int, count: int, graded: bool = False) -> list[float]:
    """The rewards of a prompt's first rollouts in a step: 0 or 1, or quarters in [-1, 1]."""
    rate = ability(prompt_id, step)
    if not graded:
        return [float(number("reward", prompt_id, step, place) < rate) for place in range(count)]
    marks = range(2 * GRADES)
    draws = [
        [number("reward", prompt_id, step, place, mark) for mark in marks] for place in range(count)
    ]
    return [sum(draw < rate for draw in drawn) / GRADES - 1.0 for drawn in draws]


def loss(prompt_id: str, step: int) -> float:
    """A surrogate loss that is exact in every sum and quotient by a power of two."""
    return round((number("loss", prompt_id, step) - 0.5) * 512.0) / 1024.0


@cache
def batch(step: int, size: int) -> tuple[str, ...]:
    """The prompts that a data loader would give in a step, each once: passes over all prompts,
    shuffled anew."""
    ids = prompt_ids()
    a_pass, place = divmod(step, len(ids) // size)
    shuffled = sorted(ids, key=lambda prompt_id: number("pass", a_pass, prompt_id))
    return tuple(shuffled[place * size : (place + 1) * size])


@cache
def candidates(step: int, size: int) -> tuple[str, ...]:
    """The prompts offered to a controller that selects: the step's batch first, then others."""
    drawn = batch(step, size // 4)
    others = sorted(
        set(prompt_ids()) - set(drawn), key=lambda prompt_id: number("offer", step, prompt_id)
    )
    return (*drawn, *others[: size - len(drawn)])
