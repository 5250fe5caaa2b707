"""Var-DRO: each sample's weight may move as far as its loss has varied."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gdro.core.state import State, read_float, read_int, read_state
from gdro.core.types import Floats
from gdro.robust.base import RobustMethod
from gdro.robust.batch import Batch, RobustError, check_unit
from gdro.robust.cvar import waterfill
from gdro.robust.samples import SampleTable


class VarianceDRO(RobustMethod):
    """Per-sample budgets from the variance of the sample's own loss. Written after the abstract of
    arXiv 2511.05568, whose formulas we could not read: the rules below are ours.

    m_i and v_i are averages over time (`memory`) of a sample's loss and of its squared deviation
    from m_i. The budget is eps_i = cap min(1, s_i / q90(s)) with s = sqrt(v), and the weights solve
    max sum w_i m_i over the step with mean one and w_i in [e^-eps_i, e^eps_i]. cap is 0 for
    `warmup` epochs and then rises by equal parts over `ramp` epochs; `epoch_end` counts them and
    renews q90. A sample met for the first time has budget 0. The abstract's label smoothing (.1)
    belongs to the loss: `torch.nn.CrossEntropyLoss(label_smoothing=0.1)`.

    Args:
        groups: for the metrics alone.
        cap: largest budget; weights stay within e^cap (2.7 at 1) of one another's middle.
        memory: weight of the past in the averages.
        warmup, ramp: epochs with plain weights, and epochs until the cap is reached.
    """

    name = "var_dro"
    needs_ids = True

    def __init__(
        self,
        *,
        groups: Sequence[str] | int | None = None,
        cap: float = 1.0,
        memory: float = 0.9,
        warmup: int = 1,
        ramp: int = 3,
    ) -> None:
        super().__init__(groups)
        check_unit("memory", memory, open_above=True)
        if not 0.0 < cap <= 20.0 or warmup < 1 or ramp < 1:
            raise RobustError(
                f"cap={cap:g} must lie in (0, 20], warmup={warmup} and ramp={ramp} be at least 1"
                " epoch"
            )
        self.cap, self.memory, self.warmup, self.ramp = cap, memory, warmup, ramp
        self._epochs, self._q90 = 0, 0.0
        self._samples = SampleTable({"loss": (np.float32, np.nan), "variance": (np.float32, 0.0)})

    def epoch_end(self) -> None:
        """Count the epoch and take the 90 % quantile of the deviations anew."""
        self._epochs += 1
        deviations = np.sqrt(self._samples["variance"])  # float32: a million ids are 8 MB here
        self._q90 = float(np.quantile(deviations, 0.9)) if len(deviations) else 0.0

    def cap_now(self) -> float:
        """The cap of the running epoch."""
        return self.cap * min(max(self._epochs - self.warmup + 1, 0) / self.ramp, 1.0)

    def _observe(self, batch: Batch) -> None:
        keys, _, _, losses = batch.by_id()
        rows = self._samples.rows(keys)
        mean = self._samples["loss"][rows].astype(np.float64)
        fresh = np.isnan(mean)
        gap = np.where(fresh, 0.0, losses - mean)
        kept = self._samples["variance"][rows]
        self._samples["loss"][rows] = np.where(fresh, losses, mean + (1.0 - self.memory) * gap)
        self._samples["variance"][rows] = np.where(
            fresh, 0.0, self.memory * kept + (1.0 - self.memory) * gap**2
        )

    def _weigh(self, batch: Batch) -> Floats:
        cap = self.cap_now()
        if cap == 0.0 or self._q90 == 0.0:
            return np.ones(len(batch.losses))
        rows = self._samples.find(np.zeros(0, np.uint64) if batch.keys is None else batch.keys)
        known = rows >= 0
        budget, mean = np.zeros(len(rows)), batch.losses.copy()
        deviation = np.sqrt(self._samples["variance"][rows[known]].astype(np.float64))
        budget[known] = cap * np.minimum(1.0, deviation / self._q90)
        mean[known] = self._samples["loss"][rows[known]]
        return waterfill(mean, np.exp(-budget), np.exp(budget), batch.sizes)

    def _state(self) -> State:
        return {"epochs": self._epochs, "q90": self._q90, "samples": self._samples.state_dict()}

    def _load(self, state: State) -> None:
        epochs, q90 = read_int(state, "epochs"), read_float(state, "q90")
        self._samples.load_state_dict(read_state(state, "samples"))
        self._epochs, self._q90 = epochs, q90
