"""What `RobustTrainer` and `RobustSFTTrainer` share: groups and ids in a batch, weights of a step,
logs, scores by group, checkpoints."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate.data_loader import DataLoaderDispatcher, DataLoaderShard
from transformers import Trainer, TrainerCallback
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from gdro.core.errors import StateError
from gdro.core.state import load_state, read_int, read_state, save_state
from gdro.robust.base import RobustMethod
from gdro.robust.batch import (
    GroupError,
    LossError,
    RobustError,
    SampleIdError,
    group_indices,
    sample_keys,
)
from gdro.robust.report import group_report
from gdro.robust.sampler import EvenGroupSampler
from gdro.robust.steps import StepWeights, Tags, WeightsFrom

GROUPS, KEYS = "gdro_groups", "gdro_keys"
"""Where the collator puts a batch's groups and ids."""

STATE_FILE = "robust_state.npz"


class TaggingCollator:
    """Takes group and id out of the rows, collates the rest as before, and adds both as tensors.

    Args:
        inner: the collator to go on with.
        names: of the groups; None leaves groups out.
        group_column, id_column: of the data set.
    """

    def __init__(
        self, inner: Any, names: tuple[str, ...] | None, group_column: str, id_column: str | None
    ) -> None:
        self.inner, self.names, self.group_column, self.id_column = (
            inner,
            names,
            group_column,
            id_column,
        )

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        """Collate; rows without the group column (of an evaluation set) give a batch without
        groups."""
        tags = {self.group_column, self.id_column}
        batch: dict[str, Any] = dict(
            self.inner([{k: v for k, v in row.items() if k not in tags} for row in rows])
        )
        if self.names is not None and all(self.group_column in row for row in rows):
            found = group_indices([row[self.group_column] for row in rows], self.names)
            batch[GROUPS] = torch.from_numpy(found)
        if self.id_column is not None and all(self.id_column in row for row in rows):
            batch[KEYS] = torch.from_numpy(
                sample_keys([row[self.id_column] for row in rows]).view(np.int64)
            )
        return batch


