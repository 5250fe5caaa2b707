"""Reward functions that behave in every way a user's may."""

from __future__ import annotations

import os
import signal
import time

from gdro.data.prompts import Prompt


def length(completions: list[str], prompts: list[Prompt]) -> list[float]:
    return [len(completion) / 10 for completion in completions]


def from_prompt(completions: list[str], prompts: list[Prompt]) -> list[float]:
    return [
        float(prompt.metadata["weight"]) * (prompt.answer in text)
        for text, prompt in zip(completions, prompts, strict=True)
    ]


def by_word(completions: list[str], prompts: list[Prompt]) -> list[float]:
    """What the completion asks for: a hang, a crash, a memory bomb, an error, nonsense, or 1."""
    (word,) = completions
    if word == "sleep":
        time.sleep(60)
    if word == "nap":
        time.sleep(0.05)
    if word == "spin":
        10**10**10
    if word == "segfault":
        os.kill(os.getpid(), signal.SIGSEGV)
    if word == "exit":
        os._exit(3)
    if word == "bomb":
        return [float(len(bytearray(8 << 30)))]
    if word == "creep":
        hoard = []
        while True:
            hoard.append(bytearray(1 << 24))
    if word == "raise":
        raise KeyError("no such answer")
    if word == "print":
        print("x" * 100_000)
    returned = {
        "nan": [float("nan")],
        "inf": [float("inf")],
        "none": [None],
        "bool": [True],
        "two": [1.0, 2.0],
        "no list": 1.0,
        "text": ["1"],
    }
    return returned.get(word, [1.0])  # type: ignore[return-value]


not_a_function = 3
