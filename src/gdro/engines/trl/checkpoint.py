"""What a checkpoint holds beside TRL's files, so that a resumed run continues bit for bit.

`gdro_state.npz` (one for the run) is the session's state and the trainer's place;
`gdro_buffer_rank<r>.safetensors` (one a process, only when the checkpoint falls between two updates
on the same rollouts) is the rollouts not yet used. Neither is a pickle.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from gdro.core.errors import StateError
from gdro.engines.states import load_session, read_session, save_session, written_by
from gdro.engines.trl.losses import LossLedger
from gdro.io import write_atomic

if TYPE_CHECKING:
    from gdro.engines.trl.trainer import GDROTrainer

STATE_FILE = "gdro_state.npz"


@dataclass(slots=True)
class Place:
    """Where the trainer stands.

    Attributes:
        micro_step: forward-backward passes done (TRL's `_step`, which TRL itself does not restore),
            in the passes of whoever wrote the checkpoint.
        step: optimizer steps done.
        batches: generation batches made.
        rollouts_total: rollouts generated in the run, over all processes.
        tokens_total: completion tokens generated in the run, over all processes.
        epoch: the pass over the training set under way, from 0.
        epoch_began: `micro_step` when it began.
        buffered: whether rollouts not yet used lie in the buffer files.
        rounds: what a method that generates in rounds carries from step to step.
    """

    micro_step: int = 0
    step: int = 0
    batches: int = 0
    rollouts_total: int = 0
    tokens_total: int = 0
    epoch: int = -1
    epoch_began: int = 0
    buffered: bool = False
    rounds: str = ""


class Checkpoints:
    """Saves and restores what TRL's checkpoints lack.

    Attributes:
        place: where the trainer stands.
    """

    def __init__(self, trainer: GDROTrainer) -> None:
        self.trainer = trainer
        self.place = Place()
        self._resumed = False

    def save(self, folder: Path) -> None:
        """Write into the folder of a checkpoint, before TRL does."""
        trainer, place = self.trainer, self.place
        folder.mkdir(parents=True, exist_ok=True)
        place.micro_step, place.step = trainer._step, trainer.state.global_step
        place.buffered = trainer._step % trainer.generate_every != 0
        place.rounds = "" if trainer.rounds is None else trainer.rounds.state()
        if place.buffered:
            path = buffer_file(folder, trainer.accelerator.process_index)
            save_buffer(path, trainer._buffered_inputs, trainer.update.ledger)
        if trainer.args.should_save:
            writer = {"engine": "GDROTrainer", **units(trainer)}
            save_session(folder / STATE_FILE, trainer.session, writer, asdict(place))

    def start_epoch(self) -> None:
        """A pass over the training set begins, or a resumed one goes on."""
        if not self._resumed:
            self.place.epoch += 1
            self.place.epoch_began = self.trainer._step
        self._resumed = False

    def load(self, folder: Path) -> None:
        """Go on from a checkpoint.

        Raises:
            StateError: it is missing or damaged, another controller's, or it cannot be gone on from
                with this number of processes and these batches; names who wrote it.
        """
        trainer, path = self.trainer, folder / STATE_FILE
        place, micro_step = self._stand(path)
        load_session(path, trainer.session)
        if trainer.rounds is not None:
            trainer.rounds.load(place.rounds)
        self.place, self._resumed = place, True
        trainer._step = micro_step
        if place.buffered:
            buffer = buffer_file(folder, trainer.accelerator.process_index)
            device = trainer.accelerator.device
            trainer._buffered_inputs = load_buffer(buffer, trainer.update.ledger, device)

    def stream_place(self, folder: Path) -> tuple[int, int]:
        """Passes over a stream, and of the one under way the forward-backward passes done, which
        transformers cannot know: it takes a stream of unknown length for one endless epoch."""
        place, micro_step = self._stand(folder / STATE_FILE)
        return place.epoch, micro_step - place.epoch_began

    def _stand(self, path: Path) -> tuple[Place, int]:
        """The place in a checkpoint, and the passes done as this run counts them."""
        state = read_session(path)
        place = place_of(state, path)
        changed = _changed(state["writer"], units(self.trainer))
        if place.buffered and changed:
            raise StateError(
                f"{path} lies between two updates on the same rollouts and was written by"
                f" {written_by(state)}; go on with {' and '.join(changed)}, or from a checkpoint at"
                " the end of a generation batch"
            )
        return place, self._in_phase(place, state, path) if changed else place.micro_step

    def _in_phase(self, place: Place, state: Mapping[str, Any], path: Path) -> int:
        """Passes done, as this run counts them: where its data loader will stand."""
        trainer = self.trainer
        if trainer.order.steps_an_epoch is None and place.epoch > 0:
            raise StateError(
                f"{path} lies in a later pass over a stream and was written by {written_by(state)};"
                f" go on with {' and '.join(_changed(state['writer'], units(trainer)))}"
            )
        every, accumulation = trainer.generate_every, int(trainer.args.gradient_accumulation_steps)
        steps = (
            place.step
            if trainer.order.steps_an_epoch is None
            else place.step % trainer.order.steps_an_epoch
        )
        if steps * accumulation % every:
            raise StateError(
                f"{path} was written by {written_by(state)}; here step {place.step} would lie "
                f"{steps * accumulation % every} passes into a generation batch of {every}, whose "
                "rollouts are not there. Go on with the same settings, or from a step that is a "
                f"multiple of {every // math.gcd(every, accumulation)}"
            )
        return place.step * accumulation


def units(trainer: GDROTrainer) -> dict[str, int]:
    """The settings that say how much one pass and one generation batch are."""
    return {
        "processes": trainer.accelerator.num_processes,
        "per_device_train_batch_size": trainer.args.per_device_train_batch_size,
        "gradient_accumulation_steps": trainer.args.gradient_accumulation_steps,
        "steps_per_generation": trainer.args.steps_per_generation,
        "num_iterations": trainer.num_iterations,
    }


def place_of(state: Mapping[str, Any], path: Path) -> Place:
    """The place in a state that `read_session` gave; raises StateError where it holds none."""
    found = state.get("place", {})
    names = {field.name for field in fields(Place)}
    if not names - {"rounds"} <= set(found) <= names:  # older files know no rounds
        raise StateError(
            f"{path} says nothing of where GDROTrainer stood; it was written by {written_by(state)}"
        )
    return Place(**found)


def load_place(folder: Path) -> Place:
    """Where the run stood that wrote a checkpoint; raises StateError as `read_session`."""
    path = folder / STATE_FILE
    return place_of(read_session(path), path)


def _changed(theirs: Mapping[str, Any], mine: Mapping[str, int]) -> list[str]:
    """What to set as it was, in words."""
    return [
        f"{name}={theirs.get(name)}" for name, value in mine.items() if theirs.get(name) != value
    ]


def buffer_file(folder: Path, process: int) -> Path:
    """The buffer file of a process."""
    return folder / f"gdro_buffer_rank{process}.safetensors"


def save_buffer(path: Path, batches: list[dict[str, Any]], ledger: LossLedger) -> None:
    """Write the buffered micro-batches and the losses seen so far, whole or not at all."""
    tensors: dict[str, torch.Tensor] = {}
    for index, batch in enumerate(batches):
        for key, value in batch.items():
            if value is None:
                continue
            if not isinstance(value, torch.Tensor):
                raise StateError(
                    f"{path}: the buffered field {key!r} is not a tensor and cannot be saved;"
                    " choose save_steps as a multiple of the updates made on one generation batch"
                )
            tensors[f"{index}/{key}"] = value.detach().contiguous().cpu().clone()
    tensors["ledger/sums"] = torch.from_numpy(ledger.sums.copy())
    tensors["ledger/rows"] = torch.from_numpy(ledger.rows.copy())
    # One entry: the file holds several in no fixed order, and equal states should be equal bytes.
    content = {"batches": len(batches), "prompt_ids": list(ledger.prompt_ids)}
    write_atomic(path, save(tensors, metadata={"buffer": json.dumps(content)}))


def load_buffer(path: Path, ledger: LossLedger, device: torch.device) -> list[dict[str, Any]]:
    """Read buffered micro-batches back and put the losses seen so far into the ledger.

    Raises:
        StateError: the file is missing or damaged.
    """
    try:
        with safe_open(path, framework="pt") as stored:
            metadata = json.loads(stored.metadata()["buffer"])
            tensors = {key: stored.get_tensor(key) for key in stored.keys()}  # noqa: SIM118 (no dict)
    except (FileNotFoundError, SafetensorError) as error:
        raise StateError(
            f"{path} is missing or damaged ({error}); resume from another checkpoint"
        ) from error
    ledger.start(tuple(metadata["prompt_ids"]))
    ledger.sums = np.asarray(tensors.pop("ledger/sums").numpy())
    ledger.rows = np.asarray(tensors.pop("ledger/rows").numpy())
    batches: list[dict[str, Any]] = [{} for _ in range(metadata["batches"])]
    for name, tensor in tensors.items():
        index, key = name.split("/", 1)
        batches[int(index)][key] = tensor.to(device)
    return batches