class RobustSteps(Trainer):  # type: ignore[misc]
    """What both trainers share: columns, sampler, weights of a step, logs, scores by group,
    checkpoints.

    A subclass calls `_start_robust` after its own `__init__`, takes groups and ids out of its
    inputs by `_tags`, and weighs by `_weights`.
    """

    data_collator: Any
    _signature_columns: Any

    def _start_robust(
        self,
        method: RobustMethod,
        group_column: str,
        id_column: str | None,
        weights_from: WeightsFrom,
        even_groups: bool | Mapping[str, float] | None,
    ) -> None:
        drawn = method.needs_even_groups if even_groups is None else bool(even_groups)
        check_data(self.train_dataset, method, group_column, id_column, by_group=drawn)
        if self.args.n_gpu > 1:
            raise RobustError(
                "several GPUs in one process (nn.DataParallel) are not supported: use torchrun"
            )
        if self.args.parallelism_config is not None:
            raise RobustError(
                "tensor, context and sequence parallelism are not supported by the robust trainers"
            )
        if drawn and (how := self.args.train_sampling_strategy) != "random":
            raise RobustError(
                f"train_sampling_strategy={how!r} has no effect where groups are drawn evenly, as"
                f" {method.name} does; leave it out, or set even_groups=False"
            )
        self.method, self.group_column, self.id_column = method, group_column, id_column
        self.even_groups = drawn
        self.group_weights = even_groups if isinstance(even_groups, Mapping) else None
        self.data_collator = TaggingCollator(
            self.data_collator, method.groups, group_column, id_column
        )
        self._step_weights = StepWeights(method, weights_from)
        self._step_inputs: list[dict[str, Any]] = []
        self._step_size = 1.0
        self._epochs_ended = 0
        self._seen: dict[str, list[float]] = defaultdict(list)
        self._scores: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = []
        self.add_callback(_EpochEnds(self))

    def _set_signature_columns_if_needed(self) -> None:
        super()._set_signature_columns_if_needed()
        # a model need not take labels itself
        for column in ("labels", self.group_column, self.id_column):
            if column is not None and column not in self._signature_columns:
                self._signature_columns = [*self._signature_columns, column]

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        if not self.even_groups:
            return super()._get_train_sampler(train_dataset)
        data = self.train_dataset if train_dataset is None else train_dataset
        seed = self.args.seed if self.args.data_seed is None else self.args.data_seed
        return EvenGroupSampler(data[self.group_column], seed=seed, weights=self.group_weights)

    def get_batch_samples(self, *args: Any, **kwargs: Any) -> tuple[list[dict[str, Any]], Any]:
        """As the Trainer's, which knows all passes of the step here; the robust method is told of
        them."""
        batches, items = super().get_batch_samples(*args, **kwargs)
        self._step_inputs = [dict(batch) for batch in batches]
        tags = [self._tags(batch) for batch in self._step_inputs]
        self._step_weights.begin(tags)
        own = torch.stack([tag.sizes.sum() for tag in tags]).sum() if tags else torch.tensor(0.0)
        total = self.accelerator.reduce(own.to(self.args.device), reduction="sum")
        self._step_size = max(float(total), 1.0)
        return batches, items

    def _tags(self, inputs: dict[str, Any]) -> Tags:
        """Groups and ids, taken out of the inputs, and sizes, which need the labels."""
        groups, ids = inputs.pop(GROUPS, None), inputs.pop(KEYS, None)
        return Tags(groups, ids, self._sizes(inputs))

    def _sizes(self, inputs: dict[str, Any]) -> torch.Tensor:
        """(n,) float: what each sample counts."""
        raise NotImplementedError

    def _signal(self, inputs: dict[str, Any]) -> torch.Tensor:
        """(n,) losses that the method sees, of a forward pass without gradient."""
        raise NotImplementedError

    def _weights(self, losses: torch.Tensor) -> torch.Tensor:
        """(n,) weights of the running pass."""
        try:
            weights = self._step_weights.next(losses.detach(), self._ahead)
        except LossError as error:
            raise self._with_its_id(error) from None
        if self._step_weights.done:
            for name, value in flat_metrics(self.method).items():
                self._seen[name].append(value)
        return weights

    def _with_its_id(self, error: LossError) -> LossError:
        """The error with the id of the data set in the place of the key that the collator made of
        it."""
        if error.sample is None:
            return error
        for sample in self.train_dataset[self.id_column]:
            if int(sample_keys([sample]).view(np.int64)[0]) == error.sample:
                return LossError(str(error).replace(f"(id {error.sample})", f"(id {sample!r})"))
        return error

    def _ahead(self) -> list[torch.Tensor]:
        with torch.no_grad(), self.compute_loss_context_manager():
            return [
                self._signal(self._prepare_inputs(dict(inputs))) for inputs in self._step_inputs
            ]

    def _note_scores(self, losses: torch.Tensor, tags: Tags) -> None:
        """Keep the losses of an evaluation pass by group, of all processes, repeated samples of the
        last batch left out."""
        if tags.groups is None:
            return
        parts = self.accelerator.gather_for_metrics(
            (losses.detach().float(), tags.sizes.float(), tags.groups)
        )
        self._scores.append(tuple(part.cpu() for part in parts))

    def evaluation_loop(self, *args: Any, **kwargs: Any) -> Any:
        """As the Trainer's, with `eval_loss_<group>`, `eval_average_loss`, `eval_worst_loss` and
        `eval_adjusted_loss` where the evaluation set has groups."""
        self._scores = []
        output = super().evaluation_loop(*args, **kwargs)
        if self._scores and output.metrics is not None:
            prefix = kwargs.get("metric_key_prefix", args[4] if len(args) > 4 else "eval")
            output.metrics.update(
                {f"{prefix}_{name}": value for name, value in self._group_scores().items()}
            )
        return output

    def _group_scores(self) -> dict[str, float]:
        losses, sizes, groups = (torch.cat(parts) for parts in zip(*self._scores, strict=True))
        kept = sizes > 0
        known = self.method.groups or ()
        names = [known[g] for g in groups[kept].tolist()]
        values, tokens = losses[kept].double().numpy(), sizes[kept].double().numpy()
        report = group_report(values, names, sizes=tokens, higher_is_better=False)
        found = {f"loss_{name}": value for name, value in report.by_group.items()}
        found |= {"average_loss": report.overall, "worst_loss": report.worst}
        shares = Counter(_name(known, group) for group in self.train_dataset[self.group_column])
        if set(shares) <= set(report.by_group):
            mass = sum(count * report.by_group[name] for name, count in shares.items())
            found["adjusted_loss"] = mass / shares.total()
        return found

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """As the Trainer's, with the method's metrics by group as `robust/...`, averaged since the
        last log."""
        if "loss" in logs:
            logs.update(
                {f"robust/{name}": float(np.mean(values)) for name, values in self._seen.items()}
            )
            self._seen.clear()
        super().log(logs, *args, **kwargs)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        folder = (
            Path(self._get_output_dir(trial=trial))
            / f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}"
        )
        if self.args.should_save:
            folder.mkdir(parents=True, exist_ok=True)
            state = {"epochs_ended": self._epochs_ended, "method": self.method.state_dict()}
            save_state(folder / STATE_FILE, state)
        super()._save_checkpoint(model, trial)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        # every resumed run comes by here; with DeepSpeed not by _load_from_checkpoint
        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is None:
            return
        path = Path(checkpoint) / STATE_FILE
        if not path.is_file():
            raise StateError(
                f"{path} is missing: the checkpoint was not written by a robust trainer"
            )
        state = load_state(path)
        self.method.load_state_dict(read_state(state, "method"))
        self._epochs_ended = read_int(state, "epochs_ended")

    def end_epochs(self, completed: int) -> None:
        """Tell the method of every epoch that has ended since. Called when the next one begins, so
        that a checkpoint of the very last step of an epoch resumes to the same state."""
        while self._epochs_ended < completed:
            self.method.epoch_end()
            self._epochs_ended += 1


