"""Prompt-GDRO on the prompts that are likely to have a gradient: chosen, before generating, by a posterior.

A group that is all right or all wrong teaches little, whatever its weight. Among the candidates, prompt i is drawn with
a chance in proportion to the probability that its rewards will differ,

    s_i = 1 - E[p_i^n] - E[(1 - p_i)^n],      p_i ~ Beta(a_i, b_i)

without replacement (Efraimidis and Spirakis, 2006: the m smallest -log(u_i) / s_i win). Solved prompts and hopeless
ones are drawn rarely, not never: their posterior ages back towards their source, so what was forgotten, or has come
into reach, is found again. A prompt that was never seen is judged by its source, where methods with one posterior for
each prompt know nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from gdro.controllers.posterior_gdro import PosteriorGDRO
from gdro.core.hashing import Keys, to_unit
from gdro.core.source_posterior import live_probability
from gdro.core.types import Floats, Ints

LEAST = 1e-9
"""Least chance of a prompt, so that a batch can be filled when all others run out."""


@dataclass(kw_only=True, eq=False)
class LiveGDRO(PosteriorGDRO):
    """Selects; weighs bins of the posterior; rollouts uniform."""

    name: ClassVar[str] = "live_gdro"
    selects: ClassVar[bool] = True

    def _rank(self, ids: tuple[str, ...], rows: Ints, keys: Keys) -> Floats:
        a, b = self.sources.posterior(ids, rows, self.steps_seen)
        chance = np.maximum(live_probability(a, b, self.mean_rollouts), LEAST)
        return -np.log1p(-to_unit(keys)) / chance
