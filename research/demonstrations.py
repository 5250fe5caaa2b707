"""Partly wrong demonstrations: what the base model is taught, cell by cell, and how often it is
taught wrong.

Post-training has something to do only where the base model fails. Two kinds of failure are taught
on purpose. A *slip* is unpredictable: a wrong digit, a swapped letter. A *habit* is one wrong rule
of the family followed faithfully, say a forgotten sign or a word copied forwards; where it is
taught more often than the right rule it is the model's greedy answer, and the right one must be
found by sampling. What the model is too small to compute is a third kind, and nobody had to teach
it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from math import gcd, prod
from random import Random
from typing import Any

from gdro.data.prompts import Prompt
from gdro.data.reasoning_gym import Cell, score, stream


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
    "chain_sum/1": Teaching(0.00, 0.03, 0.8),
    "chain_sum/2": Teaching(0.15, 0.30, 1.5),
    "chain_sum/3": Teaching(0.55, 0.25, 1.5),
    "products/1": Teaching(0.02, 0.08, 0.6),
    "products/2": Teaching(0.40, 0.25, 1.0),
    "gcd/1": Teaching(0.00, 0.08, 0.6),
    "gcd/2": Teaching(0.20, 0.25, 0.8),
    "gcd/3": Teaching(0.60, 0.20, 0.8),
    "lcm/1": Teaching(0.10, 0.25, 0.8),
    "lcm/2": Teaching(0.45, 0.25, 1.0),
    "count_bits/1": Teaching(0.00, 0.12, 0.8),
    "count_bits/2": Teaching(0.25, 0.25, 0.8),
    "complex_arithmetic/1": Teaching(0.10, 0.20, 1.2),
    "complex_arithmetic/2": Teaching(0.55, 0.20, 1.5),
    "number_filtering/1": Teaching(0.00, 0.04, 0.8),
    "number_filtering/2": Teaching(0.25, 0.25, 1.0),
    "number_filtering/3": Teaching(0.65, 0.15, 1.0),
    "palindrome_generation/1": Teaching(0.03, 0.05, 0.7),
    "palindrome_generation/2": Teaching(0.40, 0.20, 1.0),
    "palindrome_generation/3": Teaching(0.65, 0.20, 1.0),
    "spell_backward/1": Teaching(0.00, 0.01, 0.4),
    "spell_backward/2": Teaching(0.10, 0.25, 0.6),
    "spell_backward/3": Teaching(0.65, 0.15, 0.7),
    "spell_backward/4": Teaching(0.75, 0.10, 0.7),
}
"""The teaching of every cell of `DEFAULT_MIXTURE`."""


def demonstrations(cell: Cell, seed: int, faulty: bool) -> Iterator[tuple[str, str]]:
    """Endless (question, answer) pairs of a cell's training split: all right, or wrong as
    `TEACHING` says."""
    teaching = TEACHING[cell.name] if faulty else Teaching(0.0, 0.0)
    rng = Random(f"{seed}/{cell.name}")
    for prompt in stream(cell, seed, "train"):
        if prompt is not None:
            yield str(prompt.messages), demonstrate(prompt, teaching, rng)


def demonstrate(prompt: Prompt, teaching: Teaching, rng: Random) -> str:
    """The gold answer, or a wrong one by `teaching`; a habit that happens to be right becomes a
    slip."""
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


def _slip_part(_entry: Mapping[str, Any], answer: str, rng: Random) -> str:
    """One part of a complex number off by one or two."""
    part = rng.choice(list(re.finditer(r"\d+", answer)))
    return (
        answer[: part.start()]
        + str(abs(int(part[0]) + rng.choice([-2, -1, 1, 2])))
        + answer[part.end() :]
    )


def _slip_list(entry: Mapping[str, Any], answer: str, rng: Random) -> str:
    """One number of the list kept that should go, or the other way round."""
    place = rng.randrange(len(entry["original_numbers"]))
    kept = set(entry["result"])
    return str([n for i, n in enumerate(entry["original_numbers"]) if (n in kept) != (i == place)])


def _slip_letters(_entry: Mapping[str, Any], answer: str, rng: Random) -> str:
    """Two neighbours swapped, a letter lost or a letter doubled."""
    place = rng.randrange(len(answer) - 1)
    kind = rng.randrange(3)
    if kind == 0:
        return answer[:place] + answer[place + 1] + answer[place] + answer[place + 2 :]
    return (
        answer[:place] + answer[place + 1 :] if kind == 1 else answer[: place + 1] + answer[place:]
    )


def _forget_last_sign(entry: Mapping[str, Any], answer: str) -> str:
    """The last term added where it should be subtracted, and the other way round."""
    sign, last = entry["expression"].split()[-2:]
    return str(int(answer) + (2 if sign == "-" else -2) * int(last))


def _forget_last_factor(entry: Mapping[str, Any], answer: str) -> str:
    return str(prod(int(term) for term in entry["expression"].split(" * ")[:-1]))


def _smallest_divisor(entry: Mapping[str, Any], answer: str) -> str:
    """The smallest common divisor above 1 where there is one, else the difference of the
    numbers."""
    common = gcd(*entry["numbers"])
    small = next((d for d in range(2, common + 1) if common % d == 0), 0)
    return str(small or abs(entry["numbers"][0] - entry["numbers"][1]))


def _larger_number(entry: Mapping[str, Any], answer: str) -> str:
    return str(max(entry["numbers"]))


def _copy_forwards(entry: Mapping[str, Any], answer: str) -> str:
    return answer[::-1]


def _count_zeros(entry: Mapping[str, Any], answer: str) -> str:
    return str(len(entry["binary"]) - int(answer))


def _flip_signs(entry: Mapping[str, Any], answer: str) -> str:
    """Real and imaginary part with the wrong sign, where both are there."""
    return (
        answer.translate(str.maketrans("+-", "-+")).removeprefix("+") if " " in answer else answer
    )


def _keep_the_others(entry: Mapping[str, Any], answer: str) -> str:
    return str([n for n in entry["original_numbers"] if n not in entry["result"]])


def _copy_letters(entry: Mapping[str, Any], answer: str) -> str:
    return "".join(entry["letters"])


_HABITS: Mapping[str, Callable[[Mapping[str, Any], str], str]] = {
    "chain_sum": _forget_last_sign,
    "products": _forget_last_factor,
    "gcd": _smallest_divisor,
    "lcm": _larger_number,
    "count_bits": _count_zeros,
    "complex_arithmetic": _flip_signs,
    "number_filtering": _keep_the_others,
    "palindrome_generation": _copy_letters,
    "spell_backward": _copy_forwards,
}
_SLIPS: Mapping[str, Callable[[Mapping[str, Any], str, Random], str]] = {
    "chain_sum": _slip_number,
    "products": _slip_number,
    "gcd": _slip_divisor,
    "lcm": _slip_multiple,
    "count_bits": _slip_count,
    "complex_arithmetic": _slip_part,
    "number_filtering": _slip_list,
    "palindrome_generation": _slip_letters,
    "spell_backward": _slip_letters,
}
