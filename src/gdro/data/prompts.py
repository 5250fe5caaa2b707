"""The one form in which every data source reaches a run: a prompt with a stable, source-qualified
id."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from gdro.core.prompts import source_of

Message = Mapping[str, str]
"""One chat turn: `{"role": ..., "content": ...}`."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """One task of a data set.

    Attributes:
        id: stable and source-qualified, e.g. `reasoning_gym/chain_sum/2/17`; it survives shuffling,
            sharding and a new epoch, and no two prompts of a run share it.
        messages: a chat, or plain text for a model that has no chat template.
        answer: the gold answer, as the verifier wants it.
        data_source: name of the data set; `source` is what controllers, reports and comparisons
            group by.
        metadata: whatever else the verifier needs (JSON values only).
    """

    id: str
    messages: str | list[Message]
    answer: str
    data_source: str
    metadata: Mapping[str, Any] = field(default_factory=dict)

    @property
    def source(self) -> str:
        """What stands before the last "/" of the id: the data set, and the task and level where it
        has them."""
        return source_of(self.id)


def fingerprint(prompts: Iterable[Prompt]) -> str:
    """SHA-256 of prompts in their order, all that is asked and all that scores the answers: 64 hex
    digits."""
    digest = hashlib.sha256()
    for prompt in prompts:
        messages = (
            prompt.messages
            if isinstance(prompt.messages, str)
            else [dict(turn) for turn in prompt.messages]
        )
        row = [prompt.id, messages, prompt.answer, prompt.data_source, dict(prompt.metadata)]
        digest.update(json.dumps(row, sort_keys=True, ensure_ascii=False).encode() + b"\n")
    return digest.hexdigest()


COUNTS_ANEW = (
    "their id column counts anew in every file; set data.id_column: null, which makes ids of the"
    " prompts' texts"
)
"""What to do when one id names two prompts, as in verl's own GSM8K files."""


def shown(value: object, width: int = 60) -> str:
    """`value` as an error quotes it: at most about `width` characters."""
    text = repr(value[: 2 * width] if isinstance(value, str | bytes) else value)
    return text if len(text) <= width else f"{text[: width - 3]}..."
