"""The policy of a run: a causal language model and its tokenizer, with what the run asks of
them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gdro.config import TrainConfig
from gdro.core.errors import RunError
from gdro.data.chat import TemplateValues, encode
from gdro.data.prompts import Prompt
from gdro.models.loading import load_model


@dataclass(frozen=True, slots=True)
class Policy:
    """A model with its tokenizer, where it came from, and the values of its chat template's
    variables."""

    model: Any
    tokenizer: Any
    path: str
    template_values: TemplateValues = field(default_factory=dict)

    def encode(self, prompt: Prompt) -> list[int]:
        """Token ids of a prompt, as the trainer will tokenize it."""
        return encode(prompt.messages, self.tokenizer, self.template_values)

    @property
    def end_tokens(self) -> tuple[int, ...]:
        """Tokens that end a completion: the tokenizer's, and those of the model's own generation
        config."""
        ends = self.model.generation_config.eos_token_id
        extra = [] if ends is None else np.atleast_1d(ends).tolist()
        return tuple({self.tokenizer.eos_token_id, *extra})

    @property
    def context(self) -> int | None:
        """Positions the model was made for, where its config says."""
        limit: int | None = (
            self.model.config.get_text_config().to_dict().get("max_position_embeddings")
        )
        return limit


def load_policy(name: str, tell: Callable[[str], None] = lambda text: None) -> Policy:
    """Load what a `model:` setting names; see `gdro.models.loading.load_model`.

    Raises:
        ModelError: there is no such model, or it cannot be used.
    """
    return Policy(*load_model(name, tell))


def check_context(config: TrainConfig, positions: int | None) -> None:
    """Raises RunError when the longest prompt and completion do not fit the model's positions, if
    they are known."""
    wanted = config.lengths.prompt + config.lengths.completion
    if positions is not None and wanted > positions:
        raise RunError(
            f"max_prompt_length + max_completion_length = {wanted}, but {config.model} has "
            f"{positions} positions; lower one of the two"
        )
