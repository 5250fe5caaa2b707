"""Samples for evaluation: several completions of many prompts, in big batches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from peft import PeftModel
from transformers import PreTrainedModel

from gdro.core.errors import OptionError
from gdro.engines.trl.fast_path import why_not_sampled
from gdro.engines.trl.generation import SamplingOptions, left_pad, sample_rows


def sample(
    model: PreTrainedModel | PeftModel,
    prompts: Sequence[Sequence[int]],
    counts: int | Sequence[int],
    options: SamplingOptions,
    *,
    seed: int,
    rows_per_batch: int = 512,
) -> list[list[list[int]]]:
    """Sample completions of each prompt.

    Args:
        model: a causal language model; put into evaluation mode for the call.
        prompts: M prompts as token ids, none empty.
        counts: completions of each prompt, or one number for all.
        options: how to sample.
        seed: of the random numbers; the global generators are left as they were.
        rows_per_batch: most completions that are sampled together.

    Returns:
        For each prompt its completions as token ids (the end token included), in the order of the
        prompts. Prompts of like length are batched together. Same seed, options and batch size:
        same completions.

    Raises:
        OptionError: an empty prompt, a count below 1, or as many counts as there are not prompts.
    """
    wanted = [counts] * len(prompts) if isinstance(counts, int) else list(counts)
    if len(wanted) != len(prompts):
        raise OptionError(
            f"{len(wanted)} counts for {len(prompts)} prompts; give one count for each prompt"
        )
    for index, (prompt, count) in enumerate(zip(prompts, wanted, strict=True)):
        if not prompt or count < 1:
            raise OptionError(
                f"prompt {index} has {len(prompt)} tokens and {count} samples; both must be at"
                " least 1"
            )
    by_length = sorted(range(len(prompts)), key=lambda index: (len(prompts[index]), index))
    rows = [index for index in by_length for _ in range(wanted[index])]
    completions: list[list[list[int]]] = [[] for _ in prompts]
    generator = torch.Generator(model.device).manual_seed(seed)
    was_training = model.training
    model.eval()
    fast = why_not_sampled(model) is None
    for start in range(0, len(rows), rows_per_batch):
        batch = rows[start : start + rows_per_batch]
        distinct = list(dict.fromkeys(batch))
        places = {index: place for place, index in enumerate(distinct)}
        chosen = [prompts[index] for index in distinct]
        sampler = sample_rows if fast else _generate_rows
        for index, tokens in zip(
            batch,
            sampler(model, chosen, [places[index] for index in batch], options, generator),
            strict=True,
        ):
            completions[index].append(tokens)
    model.train(was_training)
    return completions


@torch.no_grad()
def _generate_rows(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    row_prompts: Sequence[int],
    options: SamplingOptions,
    generator: torch.Generator,
) -> list[list[int]]:
    """`sample_rows` through `model.generate`, for models that the fast sampler does not take."""
    ids, mask = left_pad([prompts[place] for place in row_prompts], options.pad_id, model.device)
    seed = int(torch.randint(2**62, (1,), generator=generator, device=model.device))
    devices = [model.device] if model.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        output = model.generate(
            input_ids=ids,
            attention_mask=mask,
            max_new_tokens=options.max_new_tokens,
            **_how(options),
            eos_token_id=list(options.eos_ids),
            pad_token_id=options.pad_id,
        )
    return [_until_end(row, options.eos_ids) for row in output[:, ids.shape[1] :].tolist()]


def _how(options: SamplingOptions) -> dict[str, Any]:
    """Arguments of `generate`, which warns of a temperature that it does not use, and would take
    the penalty of the model's own generation config."""
    if options.greedy:
        return {"do_sample": False, "repetition_penalty": 1.0}
    return {
        "do_sample": True,
        "repetition_penalty": 1.0,
        "temperature": options.temperature,
        "top_k": options.top_k,
        "top_p": options.top_p,
        "min_p": options.min_p,
    }


def _until_end(tokens: list[int], eos_ids: tuple[int, ...]) -> list[int]:
    ends = [place for place, token in enumerate(tokens) if token in eos_ids]
    return tokens[: ends[0] + 1] if ends else tokens
