"""Padding and seconds of an update pass: order of arrival, batches of like length, packed rows.

    OMP_NUM_THREADS=1 python benchmarks/packing.py [--rounds 3]

Packed rows, which gdro does not train on, are what an engine whose attention keeps packed sequences
apart could have: filled by first-fit-decreasing (the dense packing of DPPO, arXiv 2603.04135), or
in the order of arrival. Lengths of 64 rollouts: `completions` of the embedded base on its own tasks
(short, with their prompts), and `log-normal` ones (median 200, sigma .6, at most 800), as rollouts
that reason have. Fill ratio is the share of tokens computed that is no padding; a packed row has
room for the longest rollout. The seconds are of forward and backward of a randomly initialised
Qwen3 of 6 layers and width 256, in eight padded batches; arrival and like length are timed in turn,
and their gradients are compared.
"""

from __future__ import annotations

import argparse
import statistics
import time

import numpy as np
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, Qwen3Config, Qwen3ForCausalLM

from gdro.core.types import Ints
from gdro.data.reasoning_gym import load_mixture
from gdro.engines.trl import SamplingOptions, sample
from gdro.objectives.packing import Bins, fill_ratio, like_length
from gdro.tiny import base_path
from gdro.tiny.mixture import DEFAULT_MIXTURE

ROWS, BATCHES, VOCABULARY = 64, 8, 1000


def lengths_of_completions(seed: int) -> Ints:
    """Prompt and completion tokens of the embedded base's answers."""
    model = AutoModelForCausalLM.from_pretrained(base_path())
    tokenizer = AutoTokenizer.from_pretrained(base_path())
    tasks = load_mixture(DEFAULT_MIXTURE, ROWS // 2, seed=seed)
    prompts = [tokenizer(task.messages)["input_ids"] for task in tasks]
    options = SamplingOptions(32, (tokenizer.eos_token_id,), tokenizer.pad_token_id)
    groups = sample(model, prompts, 2, options, seed=seed)
    pairs = zip(prompts, groups, strict=True)
    return np.array([len(prompt) + len(one) for prompt, group in pairs for one in group])


def lengths_of_reasoning(seed: int) -> Ints:
    """Log-normal lengths."""
    drawn = 200 * np.exp(0.6 * np.random.default_rng(seed).normal(size=ROWS))
    return np.clip(drawn, 1, 800).astype(np.int64)


def first_fit(lengths: Ints, capacity: int) -> Bins:
    """Rows of at most `capacity` tokens: the longest sequence first, each into the first row with
    room for it."""
    room: list[int] = []
    rows: Bins = []
    for place in np.lexsort((np.arange(len(lengths)), -lengths)).tolist():
        length = int(lengths[place])
        row = next((row for row, free in enumerate(room) if free >= length), len(room))
        if row == len(room):
            room.append(capacity)
            rows.append([])
        room[row] -= length
        rows[row].append(place)
    return rows


def first_come(lengths: Ints, capacity: int) -> Bins:
    """Rows of at most `capacity` tokens; a row is closed when the next sequence does not fit."""
    rows: Bins = []
    free = -1
    for place, length in enumerate(lengths.tolist()):
        if length > free:
            rows.append([])
            free = capacity
        rows[-1].append(place)
        free -= length
    return rows


def packed_fill(lengths: Ints, rows: Bins, capacity: int) -> float:
    """Share of the rows' room that holds tokens; every sequence lies in one row, none overflows."""
    assert sorted(place for row in rows for place in row) == list(range(len(lengths)))
    assert all(lengths[row].sum() <= capacity for row in rows)
    return float(lengths.sum() / (capacity * len(rows)))


def seconds(
    model: torch.nn.Module, rows: list[torch.Tensor], bins: Bins
) -> tuple[float, torch.Tensor]:
    """CPU seconds of one pass over all batches, and the gradient of one weight."""
    model.zero_grad()
    start = time.process_time()
    for places in bins:
        width = max(len(rows[place]) for place in places)
        ids = torch.stack(
            [torch.nn.functional.pad(rows[p], (0, width - len(rows[p]))) for p in places]
        )
        mask = torch.stack([torch.arange(width) < len(rows[p]) for p in places])
        logits = model(input_ids=ids, attention_mask=mask.long()).logits[:, :-1]
        logp = torch.log_softmax(logits, -1).gather(2, ids[:, 1:, None])[:, :, 0]
        (-(logp * mask[:, 1:]).sum() / sum(map(len, rows))).backward()
    spent = time.process_time() - start
    return spent, model.get_parameter("model.layers.0.mlp.up_proj.weight").grad.clone()


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    arrival = [
        list(range(start, start + ROWS // BATCHES)) for start in range(0, ROWS, ROWS // BATCHES)
    ]
    for name, draw in (
        ("completions", lengths_of_completions),
        ("log-normal", lengths_of_reasoning),
    ):
        shares: dict[str, list[float]] = {}
        for seed in range(5):
            sizes = draw(seed)
            capacity = int(sizes.max())
            found = {
                "padded, arrival": fill_ratio(sizes, arrival),
                "padded, like length": fill_ratio(sizes, like_length(sizes, BATCHES)),
                "packed, first come": packed_fill(sizes, first_come(sizes, capacity), capacity),
                "packed, first fit": packed_fill(sizes, first_fit(sizes, capacity), capacity),
            }
            for way, share in found.items():
                shares.setdefault(way, []).append(share)
        for way, values in shares.items():
            print(
                f"{name:12} {way:22} fill {np.mean(values):.3f} (5 draws, {min(values):.3f} to"
                f" {max(values):.3f})"
            )

    torch.manual_seed(0)
    shape = {"hidden_size": 256, "intermediate_size": 768, "num_hidden_layers": 6, "head_dim": 64}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 4, "vocab_size": VOCABULARY}
    model = Qwen3ForCausalLM(Qwen3Config(**shape, **heads))
    sizes = lengths_of_reasoning(0)
    rows = [torch.randint(VOCABULARY, (int(size),)) for size in sizes]
    ways = {"arrival": arrival, "like length": like_length(sizes, BATCHES)}
    spent: dict[str, list[float]] = {way: [] for way in ways}
    gradients = {}
    for _ in range(options.rounds + 1):  # the first round warms up
        for way, bins in ways.items():
            took, gradients[way] = seconds(model, rows, bins)
            spent[way].append(took)
    for way, values in spent.items():
        print(
            f"update pass, {way:12} {statistics.median(values[1:]):.2f} s CPU (median of"
            f" {options.rounds})"
        )
    gap = (gradients["arrival"] - gradients["like length"]).norm() / gradients["arrival"].norm()
    print(f"relative difference of the gradients {gap:.1e}")


if __name__ == "__main__":
    main()
