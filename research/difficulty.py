"""How hard the prompts are for a model: `python research/difficulty.py [--model DIR]`.

Samples every prompt of the default mixture at temperature 1 and prints the histogram of per-prompt
pass rates over ten bins, mean@8 and pass@8 (unbiased, from all samples), also of every cell.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import comb
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    DynamicCache,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from gdro.data.prompts import Prompt
from gdro.data.reasoning_gym import load_mixture, score
from gdro.tiny import base_path
from gdro.tiny.mixture import DEFAULT_MIXTURE


@dataclass(frozen=True)
class PassCounts:
    """Pass counts of prompts.

    Attributes:
        prompts: the prompts, length P.
        correct: (P,) right completions per prompt.
        samples: completions per prompt.
    """

    prompts: Sequence[Prompt]
    correct: npt.NDArray[np.int64]
    samples: int

    @property
    def rates(self) -> npt.NDArray[np.float64]:
        """(P,) pass rates in [0, 1]."""
        return self.correct / self.samples

    def bins(self) -> npt.NDArray[np.int64]:
        """(10,) prompts with a pass rate in [0, .1), [.1, .2), ..., [.9, 1]."""
        index = np.minimum(10 * self.correct // self.samples, 9)
        return np.bincount(index, minlength=10).astype(np.int64)

    def pass_at(self, k: int) -> npt.NDArray[np.float64]:
        """(P,) unbiased pass@k of every prompt; needs `k <= samples`."""
        if not 1 <= k <= self.samples:
            raise ValueError(f"pass@{k} needs 1 <= k <= {self.samples} samples")
        all_ways = comb(self.samples, k)
        return np.array(
            [1 - comb(self.samples - int(right), k) / all_ways for right in self.correct]
        )


def measure(model_path: Path, prompts: Sequence[Prompt], samples: int, seed: int) -> PassCounts:
    """Sample the model at temperature 1 and count the completions that score 1."""
    model = AutoModelForCausalLM.from_pretrained(model_path).eval()
    tokenizer = AutoTokenizer.from_pretrained(model_path)
    completions = sample(model, tokenizer, prompts, samples, seed)
    return PassCounts(prompts, count_correct(prompts, completions), samples)


def count_correct(
    prompts: Sequence[Prompt], completions: Sequence[Sequence[str]]
) -> npt.NDArray[np.int64]:
    """(P,) completions of each prompt that score 1; equal texts are scored once."""
    right_counts = np.zeros(len(prompts), dtype=np.int64)
    for row, (prompt, texts) in enumerate(zip(prompts, completions, strict=True)):
        right = {text: score(prompt, text) >= 1.0 for text in set(texts)}
        right_counts[row] = sum(right[text] for text in texts)
    return right_counts


def describe(counts: PassCounts) -> str:
    """The histogram, the hard tail, mean@8 and pass@8, and a line per cell."""
    total = len(counts.prompts)
    lines = ["pass rate   prompts  share"]
    for index, count in enumerate(counts.bins()):
        edge = f"[{index / 10:.1f}, {index / 10 + 0.1:.1f}" + ("]" if index == 9 else ")")
        lines.append(f"{edge}  {count:7d}  {count / total:.3f}")
    rates = counts.rates
    tail = int(np.sum((rates > 0) & (rates < 0.03)))
    lines.append(f"never right {int(np.sum(rates == 0))}, right but below .03: {tail}")
    lines.append(_metrics("all", counts.rates, counts.pass_at(8)))
    cells: dict[str, list[int]] = defaultdict(list)
    for row, prompt in enumerate(counts.prompts):
        cells[f"{prompt.metadata['family']}/{prompt.metadata['level']}"].append(row)
    lines += [_metrics(name, rates[rows], counts.pass_at(8)[rows]) for name, rows in cells.items()]
    return "\n".join(lines)


def _metrics(name: str, rates: npt.NDArray[np.float64], passes: npt.NDArray[np.float64]) -> str:
    return (
        f"{name:24s} prompts {len(rates):4d}  mean@8 {rates.mean():.3f}  pass@8 {passes.mean():.3f}"
    )


@torch.inference_mode()
def sample(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    prompts: Sequence[Prompt],
    samples: int,
    seed: int,
    max_tokens: int = 24,
    temperature: float = 1.0,
    rows: int = 1024,
) -> list[list[str]]:
    """`samples` completions of each prompt, in the order of `prompts`, as text without special
    tokens.

    Prompts of the same length in tokens share a batch of at most `rows` rows (at least one prompt):
    nothing is padded. A completion that has not ended after `max_tokens` tokens is cut there.
    """
    generator = torch.Generator().manual_seed(seed)
    encoded = [encode(tokenizer, prompt) for prompt in prompts]
    completions: list[list[str]] = [[] for _ in prompts]
    for members in _batches(encoded, max(1, rows // samples)):
        ids = torch.tensor([encoded[member] for member in members])
        tokens = _decode(
            model, ids, samples, tokenizer.eos_token_id, max_tokens, temperature, generator
        )
        texts = tokenizer.batch_decode(tokens, skip_special_tokens=True)
        for place, member in enumerate(members):
            completions[member] = texts[place * samples : (place + 1) * samples]
    return completions


def encode(tokenizer: PreTrainedTokenizerFast, prompt: Prompt) -> list[int]:
    """Token ids of a prompt, plain or a chat, up to where the completion starts."""
    if isinstance(prompt.messages, str):
        return list(tokenizer(prompt.messages).input_ids)
    chat = [dict(message) for message in prompt.messages]
    return list(
        tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_dict=True)[
            "input_ids"
        ]
    )


def _batches(encoded: Sequence[Sequence[int]], size: int) -> Iterator[list[int]]:
    """Positions of prompts of equal length, at most `size` at a time, shortest first."""
    by_length: dict[int, list[int]] = defaultdict(list)
    for position, ids in enumerate(encoded):
        by_length[len(ids)].append(position)
    for length in sorted(by_length):
        positions = by_length[length]
        for start in range(0, len(positions), size):
            yield positions[start : start + size]


def _decode(
    model: PreTrainedModel,
    ids: torch.Tensor,
    samples: int,
    end: int,
    max_tokens: int,
    temperature: float,
    generator: torch.Generator,
) -> torch.Tensor:
    """Sampled tokens, (prompts * samples, max_tokens), filled up with `end`."""
    cache = DynamicCache()
    logits = model(ids, past_key_values=cache, use_cache=True, logits_to_keep=1).logits[:, -1]
    cache.batch_repeat_interleave(samples)
    logits = logits.repeat_interleave(samples, dim=0)
    tokens = torch.full((len(logits), max_tokens), end)
    live = torch.arange(len(logits))
    for step in range(max_tokens):
        noise = torch.empty_like(logits).exponential_(generator=generator)
        drawn = (torch.softmax(logits / temperature, dim=-1) / noise).argmax(dim=-1)
        tokens[live, step] = drawn
        keep = (drawn != end).nonzero().squeeze(1)
        if len(keep) == 0 or step == max_tokens - 1:
            break
        if len(keep) < len(live):
            cache.batch_select_indices(keep)
            live, drawn = live[keep], drawn[keep]
        logits = model(drawn[:, None], past_key_values=cache, use_cache=True).logits[:, -1]
    return tokens


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--model",
        type=Path,
        default=base_path(),
        help="a model folder; the embedded base if left out",
    )
    parser.add_argument("--split", choices=["train", "heldout"], default="train")
    parser.add_argument("--prompts", type=int, default=1024)
    parser.add_argument("--samples", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    start = time.perf_counter()
    prompts = load_mixture(DEFAULT_MIXTURE, arguments.prompts, arguments.seed, arguments.split)
    counts = measure(arguments.model, prompts, arguments.samples, arguments.seed)
    print(describe(counts))
    print(
        f"{arguments.samples} samples per prompt, seed {arguments.seed},"
        f" {time.perf_counter() - start:.0f} s"
    )


if __name__ == "__main__":
    main()
