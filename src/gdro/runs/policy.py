"""The policy of a run: a causal language model and its tokenizer, with what the run asks of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from gdro.data.prompts import Prompt
from gdro.models.loading import load_model
from gdro.runs.config import TrainConfig
from gdro.runs.errors import RunError


@dataclass(frozen=True, slots=True)
class Policy:
    """A model with its tokenizer, and where it came from."""

    model: Any
    tokenizer: Any
    path: str

    def encode(self, prompt: Prompt) -> list[int]:
        """Token ids of a prompt, as the trainer will tokenize it."""
        if isinstance(prompt.messages, str):
            ids: list[int] = self.tokenizer(prompt.messages)["input_ids"]
            return ids
        chat = [dict(message) for message in prompt.messages]
        encoded = self.tokenizer.apply_chat_template(chat, add_generation_prompt=True, tokenize=True, return_dict=True)
        return list(encoded["input_ids"])

    @property
    def context(self) -> int | None:
        """Positions the model was made for, where its config says."""
        limit: int | None = self.model.config.to_dict().get("max_position_embeddings")
        return limit


def load_policy(name: str, tell: Callable[[str], None] = lambda text: None) -> Policy:
    """Load what a `model:` setting names; see `gdro.models.loading.load_model`.

    Raises:
        ModelError: there is no such model, or it cannot be used.
    """
    return Policy(*load_model(name, tell))


def check_context(policy: Policy, config: TrainConfig) -> None:
    """Raises RunError when the longest prompt and completion do not fit the model's positions."""
    wanted = config.generation.max_prompt_tokens + config.generation.max_completion_tokens
    if policy.context is not None and wanted > policy.context:
        raise RunError(
            f"generation.max_prompt_tokens + generation.max_completion_tokens = {wanted}, but {config.model} has "
            f"{policy.context} positions; lower one of the two"
        )
