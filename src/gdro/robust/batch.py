"""What a method reads in one step: the losses of every process, checked before any state changes.

Shapes: N samples of the step over all processes, n of this process, G groups.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray

from gdro.core.errors import GDROError
from gdro.core.hashing import prompt_key
from gdro.core.types import Floats, Ints

Keys: TypeAlias = NDArray[np.uint64]
Labels: TypeAlias = torch.Tensor | NDArray[Any] | Sequence[int] | Sequence[str]
"""Groups or sample ids of a batch: integers in a tensor, an array or a list, or names."""

NO_GROUP = -1

LARGEST = 1e15
"""Largest loss or size: its square is still a float32."""


class RobustError(GDROError, ValueError):
    """A batch or an option that no robust method can use. No state has changed."""


class LossError(RobustError):
    """Losses that are not a flat tensor of finite numbers, or sizes that do not fit them.

    Attributes:
        sample: id of the sample at fault as it was given, which stands in the message; None where
            there is none.
    """

    sample: int | str | None = None


class GroupError(RobustError):
    """Groups that are missing or unknown."""


class SampleIdError(RobustError):
    """Sample ids that are missing, or neither whole numbers nor names."""


@dataclass(frozen=True, slots=True)
class Batch:
    """One step's samples, of all processes in rank order.

    Attributes:
        losses: (N,) finite.
        sizes: (N,) how much each sample counts (tokens that are trained on; 1 for a plain sample),
            not all zero.
        groups: (N,) index of each sample's group; NO_GROUP throughout when none were given.
        keys: (N,) 64 bits that stand for each sample's id, or None.
        own: the part of N that this process gave.
    """

    losses: Floats
    sizes: Floats
    groups: Ints
    keys: Keys | None
    own: slice

    @property
    def grouped(self) -> bool:
        """Whether groups were given."""
        return bool(len(self.groups)) and int(self.groups[0]) != NO_GROUP

    def by_id(self) -> tuple[Keys, Ints, Ints, Floats]:
        """The batch with each id once: (K,) keys in order, (K,) place of one sample of each, (N,)
        the id of each sample as a place in keys, (K,) mean losses. Only for a batch with keys."""
        keys = np.zeros(len(self.losses), np.uint64) if self.keys is None else self.keys
        unique, first, place = np.unique(keys, return_index=True, return_inverse=True)
        often = np.bincount(place)
        return unique, first, place, np.bincount(place, weights=self.losses) / often

    def group_sums(self, values: Floats, count: int) -> Floats:
        """(G,) sums of `values` (N,) by group."""
        return np.asarray(
            np.bincount(self.groups, weights=values, minlength=count)[:count], np.float64
        )


def read_batch(
    losses: torch.Tensor,
    groups: Labels | None,
    ids: Labels | None,
    sizes: torch.Tensor | None,
    names: Sequence[str] | None,
) -> Batch:
    """Check this process's part of a step and join it with the parts of all others.

    Where `torch.distributed` is initialised every process must call this in the same step; all of
    them get the same batch (but for `own`), or all of them raise.

    Args:
        names: the known groups; None where the method has none.

    Raises:
        LossError, GroupError, SampleIdError: say which sample, and in which process.
    """
    fault: GDROError | None = None
    table = np.zeros((0, 4), np.int64)
    has_ids = ids is not None
    try:
        table = _pack(losses, groups, ids, sizes, names)
    except GDROError as error:
        fault = error
    if dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
        tables, has_ids = _gather(table, fault, (groups is not None, has_ids), _where(losses))
        start = sum(len(part) for part in tables[: dist.get_rank()])
        own = slice(start, start + len(table))
        table = np.concatenate(tables)
    elif fault is not None:
        raise fault
    else:
        own = slice(0, len(table))
    batch = Batch(
        losses=table[:, 0].copy().view(np.float64),
        sizes=table[:, 1].copy().view(np.float64),
        groups=table[:, 2].copy(),
        keys=table[:, 3].copy().view(np.uint64) if has_ids else None,
        own=own,
    )
    if batch.keys is not None and batch.grouped and names is not None:
        _one_group_an_id(batch.keys, batch.groups, names)
    return batch


def sample_keys(ids: Labels) -> Keys:
    """(n,) 64 bits for each id: a whole number is its own key, a name the first 64 bits of its
    blake2b hash.

    Two of a million names share a key with a chance of 3e-8.

    Raises:
        SampleIdError: an id is neither a whole number nor a name.
    """
    values = _listed(ids)
    for value in values:
        if isinstance(value, bool) or not isinstance(value, int | np.integer | str):
            raise SampleIdError(f"sample id {value!r:.60} is neither a whole number nor a name")
    words = [prompt_key(v) if isinstance(v, str) else int(v) % 2**64 for v in values]
    return np.array(words, np.uint64)


def group_indices(groups: Labels, names: Sequence[str]) -> Ints:
    """(n,) place of each group in `names`; a number is a place, a string a name.

    Raises:
        GroupError: a group is unknown.
    """
    values = _listed(groups)
    places = {name: place for place, name in enumerate(names)}
    found = np.empty(len(values), np.int64)
    for row, value in enumerate(values):
        place = places.get(value, NO_GROUP) if isinstance(value, str) else value
        whole = isinstance(place, int | np.integer) and not isinstance(place, bool)
        if not whole or not 0 <= place < len(names):
            known = ", ".join(map(repr, names[:8])) + (", ..." if len(names) > 8 else "")
            raise GroupError(
                f"sample {row} of the batch has group {value!r}, none of the {len(names)}: {known}"
            )
        found[row] = place
    return found


def _pack(
    losses: torch.Tensor,
    groups: Labels | None,
    ids: Labels | None,
    sizes: torch.Tensor | None,
    names: Sequence[str] | None,
) -> Ints:
    """(n, 4) words: the bits of loss and size, group, key."""
    values = _numbers("losses", losses, ids)
    counts = np.ones(len(values)) if sizes is None else _numbers("sizes", sizes, ids)
    _same_length("sizes", len(counts), len(values))
    for what, labels in (("groups", groups), ("ids", ids)):
        if labels is not None and getattr(labels, "ndim", 1) == 0:
            wrong = GroupError if what == "groups" else SampleIdError
            raise wrong(f"{what} is {labels!r}; give one a sample, in a list or of shape (n,)")
    if len(counts) and counts.min() < 0.0:
        row = int(counts.argmin())
        raise LossError(
            f"sizes[{row}]{_with_id(ids, row)} is {counts[row]:g}; a size must not be negative"
        )
    places = np.full(len(values), NO_GROUP, np.int64)
    if groups is not None:
        if names is None:
            raise GroupError(
                "this method was made without groups; make it with groups=..., or leave them out"
                " here"
            )
        _same_length("groups", len(groups), len(values))
        places = group_indices(groups, names)
    keys = np.zeros(len(values), np.uint64)
    if ids is not None:
        _same_length("ids", len(ids), len(values))
        keys = sample_keys(ids)
    return np.stack(
        [values.view(np.int64), counts.view(np.int64), places, keys.view(np.int64)], axis=1
    )


def _one_group_an_id(keys: Keys, groups: Ints, names: Sequence[str]) -> None:
    if len(set(keys.tolist())) == len(keys):
        return
    order = np.argsort(keys, kind="stable")
    keys, groups = keys[order], groups[order]
    twice = np.flatnonzero((keys[1:] == keys[:-1]) & (groups[1:] != groups[:-1]))
    if len(twice):
        at = int(twice[0])
        raise SampleIdError(
            f"samples {order[at]} and {order[at + 1]} of the step (processes in order) have one id,"
            f" but the groups {names[groups[at]]!r} and {names[groups[at + 1]]!r}"
        )


def _numbers(what: str, tensor: torch.Tensor, ids: Labels | None) -> Floats:
    hint = "; use reduction='none' where the loss is computed" if what == "losses" else ""
    if not isinstance(tensor, torch.Tensor) or tensor.dim() != 1 or not _is_number(what, tensor):
        raise LossError(
            f"{what} must be a flat tensor of floats, one a sample (got {_shape(tensor)}){hint}"
        )
    values = tensor.detach().cpu().double().numpy()
    usable = np.abs(values) <= LARGEST  # False for NaN
    if not usable.all():
        row = int(np.flatnonzero(~usable)[0])
        error = LossError(
            f"{what}[{row}]{_with_id(ids, row)} is {values[row]:g}, no number within +-{LARGEST:g};"
            " no weight was computed and no state changed. Look at that sample and at the learning"
            " rate"
        )
        error.sample = _id_at(ids, row)
        raise error
    return np.ascontiguousarray(values)


def _is_number(what: str, tensor: torch.Tensor) -> bool:
    """Losses are floats; sizes, which may count tokens, whole numbers too."""
    counts = what == "sizes" and not tensor.is_complex() and tensor.dtype != torch.bool
    return tensor.is_floating_point() or counts


def _listed(labels: Labels) -> list[Any]:
    values: list[Any] = (
        labels.tolist() if isinstance(labels, torch.Tensor | np.ndarray) else list(labels)
    )
    return values


def _id_at(ids: Labels | None, row: int) -> int | str | None:
    """The id of a sample, where there is one."""
    if ids is None or row >= len(ids):
        return None
    found: int | str = _listed(ids[row : row + 1])[0]
    return found


def _with_id(ids: Labels | None, row: int) -> str:
    """The id of a sample in a message, where there is one."""
    sample = _id_at(ids, row)
    return "" if sample is None else f" (id {sample!r})"


def _shape(thing: object) -> str:
    return (
        f"{thing.dtype} {tuple(thing.shape)}"
        if isinstance(thing, torch.Tensor)
        else type(thing).__name__
    )


def _same_length(what: str, found: int, wanted: int) -> None:
    if found != wanted:
        error = {"groups": GroupError, "ids": SampleIdError}.get(what, LossError)
        raise error(f"there are {found} {what} for {wanted} losses")


def _where(losses: torch.Tensor) -> torch.device:
    """Where the backend of torch.distributed wants its tensors."""
    if dist.get_backend() == "nccl" and isinstance(losses, torch.Tensor):
        return losses.device
    return torch.device("cpu")


def _gather(
    table: Ints, fault: GDROError | None, given: tuple[bool, bool], device: torch.device
) -> tuple[list[Ints], bool]:
    """The tables of all processes, and whether they gave ids. A first small exchange says how long
    they are and whether one has failed, so that no process waits for another that has raised."""
    world = dist.get_world_size()
    head = torch.tensor([len(table), fault is not None, *given], dtype=torch.int64, device=device)
    heads = [torch.empty_like(head) for _ in range(world)]
    dist.all_gather(heads, head)
    facts = torch.stack(heads).cpu().numpy()
    if fault is not None:
        raise fault
    if facts[:, 1].any():
        raise RobustError(
            f"process {int(facts[:, 1].argmax())} could not use its part of the batch; it says why"
        )
    filled = facts[facts[:, 0] > 0]
    for place, error, what in ((2, GroupError, "groups"), (3, SampleIdError, "ids")):
        if len(set(filled[:, place].tolist())) > 1:
            raise error(f"some processes gave {what} and some did not")
    longest = int(facts[:, 0].max())
    padded = torch.zeros((max(longest, 1), 4), dtype=torch.int64, device=device)
    padded[: len(table)] = torch.from_numpy(table).to(device)
    parts = [torch.empty_like(padded) for _ in range(world)]
    dist.all_gather(parts, padded)
    tables = [
        part[: int(count)].cpu().numpy() for part, count in zip(parts, facts[:, 0], strict=True)
    ]
    return tables, bool(filled[:, 3].any())


def check_unit(name: str, value: float, *, open_above: bool = False) -> None:
    """Raise RobustError unless 0 < value <= 1 (< 1 with `open_above`)."""
    if not (0.0 < value < 1.0 or (value == 1.0 and not open_above)):
        raise RobustError(f"{name}={value:g} must lie in (0, 1{')' if open_above else ']'}")


def check_positive(name: str, value: float) -> None:
    """Raise RobustError unless the value is positive and finite."""
    if not (value > 0.0 and math.isfinite(value)):
        raise RobustError(f"{name}={value:g} must be positive and finite")
