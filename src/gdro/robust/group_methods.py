"""Methods that weigh known groups: Balanced (the baseline), GroupDRO, DoReMi."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from gdro.core.adversaries import Adversary, Hedge, mix, scale_gains, softmax
from gdro.core.state import State, read_array, read_int, read_state
from gdro.core.types import Floats
from gdro.robust.base import RobustMethod, group_counts
from gdro.robust.batch import Batch, RobustError, check_positive

Counts = Mapping[str, float] | Sequence[float] | None


class Balanced(RobustMethod):
    """Every group counts alike over the training set: w_i proportional to 1 / n_g. The baseline to
    beat.

    Args:
        groups: names, or how many.
        counts: samples (or tokens) of each group in the training set; None: what has been seen so
            far, this step included.
    """

    name = "balanced"
    needs_groups = True

    def __init__(self, groups: Sequence[str] | int, *, counts: Counts = None) -> None:
        super().__init__(groups)
        assert self.groups is not None
        self._counts = group_counts(counts, self.groups)
        self._seen = np.zeros(len(self.groups))

    def _observe(self, batch: Batch) -> None:
        self._seen = self._seen + batch.group_sums(batch.sizes, len(self._seen))

    def _weigh(self, batch: Batch) -> Floats:
        counts = self._counts if self._counts is not None else np.maximum(self._seen, 1.0)
        return np.asarray(1.0 / counts[batch.groups])

    def _state(self) -> State:
        return {"seen": self._seen.copy()}

    def _load(self, state: State) -> None:
        self._seen = read_array(state, "seen", self._seen)


class GroupWeights(RobustMethod):
    """What GroupDRO and DoReMi share: a distribution q over groups, and weights w_i = q_g / share
    of g in the step, so that the step's loss is sum_g q_g L_g over the groups that are there."""

    needs_groups = True

    def __init__(self, groups: Sequence[str] | int) -> None:
        super().__init__(groups)
        assert self.groups is not None
        self.names = self.groups

    def probabilities(self) -> Floats:
        """(G,) q, sum one."""
        raise NotImplementedError

    def metrics(self) -> dict[str, float | dict[str, float]]:
        """As `RobustMethod`, with `q` by group and `effective_groups`, exp of its entropy."""
        q = self.probabilities()
        spread = float(np.exp(-(q * np.log(np.maximum(q, 1e-300))).sum()))
        return {
            **super().metrics(),
            "q": dict(zip(self.names, q.tolist(), strict=True)),
            "effective_groups": spread,
        }

    def _weigh(self, batch: Batch) -> Floats:
        mass = batch.group_sums(batch.sizes, len(self.names))
        return np.asarray((self.probabilities() / np.where(mass > 0.0, mass, 1.0))[batch.groups])

    def _means(self, batch: Batch) -> Floats:
        """(G,) mean losses, NaN for an absent group."""
        return self._group_means(batch, batch.losses)


class GroupDRO(GroupWeights):
    """Online group DRO (Sagawa et al. 2020, arXiv 1911.08731, algorithm 1): q_g <- q_g exp(eta (l_g
    + C / sqrt(n_g))).

    This is the core's `Hedge` with a fixed rate, which is the default. A group that is not in a
    step keeps its q to the digit (in the release it shrinks as the others grow). The paper draws
    groups evenly: with a plain sampler a group of 1 % is one sample in most steps that it is in,
    and its noise is multiplied; use `EvenGroupSampler`.

    Args:
        groups: names, or how many.
        eta: step of the adversary, .01 by default; losses of about 1 then take some hundred steps
            to tell groups apart.
        adjustment: C of the generalisation adjustment; needs `counts`.
        counts: training samples of each group.
        adversary: one of `gdro.core.adversaries` over the groups, in the place of Hedge, with a
            step of its own.
        loss_range: (low, high) of the losses, needed with `adversary`: no-regret learners take
            gains in [0, 1]. What lies outside is clipped and counted in the metric `clipped`.
    """

    name = "group_dro"
    needs_even_groups = True

    def __init__(
        self,
        groups: Sequence[str] | int,
        *,
        eta: float | None = None,
        adjustment: float = 0.0,
        counts: Counts = None,
        adversary: Adversary | None = None,
        loss_range: tuple[float, float] | None = None,
    ) -> None:
        super().__init__(groups)
        if adversary is not None and eta is not None:
            raise RobustError(f"eta={eta:g} has no effect beside adversary, which has its own")
        self._eta = 0.01 if eta is None else eta
        check_positive("eta", self._eta)
        sizes = group_counts(counts, self.names)
        if adjustment < 0.0 or (adjustment > 0.0 and sizes is None):
            raise RobustError(
                f"adjustment={adjustment:g} must not be negative, and needs counts=... where it is"
                " not 0"
            )
        if (adversary is None) != (loss_range is None):
            raise RobustError(
                "adversary and loss_range belong together: a learner, and what maps losses to"
                " [0, 1]"
            )
        if loss_range is not None and not loss_range[0] < loss_range[1]:
            raise RobustError(f"loss_range={loss_range} must rise")
        self._add = np.zeros(len(self.names)) if sizes is None else adjustment / np.sqrt(sizes)
        self._range, self._clipped = loss_range, 0
        own = Hedge(len(self.names), eta=self._eta)
        self._adversary = own if adversary is None else adversary
        if len(self._adversary.probabilities()) != len(self.names):
            raise RobustError(f"the adversary must have one bin a group, {len(self.names)} in all")

    def probabilities(self) -> Floats:
        return self._adversary.probabilities()

    def metrics(self) -> dict[str, float | dict[str, float]]:
        """As `GroupWeights`, with `clipped`, losses outside loss_range so far, where there is
        one."""
        own = super().metrics()
        return own if self._range is None else {**own, "clipped": float(self._clipped)}

    def _observe(self, batch: Batch) -> None:
        gains = self._means(batch) + self._add
        if self._range is None:
            self._adversary.update(credit_absent(gains, self.probabilities(), self._eta))
            return
        scaled, outside = scale_gains(gains, *self._range)
        self._clipped += outside
        self._adversary.update(scaled)

    def _state(self) -> State:
        return {"adversary": self._adversary.state_dict(), "clipped": self._clipped}

    def _load(self, state: State) -> None:
        clipped = read_int(state, "clipped")
        self._adversary.load_state_dict(read_state(state, "adversary"))
        self._clipped = clipped


