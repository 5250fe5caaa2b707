"""Rows of rollouts in groups: checked at the door, laid out as a grid to be compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from gdro.core.errors import GDROError, RewardError


class ObjectiveError(GDROError, ValueError):
    """What an objective was given is no number, has the wrong shape, or lacks what the method
    needs. Nothing was computed."""


@dataclass(frozen=True, slots=True)
class Groups:
    """N rows in G ragged groups of at most K rows, whatever the order of the rows.

    Attributes:
        number: (N,) int64, the group of each row, 0..G-1 in rising order of the given integers.
        place: (N,) int64, the place of each row in its group, in the order of the rows.
        labels: (G,) the integers that were given.
        size: (G,) int64, rows of each group.
    """

    number: torch.Tensor
    place: torch.Tensor
    labels: torch.Tensor
    size: torch.Tensor

    @classmethod
    def of(cls, group: torch.Tensor) -> Groups:
        """Groups of (N,) integers; rows with the same integer belong together."""
        labels, number, size = torch.unique(group, return_inverse=True, return_counts=True)
        order = torch.argsort(number, stable=True)
        starts = torch.cumsum(size, 0) - size
        place = torch.empty_like(number)
        place[order] = torch.arange(len(number), device=number.device) - starts[number[order]]
        return cls(number, place, labels, size)

    def grid(self, values: torch.Tensor, fill: float) -> torch.Tensor:
        """(G, K) the (N,) values of each group, `fill` where a group is shorter. Differentiable."""
        width = int(self.size.max()) if len(self.size) else 0
        empty = values.new_full((len(self.size), width), fill)
        return empty.index_put((self.number, self.place), values)

    def mixed(self, marks: torch.Tensor) -> torch.Tensor:
        """(N,) rows of the groups in which some of the (N,) marks are set and some are not."""
        marked = self.sum(marks.to(torch.float64))
        return ((marked > 0) & (marked < self.size))[self.number]

    def sum(self, values: torch.Tensor) -> torch.Tensor:
        """(G,) sum of the (N,) values of each group. Differentiable."""
        return values.new_zeros(len(self.size)).index_add(0, self.number, values)


def check_rows(
    group: torch.Tensor, names: Sequence[str] | None = None, /, **columns: torch.Tensor
) -> None:
    """Require one finite number a row in every column, and one integer a row in `group`.

    Args:
        group: (N,) integers.
        names: what to call group g in a message: `names[g]`; by default the integer itself.
        columns: (N,) or (N, ...) numbers by name, of N rows each.

    Raises:
        ObjectiveError: another shape, or NaN or infinity, with the prompt and the row; RewardError
            if the column is called `reward`.
    """
    if group.ndim != 1 or group.is_floating_point() or group.dtype == torch.bool:
        raise ObjectiveError(f"group is {_kind(group)}; give (N,) integers, one a row")
    for name, values in columns.items():
        if values.ndim < 1 or len(values) != len(group):
            given = f"{name} is {_kind(values)} for {len(group)} rows of group"
            raise ObjectiveError(f"{given}; give one entry a row")
        finite = torch.isfinite(values.detach())
        if bool(finite.all()):
            continue
        row = int((~finite.reshape(len(values), -1).all(1)).nonzero()[0])
        error = RewardError if name == "reward" else ObjectiveError
        bad = values[row][~finite[row]].flatten()[0].item()
        where = f"{name} of row {row} ({prompt_name(group, row, names)})"
        raise error(f"{where} is {bad}; it must be a finite number")


def prompt_name(group: torch.Tensor, row: int, names: Sequence[str] | None) -> str:
    """What to call the prompt of a row."""
    number = int(group[row])
    return f"group {number}" if names is None else f"prompt {names[number]!r}"


def _kind(values: torch.Tensor) -> str:
    return f"{tuple(values.shape)} of {str(values.dtype).removeprefix('torch.')}"
