"""Prompts against the length that the run allows, before anything is trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from gdro.core.errors import DataError
from gdro.data.chat import TemplateValues, encode
from gdro.data.prompts import Prompt


@dataclass(frozen=True)
class Fitting:
    """Prompts that fit, and what was left out.

    Attributes:
        prompts: those of at most the length allowed, in order.
        dropped: number of longer ones left out.
        longest: tokens of the longest prompt seen, dropped ones included; 0 for no prompts.
        tokens: of the prompts kept, together.
    """

    prompts: list[Prompt]
    dropped: int
    longest: int
    tokens: int


def check_lengths(
    prompts: Sequence[Prompt],
    tokenizer: Any,
    max_prompt_tokens: int,
    overlong: Literal["error", "drop"] = "error",
    values: TemplateValues | None = None,
) -> Fitting:
    """The prompts of at most `max_prompt_tokens` tokens, chat template included.

    Args:
        prompts: what the run would use.
        tokenizer: a Hugging Face tokenizer.
        max_prompt_tokens: the longest allowed.
        overlong: `error` stops at longer ones, `drop` leaves them out and counts them.
        values: variables of the chat template.

    Raises:
        DataError: there are longer ones and `overlong` is `error`; all are longer; or the tokenizer
            has no chat template, or one that refuses a prompt; it is named.
    """
    counts = [_tokens(prompt, tokenizer, values) for prompt in prompts]
    fits = [
        prompt for prompt, count in zip(prompts, counts, strict=True) if count <= max_prompt_tokens
    ]
    longest = max(counts, default=0)
    dropped = len(prompts) - len(fits)
    if dropped and (overlong == "error" or not fits):
        first = next(
            prompt.id
            for prompt, count in zip(prompts, counts, strict=True)
            if count > max_prompt_tokens
        )
        raise DataError(
            f"{dropped} of {len(prompts)} prompts are longer than {max_prompt_tokens} tokens; the"
            f" first is {first!r}, the longest has {longest}; raise max_prompt_length or set"
            " data.overlong to drop"
        )
    return Fitting(
        fits, dropped, longest, sum(count for count in counts if count <= max_prompt_tokens)
    )


def _tokens(prompt: Prompt, tokenizer: Any, values: TemplateValues | None) -> int:
    try:
        return len(encode(prompt.messages, tokenizer, values))
    except DataError as error:
        raise DataError(f"prompt {prompt.id!r}: {error}") from error
