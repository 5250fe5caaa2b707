"""C-GRPO: sample a prompt until a split-conformal set over its answers is a single answer.

Source: PyPI trl-cgrpo 0.2.0, read (Fayyazi; its paper was not to be had). There:

- after k = 2, 4, 8, 16, 32 rollouts of a prompt the set of its most frequent answers whose shares
  sum to at least q_k is taken; sampling stops when that is one answer, so when the most frequent
  answer's share is at least q_k. A completion without an answer counts in k alone;
- q_k is the ceil((n + 1)(1 - delta))-th smallest of the scores of n other prompts at k rollouts.
  The score (APS, randomised) is the share of the answers more frequent than the right one, ties at
  random, plus U times the right one's own, U uniform; 1 if it was never sampled;
- delta is the share of these prompts that were not solved in 32 rollouts, + .05, within .05 .. .95;
- thresholds are taken anew every 50 steps, with the policy as it is then.

For a new prompt, exchangeable with these, P(score <= q_k) >= 1 - delta at any fixed k and delta.
The choice of delta from the same scores, and the stop at the first of several k, are outside this
guarantee, there and here.

Ours: all rollouts that the verifier finds right have one answer, the right one, whatever their
text; where the rank exceeds n the threshold is 1 (the release takes the largest score); U is a
function of prompt and calibration, so there is no random state. `rounds: c_grpo` of the TRL engine
(`gdro.engines.trl.rounds`) samples, and says which prompts and what it does with what is saved.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from gdro.core.errors import OptionError
from gdro.core.hashing import prompt_key, uniforms
from gdro.core.types import Bools, Floats

RIGHT = "\0right"
"""The one answer of all rollouts that are right."""
MOST, FIRST = 32, 2
"""Rollouts of a prompt: the largest number in the release, and the smallest."""
MARGIN, LEAST_DELTA, MOST_DELTA = 0.05, 0.05, 0.95


def budgets(mean: int) -> tuple[int, ...]:
    """Rollouts after which a prompt may stop: 2, 4, 8, .. up to 4 * mean, at most 32 or the mean
    itself where that is more (ours).

    Raises:
        OptionError: a mean below 2.
    """
    if mean < FIRST:
        raise OptionError(f"num_generations={mean}: c_grpo begins with {FIRST} rollouts a prompt")
    last = max(min(4 * mean, MOST), mean)
    doubled = [FIRST << j for j in range(last.bit_length()) if FIRST << j < last]
    return (*doubled, last)


def answers_of(texts: Sequence[str | None], right: Bools) -> list[str]:
    """The answers of a prompt's rollouts, all right ones alike; "" where there is none."""
    return [RIGHT if r else (t or "").strip() for t, r in zip(texts, right.tolist(), strict=True)]


def top_share(answers: Sequence[str]) -> float:
    """Share of the most frequent answer among all rollouts; 0 where no answer can be read."""
    counts = Counter(answer for answer in answers if answer)
    return max(counts.values(), default=0) / len(answers)


def score(answers: Sequence[str], tie: float, own: float) -> float:
    """The right answer's nonconformity: the share ahead of it + `own` times its own; 1 unsampled.

    Args:
        tie, own: uniform in [0, 1); how many of equally frequent answers are ahead, and U.
    """
    counts = Counter(answer for answer in answers if answer)
    mine = counts.pop(RIGHT, 0)
    if mine == 0:
        return 1.0
    ahead = sum(count for count in counts.values() if count > mine)
    ties = sum(count == mine for count in counts.values())
    ahead += int(tie * (ties + 1)) * mine
    return min((ahead + own * mine) / len(answers), 1.0)


def threshold(scores: Floats, delta: float) -> float:
    """The ceil((n + 1)(1 - delta))-th smallest of n scores, or 1 where there are not as many."""
    rank = math.ceil(round((len(scores) + 1) * (1.0 - delta), 9))
    return float(np.sort(scores)[max(rank, 1) - 1]) if rank <= len(scores) else 1.0


def fitting_delta(scores: Floats) -> float:
    """The share that was never solved, and a margin: a smaller delta would put every q_k at 1."""
    return float(np.clip((scores >= 1.0).mean() + MARGIN, LEAST_DELTA, MOST_DELTA))


def calibrate(
    answers: Mapping[str, Sequence[str]], steps: Sequence[int], salt: int
) -> tuple[float, dict[int, float]]:
    """delta, and the threshold at each number of rollouts.

    Args:
        answers: of each calibration prompt, as `answers_of`; at least steps[-1] of each.
        steps: rising numbers of rollouts.
        salt: of this calibration; another draws other U.

    Raises:
        OptionError: no prompt, or too few answers of one.
    """
    short = [prompt for prompt, given in answers.items() if len(given) < steps[-1]]
    if not answers or short:
        raise OptionError(
            f"c_grpo calibrates on {steps[-1]} rollouts a prompt; too few of"
            f" {short[0] if short else 'any'!r}"
        )
    scores = np.empty((len(answers), len(steps)))
    for row, (prompt, given) in enumerate(answers.items()):
        draws = uniforms(2 * len(steps), prompt_key(prompt), salt).reshape(-1, 2).tolist()
        scores[row] = [score(given[:k], *pair) for k, pair in zip(steps, draws, strict=True)]
    delta = fitting_delta(scores[:, -1])
    return delta, {k: threshold(scores[:, j], delta) for j, k in enumerate(steps)}
