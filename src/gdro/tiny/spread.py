"""How difficulty is spread for a model: `python -m gdro.tiny.spread [--model DIR]`.

Samples every prompt of the default mixture at temperature 1 and prints the histogram of per-prompt pass rates
over ten bins, mean@8 and pass@8 (unbiased, from all samples), also of every cell.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from math import comb
from pathlib import Path

import numpy as np
import numpy.typing as npt

from gdro.data.prompts import Prompt
from gdro.data.reasoning_gym import load_mixture, score
from gdro.tiny import base_path
from gdro.tiny.mixture import DEFAULT_MIXTURE


@dataclass(frozen=True)
class Spread:
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
        return np.array([1 - comb(self.samples - int(right), k) / all_ways for right in self.correct])


def measure(model_path: Path, prompts: Sequence[Prompt], samples: int, seed: int) -> Spread:
    """Sample the model at temperature 1 and count the completions that score 1."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from gdro.tiny.sampling import sample

    model = AutoModelForCausalLM.from_pretrained(model_path).eval()
    tokenizer = AutoTokenizer.from_pretrained(model_path)
    completions = sample(model, tokenizer, prompts, samples, seed)
    return Spread(prompts, count_correct(prompts, completions), samples)


def count_correct(prompts: Sequence[Prompt], completions: Sequence[Sequence[str]]) -> npt.NDArray[np.int64]:
    """(P,) completions of each prompt that score 1; equal texts are scored once."""
    counts = np.zeros(len(prompts), dtype=np.int64)
    for row, (prompt, texts) in enumerate(zip(prompts, completions, strict=True)):
        right = {text: score(prompt, text) >= 1.0 for text in set(texts)}
        counts[row] = sum(right[text] for text in texts)
    return counts


def describe(spread: Spread) -> str:
    """The histogram, the hard tail, mean@8 and pass@8, and a line per cell."""
    total = len(spread.prompts)
    lines = ["pass rate   prompts  share"]
    for index, count in enumerate(spread.bins()):
        edge = f"[{index / 10:.1f}, {index / 10 + 0.1:.1f}" + ("]" if index == 9 else ")")
        lines.append(f"{edge}  {count:7d}  {count / total:.3f}")
    rates = spread.rates
    tail = int(np.sum((rates > 0) & (rates < 0.03)))
    lines.append(f"never right {int(np.sum(rates == 0))}, right but below .03: {tail}")
    lines.append(_metrics("all", spread.rates, spread.pass_at(8)))
    cells: dict[str, list[int]] = defaultdict(list)
    for row, prompt in enumerate(spread.prompts):
        cells[f"{prompt.metadata['family']}/{prompt.metadata['level']}"].append(row)
    lines += [_metrics(name, rates[rows], spread.pass_at(8)[rows]) for name, rows in cells.items()]
    return "\n".join(lines)


def _metrics(name: str, rates: npt.NDArray[np.float64], passes: npt.NDArray[np.float64]) -> str:
    return f"{name:24s} prompts {len(rates):4d}  mean@8 {rates.mean():.3f}  pass@8 {passes.mean():.3f}"


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=base_path(), help="a model folder; the embedded base if left out")
    parser.add_argument("--split", choices=["train", "heldout"], default="train")
    parser.add_argument("--prompts", type=int, default=1024)
    parser.add_argument("--samples", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    start = time.perf_counter()
    prompts = load_mixture(DEFAULT_MIXTURE, arguments.prompts, arguments.seed, arguments.split)
    spread = measure(arguments.model, prompts, arguments.samples, arguments.seed)
    print(describe(spread))
    print(f"{arguments.samples} samples per prompt, seed {arguments.seed}, {time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
