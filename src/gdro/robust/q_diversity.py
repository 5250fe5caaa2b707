"""Q-Diversity: group DRO over groups that are learnt, two for each label."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch

from gdro.core.adversaries import Hedge
from gdro.core.hashing import step_keys, to_unit
from gdro.core.state import State, read_int, read_state
from gdro.core.types import Bools, Floats
from gdro.robust.base import RobustMethod
from gdro.robust.batch import (
    Batch,
    Keys,
    Labels,
    RobustError,
    check_positive,
    check_unit,
    group_indices,
    sample_keys,
)
from gdro.robust.group_methods import credit_absent
from gdro.robust.samples import SampleTable

Form = Literal["balance", "eiil", "adversarial"]


class QDiversity(RobustMethod):
    """Group DRO over pseudo-groups 2 y + z (Wu et al. 2023, arXiv 2305.12123): `groups` are the
    labels y, and z is assigned to every sample by its id. No true groups are used anywhere.

    The paper's assigner is a network on the inputs; ours is one number for each training sample,
    which only training needs, and for which the two informed rules have closed forms:

    - `balance`: the release trains its assigner by label balance alone, of which a random split is
      a minimiser; this is one (z by a hash of the id). Faithful, and the form to beat.
    - `eiil` (Creager et al. 2021, arXiv 2010.07249): the split that violates invariance most. With
      a free assignment of every sample, the sum of squared gradients A^2 + B^2 in the scale of the
      logits, A + B fixed, is largest when all samples with a positive gradient are on one side: z =
      1 where the log-odds m of the right label are below 0 (for two labels, where the model errs).
      m = -log(e^loss - 1), so losses must be cross-entropies without smoothing.
    - `adversarial` (ours): max over soft z of the loss on the side z = 1, with the share of that
      side fixed to `minority` in every label (balance) and `temperature` times the entropy: z_i =
      sigmoid((l_i - c_y) / temperature).

    `balance` splits from the first step. The others weigh every sample alike for `warmup` epochs;
    then `epoch_end` assigns z from each sample's last loss, once (eiil, from the plainly trained
    model, as its authors do) or after every epoch (adversarial).

    Args:
        groups: the labels, names or how many.
        form: see above.
        eta: step of group DRO over the pseudo-groups.
        warmup: epochs of plain weights.
        minority, temperature: of `adversarial`.
    """

    name = "q_diversity"
    needs_groups = True
    needs_ids = True

    def __init__(
        self,
        groups: Sequence[str] | int,
        *,
        form: Form = "adversarial",
        eta: float = 0.01,
        warmup: int = 1,
        minority: float = 0.25,
        temperature: float = 0.1,
    ) -> None:
        super().__init__(groups)
        assert self.groups is not None
        if form not in ("balance", "eiil", "adversarial"):
            raise RobustError(f"form={form!r} is none of balance, eiil, adversarial")
        check_unit("minority", minority, open_above=True)
        check_positive("temperature", temperature)
        if warmup < 1:
            raise RobustError(f"warmup={warmup} must be at least 1 epoch")
        self.form, self.warmup, self.minority, self.temperature = (
            form,
            warmup,
            minority,
            temperature,
        )
        self._hedge = Hedge(2 * len(self.groups), eta=eta)
        self._eta, self._epochs = eta, 0
        self._samples = SampleTable(
            {"loss": (np.float32, 0.0), "label": (np.int32, 0), "z": (np.float32, np.nan)}
        )

    @property
    def split(self) -> bool:
        """Whether pseudo-groups are in force."""
        return self.form == "balance" or self._epochs >= self.warmup

    def pseudo_groups(self, labels: Labels, ids: Labels) -> torch.Tensor:
        """(n,) 2 y + z with z rounded, for reports and for `group_mixup`; z is 0 for a sample not
        yet assigned."""
        assert self.groups is not None
        z = self._z(sample_keys(ids))
        return torch.from_numpy(2 * group_indices(labels, self.groups) + (z > 0.5))

    def metrics(self) -> dict[str, float | dict[str, float]]:
        """As `RobustMethod`, with `q` by pseudo-group ("label/z") and `minority_share`, the mean of
        z."""
        names = [f"{label}/{z}" for label in self.groups or () for z in (0, 1)]
        z = self._samples["z"] if self.form != "balance" else np.full(1, 0.5)
        known = z[~np.isnan(z)]
        return {
            **super().metrics(),
            "q": dict(zip(names, self._hedge.probabilities().tolist(), strict=True)),
            "minority_share": float(known.mean()) if len(known) else 0.0,
        }

    def epoch_end(self) -> None:
        """Count the epoch, and assign z where the form says so."""
        self._epochs += 1
        if (
            self.form == "balance"
            or self._epochs < self.warmup
            or (self.form == "eiil" and self._epochs > self.warmup)
        ):
            return
        self._samples.compact()
        losses, labels = self._samples["loss"].astype(np.float64), self._samples["label"]
        if self.form == "eiil":
            self._samples["z"][:] = eiil_split(losses)
            return
        for label in np.unique(labels):
            own = labels == label
            self._samples["z"][own] = adversarial_split(
                losses[own], self.minority, self.temperature
            )

    def _observe(self, batch: Batch) -> None:
        if self.form != "balance":
            keys, first, _, losses = batch.by_id()
            rows = self._samples.rows(keys)
            self._samples["loss"][rows] = losses
            self._samples["label"][rows] = batch.groups[first]
        if self.split:
            mass, sums = (
                self._sums(batch, batch.sizes),
                self._sums(batch, batch.sizes * batch.losses),
            )
            gains = np.where(mass > 0.0, sums / np.where(mass > 0.0, mass, 1.0), np.nan)
            self._hedge.update(credit_absent(gains, self._hedge.probabilities(), self._eta))

    def _weigh(self, batch: Batch) -> Floats:
        if not self.split:
            return np.ones(len(batch.losses))
        mass = self._sums(batch, batch.sizes)
        ratio = self._hedge.probabilities() / np.where(mass > 0.0, mass, 1.0)
        z = self._batch_z(batch)
        return np.asarray((1.0 - z) * ratio[2 * batch.groups] + z * ratio[2 * batch.groups + 1])

    def _sums(self, batch: Batch, values: Floats) -> Floats:
        """(2 G,) sums by pseudo-group, each sample shared between its two by z."""
        z, count = self._batch_z(batch), 2 * len(self.groups or ())
        low = np.bincount(2 * batch.groups, weights=values * (1.0 - z), minlength=count)
        return np.asarray(
            low + np.bincount(2 * batch.groups + 1, weights=values * z, minlength=count)
        )

    def _batch_z(self, batch: Batch) -> Floats:
        return self._z(np.zeros(0, np.uint64) if batch.keys is None else batch.keys)

    def _z(self, keys: Keys) -> Floats:
        """(n,) z of each key; 0 where none was assigned."""
        if self.form == "balance":
            return hash_split(keys).astype(np.float64)
        rows = self._samples.find(keys)
        z = np.zeros(len(keys))
        z[rows >= 0] = self._samples["z"][rows[rows >= 0]]
        return np.nan_to_num(z, nan=0.0)

    def _state(self) -> State:
        samples = self._samples.state_dict()
        return {"epochs": self._epochs, "hedge": self._hedge.state_dict(), "samples": samples}

    def _load(self, state: State) -> None:
        epochs = read_int(state, "epochs")
        hedge = Hedge(self._hedge.bins, eta=self._eta)
        hedge.load_state_dict(read_state(state, "hedge"))
        self._samples.load_state_dict(read_state(state, "samples"))
        self._epochs, self._hedge = epochs, hedge


def hash_split(keys: Keys) -> Bools:
    """(n,) a fair coin for every key, always the same."""
    return np.asarray(to_unit(step_keys(keys, 0, 0)) < 0.5)


def eiil_split(losses: Floats) -> Bools:
    """(n,) the maximiser of EIIL's objective over free assignments: samples whose right label has
    odds below one."""
    return np.asarray(losses > np.log(2.0))


def adversarial_split(losses: Floats, share: float, temperature: float) -> Floats:
    """(n,) argmax over z in (0, 1)^n with mean `share` of mean(z l) + temperature * mean(entropy of
    z): sigmoid((l - c) / temperature), c by bisection."""
    low, high = losses.min() - 50.0 * temperature, losses.max() + 50.0 * temperature
    for _ in range(100):
        middle = (low + high) / 2.0
        z = _sigmoid((losses - middle) / temperature)
        low, high = (middle, high) if z.mean() > share else (low, middle)
    return z


def _sigmoid(values: Floats) -> Floats:
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * values)))


def group_mixup(
    inputs: torch.Tensor, pseudo_groups: torch.Tensor, generator: torch.Generator, beta: float = 7.0
) -> tuple[torch.Tensor, torch.Tensor]:
    """Group mix-up: every sample of the smaller pseudo-group of its label is mixed with one of the
    larger.

    x = lam x_small + (1 - lam) x_large with lam ~ Beta(beta, beta) of the release, where half of
    the loss is that of these samples. Ours: both have the same label, so it stays (there labels are
    mixed too); the smaller group is smaller by size in this batch, not by its number; x is not
    clamped to [0, 1].

    Args:
        inputs: (n, ...) float.
        pseudo_groups: (n,) 2 y + z.
        generator: of the draws.

    Returns:
        (k, ...) mixed inputs and (k,) places in the batch of samples with the same label; k may be
        0.
    """
    mixed, places = [], []
    for label in torch.unique(pseudo_groups // 2).tolist():
        sides = [torch.nonzero(pseudo_groups == 2 * label + z).flatten() for z in (0, 1)]
        small, large = sorted(sides, key=len)
        if not len(small):
            continue
        partner = large[torch.randint(len(large), (len(small),), generator=generator)]
        gammas = torch.empty(2, len(small))
        for row in gammas:
            row.copy_(torch._standard_gamma(torch.full((len(small),), beta), generator=generator))
        lam = (gammas[0] / gammas.sum(0)).view(-1, *[1] * (inputs.dim() - 1)).to(inputs)
        mixed.append(lam * inputs[small] + (1.0 - lam) * inputs[partner])
        places.append(small)
    if not mixed:
        return inputs[:0], pseudo_groups[:0]
    return torch.cat(mixed), torch.cat(places)
