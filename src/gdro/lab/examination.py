"""What a simulated learner scores on held-out prompts: success rates are read off, so no score has sampling noise."""

from __future__ import annotations

import numpy as np

from gdro.core.types import Floats, Ints
from gdro.lab.population import Population

K = 8
BINS = 10


class Examination:
    """Held-out prompts in ten bins of equal size by their success rate before training, the same bins for ever.

    Scores: mean@8 and pass@8 over all, pass@8 of the worst bin, both of the hardest fifth, and forgetting, the mean
    fall of a prompt's success rate from the best that it ever had at an evaluation.
    """

    def __init__(self, prompts: Population) -> None:
        self.prompts = prompts
        rates = prompts.rates(np.zeros(prompts.features.shape[1]))
        self.best = rates
        self.bin: Ints = np.argsort(np.argsort(rates, kind="stable")) * BINS // len(rates)

    def hold(self, step: int, theta: Floats) -> dict[str, float]:
        """Scores of a learner at theta (K,), at this step."""
        rates = self.prompts.rates(theta)
        self.best = np.maximum(self.best, rates)
        solved = 1.0 - (1.0 - rates) ** K
        by_bin = np.bincount(self.bin, weights=solved) / np.bincount(self.bin)
        return {
            "step": float(step),
            "mean_at_k": float(rates.mean()),
            "pass_at_k": float(solved.mean()),
            "worst_bin": float(by_bin.min()),
            "hardest_fifth": float(rates[self.bin < 2].mean()),
            "hardest_fifth_pass": float(solved[self.bin < 2].mean()),
            "forgetting": float((self.best - rates).mean()),
        }
