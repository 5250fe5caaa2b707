"""DisCO, Discriminative Constrained Optimization (arXiv 2505.12366): right above wrong answers.

GRPO with rewards 0 and 1 weighs a question of pass rate p by sqrt(p (1 - p)), Dr. GRPO by
p (1 - p); DisCO weighs every question alike [P]. With s(o) the score of a rollout, o+ a right and
o- a wrong one of the same question,

    J1 (`basic`, DisCO-b) = mean s(o+) - mean s(o-)
    J2 (DisCO)            = mean over o+ of  -tau log mean over o- of exp((s(o-) - s(o+)) / tau)
    loss                  = -mean over questions of J + beta [KL(pi_old || pi) - delta]_+^2

J2 tends to J1 as tau grows; a small tau pushes on the wrong answers of highest score. Scores have
no clipping: `logL` is the mean log-probability of the tokens, `Lratio` the mean ratio pi / pi_old.

What the paper leaves to the code, as its release has it [C]: a question that is all right or all
wrong has J = 0 and still counts in the mean over questions; the KL is the mean over all tokens of
log pi_old - log pi. Ours [M]: the KL is that of the whole optimiser batch (the release takes each
micro-batch's own), the logged loss is the true one, and a rollout without a token takes no part.
The release multiplies the gradient of the KL by beta [KL - delta]_+, half of what the formula says.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch

from gdro.core.errors import OptionError
from gdro.objectives.batchwise import ObjectiveLoss, masked, mean_by_group
from gdro.objectives.rows import Groups, check_rows

Score = Literal["logL", "Lratio"]
DEFAULT_TAU = {"logL": 10.0, "Lratio": 1.0}


@dataclass(frozen=True, slots=True)
class DisCO:
    """DisCO: right answers above wrong ones, each question alike, inside a trust region.

    Attributes:
        score: `logL`, the mean log-probability of a rollout's tokens, or `Lratio`, their mean
            ratio.
        tau: temperature over the wrong answers, >= 1e-6; None: 10 for logL, 1 for Lratio [P].
        basic: DisCO-b, without tau.
        delta: KL in nats a token up to which nothing is charged, >= 0. 1e-4 [P] goes with learning
            rates about 1e-6.
        beta: weight of the squared excess, >= 0.
        threshold: a rollout is right if its reward is above it.

    Raises:
        OptionError: a value out of range.
    """

    score: Score = "logL"
    tau: float | None = None
    basic: bool = False
    delta: float = 1e-4
    beta: float = 1e3
    threshold: float = 0.5

    def __post_init__(self) -> None:
        if self.score not in DEFAULT_TAU:
            raise OptionError(f"score={self.score!r}: choose logL or Lratio")
        if self.tau is not None and not 1e-6 <= self.tau < float("inf"):
            raise OptionError(f"tau={self.tau!r}: it must be at least 1e-6 and finite, or None")
        for name in ("delta", "beta"):
            value = getattr(self, name)
            if not 0.0 <= value < float("inf"):
                raise OptionError(f"{name}={value!r}: it must be finite and >= 0")
        if not abs(self.threshold) < float("inf"):
            raise OptionError(f"threshold={self.threshold!r}: it must be a finite reward")

    @property
    def temperature(self) -> float:
        """tau, or its default for the score."""
        return DEFAULT_TAU[self.score] if self.tau is None else self.tau

    @property
    def reads_level(self) -> bool:
        """logL is a level of log-probability; Lratio is 1 on policy."""
        return self.score == "logL"

    def matters(self, reward: torch.Tensor, group: torch.Tensor, on_policy: bool) -> torch.Tensor:
        """(R,) rollouts of questions with right and wrong ones; all where the KL may charge."""
        if not on_policy and self.beta > 0.0:
            return torch.ones_like(reward, dtype=torch.bool)
        return Groups.of(group).mixed(reward > self.threshold)

    def values(
        self, logp: torch.Tensor, logp_old: torch.Tensor, mask: torch.Tensor
    ) -> torch.Tensor:
        """(R, 3) of each rollout: its score, the sum of log pi_old - log pi, its tokens."""
        new, old, kept = masked(logp, mask), masked(logp_old, mask), mask.bool().float()
        tokens = kept.sum(1)
        per_token = new if self.score == "logL" else torch.exp(new - old) * kept
        score = per_token.sum(1) / tokens.clamp(min=1.0)
        return torch.stack([score, (old - new).sum(1), tokens.to(score)], 1)

    def loss(
        self,
        values: torch.Tensor,
        reward: torch.Tensor,
        group: torch.Tensor,
        *,
        weight: torch.Tensor | None = None,
        names: Sequence[str] | None = None,
    ) -> ObjectiveLoss:
        """The loss of the whole optimiser batch from the values of all its rollouts.

        Args:
            values: (R, 3) from `values`, of all micro-batches and processes.
            reward: (R,) rewards; `threshold` makes them right or wrong.
            group: (R,) integers, the question of each rollout.
            weight: (R,) weight of each rollout's question; 1 by default.
            names: what to call question g in an error, `names[g]`.

        Raises:
            ObjectiveError, RewardError: NaN or infinity, or a shape that does not fit; names the
                prompt.
        """
        check_rows(group, names, **{"log-probabilities": values, "reward": reward})
        score, gap, tokens = values.unbind(1)
        groups = Groups.of(group)
        present, right = tokens.detach() > 0, reward > self.threshold
        good, bad = present & right, present & ~right
        number_good, number_bad = groups.sum(good.to(score)), groups.sum(bad.to(score))
        live = (number_good > 0) & (number_bad > 0)
        mean_good = groups.sum(torch.where(good, score, 0.0)) / number_good.clamp(min=1.0)
        mean_bad = groups.sum(torch.where(bad, score, 0.0)) / number_bad.clamp(min=1.0)
        against = mean_bad
        if not self.basic:
            against = self._soft_maximum(groups, score, bad, number_bad)
        weights = torch.ones_like(mean_good)
        if weight is not None:
            weights = mean_by_group(groups, weight, names).to(mean_good)
        parted = torch.where(live, weights * (mean_good - against), 0.0)
        kl = gap.sum() / tokens.sum().clamp(min=1.0)
        penalty = self.beta * (kl - self.delta).clamp(min=0.0) ** 2
        questions = max(len(groups.size), 1)
        loss = penalty - parted.sum() / questions + 0.0 * score.sum()
        apart = torch.where(live, mean_good - mean_bad, 0.0).detach().sum()
        metrics = {
            "kl": float(kl.detach()),
            "penalty": float(penalty.detach()),
            "questions": float(len(groups.size)),
            "questions_all_right": float(((number_good > 0) & (number_bad == 0)).sum()),
            "questions_all_wrong": float(((number_good == 0) & (number_bad > 0)).sum()),
            "rollouts_without_tokens": float((~present).sum()),
            "rewards_between_0_and_1": float(((reward > 0.0) & (reward < 1.0)).sum()),
            "score_gap": float(apart / live.sum()) if bool(live.any()) else torch.nan,
        }
        return ObjectiveLoss(loss, metrics)

    def _soft_maximum(
        self, groups: Groups, score: torch.Tensor, bad: torch.Tensor, number_bad: torch.Tensor
    ) -> torch.Tensor:
        """(G,) tau log mean exp(s / tau) over a question's wrong answers; 0 without any."""
        lowest = torch.full_like(number_bad, -torch.inf)
        held = torch.where(bad, score.detach(), -torch.inf)
        top = lowest.scatter_reduce(0, groups.number, held, "amax")
        top = torch.where(number_bad > 0, top, 0.0)
        # exp and log beside 1: in single precision tau times a plain logarithm would lose what a
        # large tau leaves of the scores.
        below = torch.where(bad, score - top[groups.number], 0.0) / self.temperature
        mean = groups.sum(torch.where(bad, torch.expm1(below), 0.0)) / number_bad.clamp(min=1.0)
        return top + self.temperature * torch.log1p(mean)


