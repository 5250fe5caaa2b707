"""Partly wrong demonstrations: what the base model is taught, cell by cell, and how often it is taught wrong.

Post-training has something to do only where the base model fails. Two kinds of failure are taught on purpose.
A *slip* is unpredictable: a wrong digit, a swapped letter. A *habit* is one wrong rule of the family followed
faithfully, say a forgotten sign or a word copied forwards; where it is taught more often than the right rule
it is the model's greedy answer, and the right one must be found by sampling. What the model is too small to
compute is a third kind, and nobody had to teach it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from math import gcd, prod
from random import Random
from typing import Any

from gdro.data.prompts import Prompt
from gdro.data.reasoning_gym import Cell, score, stream
from gdro.tiny.mixture import DEFAULT_MIXTURE


@dataclass(frozen=True)
class Teaching:
    """How a cell is taught.

    Attributes:
        habit: share of demonstrations that follow the family's wrong rule.
        slip: share of demonstrations with a random slip.
        weight: share of the demonstrations, relative to the other cells.
    """

    habit: float
    slip: float
    weight: float = 1.0


TEACHING: Mapping[str, Teaching] = {
    "chain_sum/1": Teaching(0.00, 0.10),
    "chain_sum/2": Teaching(0.10, 0.30, 1.5),
    "chain_sum/3": Teaching(0.60, 0.15),
    "chain_sum/4": Teaching(0.30, 0.20, 1.5),
    "products/1": Teaching(0.05, 0.20, 0.5),
    "products/2": Teaching(0.55, 0.10),
    "products/3": Teaching(0.10, 0.20, 1.5),
    "gcd/1": Teaching(0.00, 0.05, 0.5),
    "gcd/2": Teaching(0.20, 0.20),
    "gcd/3": Teaching(0.60, 0.20),
    "lcm/1": Teaching(0.10, 0.20, 0.5),
    "lcm/2": Teaching(0.70, 0.15),
    "lcm/3": Teaching(0.50, 0.20),
    "prime_factorization/1": Teaching(0.10, 0.15, 0.5),
    "prime_factorization/2": Teaching(0.40, 0.20),
    "prime_factorization/3": Teaching(0.50, 0.20),
    "spell_backward/1": Teaching(0.02, 0.03, 0.7),
    "spell_backward/2": Teaching(0.10, 0.30, 0.7),
    "spell_backward/3": Teaching(0.80, 0.10, 0.7),
    "spell_backward/4": Teaching(0.90, 0.05, 0.7),
    "count_bits/1": Teaching(0.05, 0.15, 0.5),
    "count_bits/2": Teaching(0.10, 0.20, 0.7),
    "simple_geometry/1": Teaching(0.05, 0.15),
    "simple_geometry/2": Teaching(0.50, 0.20),
    "simple_geometry/3": Teaching(0.80, 0.15),
}
"""The teaching of every cell of `DEFAULT_MIXTURE`."""


def demonstrations(cell: Cell, seed: int) -> Iterator[tuple[str, str]]:
    """Endless (question, answer) pairs of a cell's training split, wrong as often as `TEACHING` says."""
    teaching = TEACHING[cell.name]
    rng = Random(f"{seed}/{cell.name}")
    for prompt in stream(cell, seed, "train"):
        if prompt is not None:
            yield str(prompt.messages), demonstrate(prompt, teaching, rng)


def demonstrate(prompt: Prompt, teaching: Teaching, rng: Random) -> str:
    """The gold answer, or a wrong one by `teaching`; a habit that happens to be right becomes a slip."""
    draw = rng.random()
    if draw >= teaching.habit + teaching.slip:
        return prompt.answer
    wrong = _HABITS[prompt.metadata["family"]](prompt.metadata["entry"], prompt.answer)
    if draw >= teaching.habit or score(prompt, wrong) >= 1.0:
        wrong = _slip(prompt, rng)
    return wrong


def _slip(prompt: Prompt, rng: Random) -> str:
    for _ in range(100):
        wrong = _SLIPS[prompt.metadata["family"]](prompt.metadata["entry"], prompt.answer, rng)
        if wrong and score(prompt, wrong) < 1.0:
            return wrong
    raise ValueError(f"no slip found for {prompt.id}")


