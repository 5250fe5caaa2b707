"""The policy of a run: a Hugging Face causal language model and its tokenizer, loaded with errors a person can use."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from gdro.data.prompts import Prompt
from gdro.runs.config import TrainConfig
from gdro.runs.errors import RunError
from gdro.tiny import base_path

TINY = "tiny"


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


def model_path(name: str) -> str:
    """`tiny` is the embedded base; anything else is a folder or a hub name as it is."""
    return str(base_path()) if name == TINY else name


def load_policy(name: str) -> Policy:
    """Load model (float32 weights) and tokenizer.

    Raises:
        RunError: the folder or hub name has no such model, or no tokenizer.
    """
    path = model_path(name)
    if path[0] in "./~" and not Path(path).is_dir():
        raise RunError(f"model={name}: there is no such folder")
    if Path(path).is_dir() and not (Path(path) / "config.json").is_file():
        raise RunError(f"model={name}: the folder has no config.json; give a Hugging Face model folder")
    tokenizer = _load(AutoTokenizer, name, path, "tokenizer")
    model = _load(AutoModelForCausalLM, name, path, "causal language model", dtype=torch.float32)
    if not tokenizer("1 + 1 = 2")["input_ids"]:
        raise RunError(f"model={name}: found no tokenizer there (an empty one loads, which encodes nothing)")
    if tokenizer.eos_token_id is None:
        raise RunError(f"model={name}: its tokenizer has no end token, so no completion could end; set eos_token")
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    tokenizer.padding_side = "left"
    return Policy(model, tokenizer, path)


def check_context(policy: Policy, config: TrainConfig) -> None:
    """Raises RunError when the longest prompt and completion do not fit the model's positions."""
    wanted = config.generation.max_prompt_tokens + config.generation.max_completion_tokens
    if policy.context is not None and wanted > policy.context:
        raise RunError(
            f"generation.max_prompt_tokens + generation.max_completion_tokens = {wanted}, but {config.model} has "
            f"{policy.context} positions; lower one of the two"
        )


def _load(loader: Any, name: str, path: str, what: str, **options: Any) -> Any:
    try:
        return loader.from_pretrained(path, **options)
    except (OSError, ValueError, KeyError) as error:
        where = "in that folder" if Path(path).is_dir() else "as a folder, in the local cache or on the hub"
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise RunError(f"model={name}: found no {what} {where} ({first})") from error