def disco_loss(
    logp: torch.Tensor,
    logp_old: torch.Tensor,
    mask: torch.Tensor,
    reward: torch.Tensor,
    group: torch.Tensor,
    score: Score = "logL",
    tau: float | None = None,
    basic: bool = False,
    delta: float = 1e-4,
    beta: float = 1e3,
    *,
    threshold: float = 0.5,
    weight: torch.Tensor | None = None,
    names: Sequence[str] | None = None,
) -> ObjectiveLoss:
    """DisCO's loss of one whole optimiser batch (module docstring).

    A batch that is split into micro-batches or over processes goes through
    `gdro.objectives.batchwise`, which gives the same gradient.

    Args:
        logp: (R, T) log-probability of each token under the policy, with a graph; in nats.
        logp_old: (R, T) under the policy that sampled them.
        mask: (R, T) 1 for the tokens of the completion, 0 for padding, whose values are not read.
        reward: (R,) reward of each rollout.
        group: (R,) integers; rollouts of the same question share one. Any order, any sizes.
        score, tau, basic, delta, beta, threshold: see `DisCO`.
        weight: (R,) weight of each rollout's question, equal within it; 1 by default.
        names: what to call question g in an error, `names[g]`.

    Returns:
        The loss, with a graph even if no question has both right and wrong rollouts, and metrics.

    Raises:
        OptionError: an option out of range.
        ObjectiveError, RewardError: NaN or infinity, or a shape that does not fit; names the
            prompt.
    """
    options = DisCO(score, tau, basic, delta, beta, threshold)
    values = options.values(logp, logp_old, mask)
    return options.loss(values, reward, group, weight=weight, names=names)