def _slip_number(_entry: Mapping[str, Any], answer: str, rng: Random) -> str:
    """Off by a little, off by ten, or one digit replaced."""
    kind = rng.randrange(3)
    if kind == 0:
        return str(int(answer) + rng.choice([-2, -1, 1, 2]))
    if kind == 1:
        return str(int(answer) + rng.choice([-20, -10, 10, 20]))
    place = rng.choice([i for i, letter in enumerate(answer) if letter.isdigit()])
    return str(int(answer[:place] + str(rng.randrange(10)) + answer[place + 1 :]))


def _slip_count(_entry: Mapping[str, Any], answer: str, rng: Random) -> str:
    return str(max(0, int(answer) + rng.choice([-2, -1, 1, 2])))


def _slip_divisor(entry: Mapping[str, Any], answer: str, rng: Random) -> str:
    """A divisor of one of the numbers."""
    number = rng.choice(entry["numbers"])
    return str(rng.choice([d for d in range(1, min(number, 60) + 1) if number % d == 0] + [2, 3]))


def _slip_multiple(entry: Mapping[str, Any], answer: str, rng: Random) -> str:
    """A small multiple of one of the numbers."""
    return str(rng.choice(entry["numbers"]) * rng.randint(2, 30))


def _slip_factors(entry: Mapping[str, Any], answer: str, rng: Random) -> str:
    """One factor lost, or one replaced by a neighbouring prime."""
    factors = list(entry["factors"])
    place = rng.randrange(len(factors))
    if rng.random() < 0.5 and len(factors) > 1:
        del factors[place]
    else:
        factors[place] = rng.choice([2, 3, 5, 7, 11, 13])
    return " × ".join(map(str, sorted(factors)))


def _slip_letters(_entry: Mapping[str, Any], answer: str, rng: Random) -> str:
    """Two neighbours swapped, a letter lost or a letter doubled."""
    place = rng.randrange(len(answer) - 1)
    kind = rng.randrange(3)
    if kind == 0:
        return answer[:place] + answer[place + 1] + answer[place] + answer[place + 2 :]
    return answer[:place] + answer[place + 1 :] if kind == 1 else answer[: place + 1] + answer[place:]


def _forget_last_sign(entry: Mapping[str, Any], answer: str) -> str:
    """The last term added where it should be subtracted, and the other way round."""
    sign, last = entry["expression"].split()[-2:]
    return str(int(answer) + (2 if sign == "-" else -2) * int(last))


def _forget_last_factor(entry: Mapping[str, Any], answer: str) -> str:
    return str(prod(int(term) for term in entry["expression"].split(" * ")[:-1]))


def _smallest_divisor(entry: Mapping[str, Any], answer: str) -> str:
    """The smallest common divisor above 1 where there is one, else the difference of the numbers."""
    common = gcd(*entry["numbers"])
    small = next((d for d in range(2, common + 1) if common % d == 0), 0)
    return str(small or abs(entry["numbers"][0] - entry["numbers"][1]))


def _larger_number(entry: Mapping[str, Any], answer: str) -> str:
    return str(max(entry["numbers"]))


def _join_factors(entry: Mapping[str, Any], answer: str) -> str:
    """The two largest factors left multiplied; a prime is given as 1 times itself, as beginners do."""
    *rest, last = entry["factors"]
    return " × ".join(map(str, [*rest[:-1], rest[-1] * last] if rest else [1, last]))


def _copy_forwards(entry: Mapping[str, Any], answer: str) -> str:
    return answer[::-1]


def _count_zeros(entry: Mapping[str, Any], answer: str) -> str:
    return str(len(entry["binary"]) - int(answer))


def _forget_last_angle(entry: Mapping[str, Any], answer: str) -> str:
    return str(int(answer) + int(entry["known_angles"][-1]))


_HABITS: Mapping[str, Callable[[Mapping[str, Any], str], str]] = {
    "chain_sum": _forget_last_sign,
    "products": _forget_last_factor,
    "gcd": _smallest_divisor,
    "lcm": _larger_number,
    "prime_factorization": _join_factors,
    "spell_backward": _copy_forwards,
    "count_bits": _count_zeros,
    "simple_geometry": _forget_last_angle,
}
_SLIPS: Mapping[str, Callable[[Mapping[str, Any], str, Random], str]] = {
    "chain_sum": _slip_number,
    "products": _slip_number,
    "gcd": _slip_divisor,
    "lcm": _slip_multiple,
    "prime_factorization": _slip_factors,
    "spell_backward": _slip_letters,
    "count_bits": _slip_count,
    "simple_geometry": _slip_number,
}

assert set(TEACHING) == {cell.name for cell in DEFAULT_MIXTURE}
