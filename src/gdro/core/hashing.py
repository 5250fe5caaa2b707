"""Counter-based randomness: a number in [0, 1) from (key, seed, step), so that no random state
needs saving.

`mix` is the finaliser of splitmix64 (Steele, Lea, Flood 2014), a bijection of 64-bit words.
"""

from __future__ import annotations

from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from gdro.core.types import Floats

Keys = NDArray[np.uint64]


def prompt_key(prompt_id: str) -> int:
    """64 bits that stand for a prompt wherever it lies in the batch, the same in every process."""
    return int.from_bytes(
        blake2b(prompt_id.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little"
    )


def mix(words: Keys) -> Keys:
    """Scramble (M,) 64-bit words, one to one."""
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))


def step_keys(keys: Keys, seed: int, step: int) -> Keys:
    """(M,) fresh keys of a step: a new random order of the prompts that does not depend on their
    places."""
    with np.errstate(over="ignore"):
        salt = mix(np.array([(seed * 0x9E3779B97F4A7C15 + step) % 2**64], dtype=np.uint64))
        return mix(keys ^ salt)


def uniform(seed: int, step: int, stream: int = 0) -> float:
    """One number in [0, 1) for this seed, step and stream."""
    word = step_keys(np.array([stream], dtype=np.uint64), seed, step)
    return float(to_unit(word)[0])


def uniforms(count: int, seed: int, step: int) -> Floats:
    """(count,) numbers in [0, 1) for this seed and step, apart from those of `uniform`'s first
    streams."""
    return to_unit(step_keys(np.arange(count, dtype=np.uint64) + np.uint64(2**32), seed, step))


def exponentials(keys: Keys) -> Floats:
    """(M,) Exp(1) numbers, one for each key. The m smallest of e_i / chance_i are a draw of m
    without replacement with these chances (Efraimidis and Spirakis, 2006)."""
    return np.asarray(-np.log1p(-to_unit(keys)))


def to_unit(words: Keys) -> Floats:
    """(M,) words as numbers in [0, 1)."""
    return (words >> np.uint64(11)).astype(np.float64) * 2.0**-53