class DoReMi(GroupWeights):
    """DoReMi's domain weights (Xie et al. 2023, arXiv 2305.10429): alpha <- (1 - c) softmax(log
    alpha + eta l) + c / G.

    `losses` are excess losses over a reference model, clipped at 0 token by token: `excess_losses`,
    or the trainers' `reference_model`. The result is the average of alpha over the steps,
    `average()`, with which the next model's data are drawn (`write_domain_weights`). At the paper's
    eta of 1 the weights often collapse to one domain (the known complaint; tests/robust shows it),
    so the default is .1. Ours: a domain that is not in a step keeps its alpha but for the
    smoothing; the release gives it its last score again.

    Args:
        groups: names, or how many.
        eta: step of the domain weights.
        smoothing: c, the share of alpha that is uniform; it feeds back, so a weight can recover.
    """

    name = "doremi"
    needs_even_groups = True

    def __init__(
        self, groups: Sequence[str] | int, *, eta: float = 0.1, smoothing: float = 1e-3
    ) -> None:
        super().__init__(groups)
        check_positive("eta", eta)
        if not 0.0 <= smoothing < 1.0:
            raise RobustError(f"smoothing={smoothing:g} must lie in [0, 1)")
        self.eta, self.smoothing = eta, smoothing
        self._alpha = np.full(len(self.names), 1.0 / len(self.names))
        self._sum = np.zeros(len(self.names))

    def probabilities(self) -> Floats:
        return self._alpha

    def average(self) -> dict[str, float]:
        """Domain weights averaged over the steps so far, by name; even before the first step."""
        mean = self._sum / self._sum.sum() if self._sum.any() else self._alpha
        return dict(zip(self.names, mean.tolist(), strict=True))

    def _observe(self, batch: Batch) -> None:
        scores = credit_absent(self._means(batch), self._alpha, self.eta)
        self._alpha = mix(
            softmax(np.log(np.maximum(self._alpha, 1e-300)) + self.eta * scores), self.smoothing
        )
        self._sum = self._sum + self._alpha

    def _state(self) -> State:
        return {"alpha": self._alpha.copy(), "sum": self._sum.copy()}

    def _load(self, state: State) -> None:
        alpha, total = read_array(state, "alpha", self._alpha), read_array(state, "sum", self._sum)
        self._alpha, self._sum = alpha, total


def credit_absent(gains: Floats, q: Floats, eta: float) -> Floats:
    """(G,) gains with each NaN replaced so that q <- q exp(eta gain) / sum leaves the q of absent
    groups as it is: by (1 / eta) log of the mean of exp(eta gain) under q over the groups that are
    there."""
    there = ~np.isnan(gains)
    scaled = eta * gains[there]
    top = scaled.max()
    mean = float(q[there] @ np.exp(scaled - top)) / max(float(q[there].sum()), 1e-300)
    return np.where(there, gains, (top + np.log(max(mean, 1e-300))) / eta)
