"""From verl's rows and uids to a `ControllerSession` and back. Replayed in tests without verl."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gdro.core.errors import OptionError, PlanError
from gdro.core.types import Floats, Ints
from gdro.engines.candidates import CandidatePool, candidate_pool
from gdro.engines.interface import Controller
from gdro.engines.session import ControllerSession
from gdro.engines.verl.objective import START, TrainingPosition, ruled_rows
from gdro.engines.verl.rows import PADDING, Rows, prompt_ids, read_rows
from gdro.objectives.rules import RowRule


@dataclass(frozen=True, slots=True)
class Factors:
    """What to make of the advantages.

    Attributes:
        factors_R: (R,) factor of each row; 1 for padding.
        rows: the batch, sorted by prompt.
        advantages_R: (R,) what stands for verl's advantages before the factor, 0 for padding; None
            to leave verl's.
        metrics: of the objective's rule.
    """

    factors_R: Floats
    rows: Rows
    advantages_R: Floats | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)


class VerlBridge:
    """Names each prompt of a step by verl's uid, which is fresh every step.

    Args:
        session: plans and answers.
        kind: the advantage that verl computes, grpo or dr_grpo.
        rule: between rewards and loss (`gdro.engines.verl.objective`); None for none.
    """

    def __init__(
        self, session: ControllerSession[Any], kind: str = "grpo", rule: RowRule | None = None
    ) -> None:
        self.session, self.kind, self.rule = session, kind, rule
        self._uids: dict[str, int] = {}
        self._rows: Rows | None = None

    def plan(self, prompt_ids: Sequence[str], uids: Sequence[str]) -> Ints:
        """(M,) rollouts of a batch.

        Args:
            prompt_ids: (M,) stable ids.
            uids: (M,) verl's names of the same prompts for this step.

        Raises:
            PlanError, PromptIdError: as `ControllerSession.plan`, or uids that are not distinct.
        """
        places = {uid: place for place, uid in enumerate(uids)}
        if len(places) != len(prompt_ids):
            raise PlanError(f"{len(prompt_ids)} prompts came with {len(places)} distinct uids")
        rollouts = self.session.plan(prompt_ids).rollouts
        self._uids = places
        return rollouts

    def observe(
        self,
        keys: Sequence[str],
        is_padding: Sequence[bool],
        scores_R: Floats,
        progress: TrainingPosition = START,
        tokens_R: Floats | None = None,
    ) -> Factors:
        """Answer the plan with the rows' scores; the factors of their advantages come back.

        Args:
            progress: where the run stands, for the rule.
            tokens_R: (R,) tokens of each row, for a controller that needs them.

        Raises:
            PlanError, RewardError: as `ControllerSession.observe`, or rows that belong to no plan.
        """
        rows = read_rows(keys, is_padding, self._uids)
        if tokens_R is not None:
            self.session.observe_tokens(rows.mean_tokens(tokens_R))
        answer = self.session.observe(rows.rewards(scores_R))
        self._rows = rows
        if self.rule is not None:
            given, metrics = ruled_rows(self.rule, answer, rows, scores_R, self.kind, progress)
            return Factors(np.ones(len(given)), rows, given, metrics)
        own = answer.own_advantages(scores_R[rows.final_R], rows.prompts_R, self.kind)
        factors = answer.factors
        if own is not None:
            own = np.where(rows.prompts_R == PADDING, 0.0, own)
        else:  # verl gives the one rollout that is left of a group its raw reward as advantage
            factors = np.where(answer.counts < 2, 0.0, factors)
        return Factors(rows.spread(factors, 1.0), rows, own)

    def observe_losses(self, sums_M: Floats, rows: float) -> None:
        """Hand the surrogate losses to the controller; nothing happens after a skipped batch.

        Args:
            sums_M: (M,) sum of the losses of each prompt's rows, times any constant c (workers,
                passes, mini-batches).
            rows: number of rows summed over, times the same c.
        """
        batch, self._rows = self._rows, None
        if batch is None or not batch.real:
            return
        counts = np.bincount(batch.prompts_R[batch.prompts_R >= 0], minlength=len(sums_M))
        losses_M = sums_M / (rows / batch.real) / np.maximum(counts, 1)
        self.session.observe_losses(losses_M)


def candidates_of(
    controller: Controller, dataset: Any, factor: int | None, seed: int
) -> CandidatePool[Any] | None:
    """The candidates of a run, rows being samples of verl's training set.

    None where the prompts of the data loader are trained on as they come.

    Raises:
        OptionError: as `candidate_factor`, or a training set whose ids, or the texts that the
            controller reads, cannot be had without its samples.
        PromptIdError: rows without an id, or two with one id.
    """

    def fetch(places: Sequence[int]) -> list[Any]:
        return [dataset[place] for place in places]

    def read_ids() -> list[str]:
        columns = _columns(dataset, "data_source", "extra_info")[:]
        return prompt_ids(columns["data_source"], columns["extra_info"], of="training set")

    def prompts(places: Sequence[int]) -> list[Any]:
        return list(asked[list(places)][key])

    key = getattr(dataset, "prompt_key", "prompt")  # verl's RLHFDataset has its config's
    pool = candidate_pool(controller, read_ids, factor, seed, fetch, prompts)
    if pool is not None and controller.reads_texts:
        asked = _columns(dataset, key)
    return pool


def _columns(dataset: Any, *names: str) -> Any:
    """Columns of the training set, without its samples."""
    frame: Any = getattr(dataset, "dataframe", None)  # of verl's RLHFDataset; others may lack it
    if not set(names) <= set(getattr(frame, "column_names", ())):
        raise OptionError(
            f"a controller that selects reads {' and '.join(names)} of every prompt, and"
            f" {type(dataset).__name__} has no `dataframe` with these columns, as verl's"
            " RLHFDataset does: use that, or a controller that does not select, such as"
            " prompt_gdro"
        )
    return frame.select_columns(list(names))