class _EpochEnds(TrainerCallback):  # type: ignore[misc]
    def __init__(self, trainer: RobustSteps) -> None:
        self.trainer = trainer

    def on_epoch_begin(
        self, args: Any, state: Any, control: Any, train_dataloader: Any = None, **kwargs: Any
    ) -> None:
        epoch = int((state.epoch or 0.0) + 1e-6)
        self.trainer.end_epochs(epoch)
        if isinstance(train_dataloader, DataLoaderShard | DataLoaderDispatcher):
            # A run resumed within an epoch reads by a loader that skips; where it has several
            # processes, what the Trainer tells that loader does not come to the sampler.
            train_dataloader.set_epoch(epoch)


def check_data(
    data: Any,
    method: RobustMethod,
    group_column: str,
    id_column: str | None,
    *,
    by_group: bool = False,
) -> None:
    """Check the training set's group and id columns before anything is trained.

    Args:
        by_group: samples are drawn by group, so that a method without groups needs the column too.

    Raises:
        RobustError: the data set has no length and columns.
        GroupError: the group column is missing where it is needed, or holds an unknown group.
        SampleIdError: the id column is missing where it is needed, or an id comes twice.
    """
    columns = getattr(data, "column_names", None)
    if not isinstance(columns, list):
        raise RobustError("the robust trainers need a datasets.Dataset with columns, not a stream")
    if (method.groups is not None or by_group) and group_column not in columns:
        raise GroupError(
            f"the training set has no column {group_column!r} (it has {columns}); set group_column"
        )
    if method.groups is not None:
        group_indices(sorted(set(data[group_column]), key=str), method.groups)
    if method.needs_ids and id_column is None:
        raise SampleIdError(f"{method.name} remembers samples by their ids: set id_column")
    if id_column is not None:
        if id_column not in columns:
            raise SampleIdError(f"the training set has no column {id_column!r} (it has {columns})")
        _check_unique(data[id_column])


def flat_metrics(method: RobustMethod) -> dict[str, float]:
    """The method's metrics as `name` or `name/group`."""
    found: dict[str, float] = {}
    for name, value in method.metrics().items():
        if isinstance(value, Mapping):
            found |= {f"{name}/{group}": number for group, number in value.items()}
        else:
            found[name] = value
    return found


def _check_unique(ids: Iterable[Any]) -> None:
    seen = set()
    for value in ids:
        if value in seen:
            raise SampleIdError(
                f"sample id {value!r} comes twice in the training set; ids must be unique"
            )
        seen.add(value)


def _name(known: tuple[str, ...], group: Any) -> str:
    return str(group) if isinstance(group, str) else known[int(group)]
