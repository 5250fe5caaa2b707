"""Read a prompt once for all its rollouts in a training pass: the same log-probabilities from fewer
tokens.

The rollouts of a prompt become branches of one sequence: the prompt without its last token, then
for each rollout that last token and the completion without its own last one. A token attends to its
prompt and its own branch only, and carries the position that it has in the rollout read by itself.
Sequences of several prompts share a row of the batch. With p prompt tokens and n completions of c
tokens, n (p + c) tokens become p - 1 + n c.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

NO_LABEL = -100
OWN_SEQUENCE = 0
"""Branch number of the tokens that all branches of a sequence share."""


@dataclass(frozen=True, slots=True)
class Packed:
    """A batch of S rows of L packed tokens that stands for R rollouts of at most T completion
    tokens.

    Attributes:
        input_ids: (S, L) tokens.
        position_ids: (S, L) positions.
        attention: (S, 1, L, L) True where a query (third) may look at a key (fourth).
        labels: (S, L) the token that follows in the branch; NO_LABEL where none does.
        places: (R, T) where each completion token's prediction lies in the flattened (S L); 0 for
            padding.
        present: (R, T) False for padding.
    """

    input_ids: torch.Tensor
    position_ids: torch.Tensor
    attention: torch.Tensor
    labels: torch.Tensor
    places: torch.Tensor
    present: torch.Tensor

    def model_inputs(self, attention_kind: str, dtype: torch.dtype) -> dict[str, Any]:
        """What the model's forward takes. SDPA wants True/False, eager attention numbers to add."""
        mask = self.attention
        if attention_kind == "eager":
            mask = torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill(
                ~mask, torch.finfo(dtype).min
            )
        return {
            "input_ids": self.input_ids,
            "position_ids": self.position_ids,
            "attention_mask": mask,
            "shift_labels": self.labels,
        }

    def unpack(self, values_SL: torch.Tensor) -> torch.Tensor:
        """(R, T) the values of the completion tokens; 0 for padding."""
        return torch.where(self.present, values_SL.reshape(-1)[self.places], 0.0)


def pack(input_ids_RW: torch.Tensor, mask_RW: torch.Tensor, completion_columns: int) -> Packed:
    """Pack rollouts, prompts padded on the left and completions on the right, as TRL lays them out.

    Args:
        input_ids_RW: (R, W) prompt columns, then `completion_columns` completion columns.
        mask_RW: (R, W) 1 for a token, 0 for padding; every prompt has a token.
        completion_columns: T.
    """
    rows = _rollouts(input_ids_RW, mask_RW, completion_columns)
    groups: dict[tuple[int, ...], list[int]] = {}
    for row, (prompt, _) in enumerate(rows):
        groups.setdefault(prompt, []).append(row)
    sequences = [
        _Sequence(prompt, [(row, rows[row][1]) for row in members])
        for prompt, members in groups.items()
    ]
    # prompts of one token, nothing after
    width = max(1, *(sequence.length for sequence in sequences))
    layout = _Layout(len(rows), completion_columns, width)
    for shelf in _shelves([sequence.length for sequence in sequences], width):
        layout.new_row()
        for place in shelf:
            layout.add(sequences[place])
    return layout.packed(input_ids_RW.device)


@dataclass(frozen=True, slots=True)
class _Sequence:
    prompt: tuple[int, ...]
    branches: list[tuple[int, list[int]]]
    """Row and completion of each rollout."""

    @property
    def length(self) -> int:
        return len(self.prompt) - 1 + sum(len(completion) for _, completion in self.branches)


class _Layout:
    """Rows of the packed batch while they fill up, as lists of equal length."""

    def __init__(self, rollouts: int, columns: int, width: int) -> None:
        self.width, self.columns = width, columns
        self.tokens: list[list[int]] = []
        self.positions: list[list[int]] = []
        self.labels: list[list[int]] = []
        self.sequence: list[list[int]] = []
        self.branch: list[list[int]] = []
        self.places = [[0] * columns for _ in range(rollouts)]
        self.present = [[False] * columns for _ in range(rollouts)]
        self.branches = 0

    def new_row(self) -> None:
        for lists in (self.tokens, self.positions, self.labels, self.sequence, self.branch):
            lists.append([])

    def add(self, sequence: _Sequence) -> None:
        name = self.branches + 1
        shared = len(sequence.prompt) - 1
        self._extend(list(sequence.prompt[:-1]), 0, [NO_LABEL] * shared, name, OWN_SEQUENCE)
        for row, completion in sequence.branches:
            self.branches += 1
            start = (len(self.tokens) - 1) * self.width + len(self.tokens[-1])
            for column in range(len(completion)):
                self.places[row][column] = start + column
                self.present[row][column] = True
            fed = [sequence.prompt[-1], *completion[:-1]] if completion else []
            self._extend(fed, shared, completion, name, self.branches)

    def _extend(
        self, tokens: list[int], first: int, labels: list[int], sequence: int, branch: int
    ) -> None:
        self.tokens[-1] += tokens
        self.positions[-1] += range(first, first + len(tokens))
        self.labels[-1] += labels
        self.sequence[-1] += [sequence] * len(tokens)
        self.branch[-1] += [branch] * len(tokens)

    def packed(self, device: torch.device) -> Packed:
        def square(lists: list[list[int]], fill: int) -> torch.Tensor:
            return torch.tensor(
                [row + [fill] * (self.width - len(row)) for row in lists], device=device
            )

        sequence, branch = square(self.sequence, 0), square(self.branch, OWN_SEQUENCE)
        order = torch.arange(self.width, device=device)
        # padding sees itself alone, never nothing
        sequence = torch.where(sequence == 0, -order - 1, sequence)
        same = sequence[:, :, None] == sequence[:, None, :]
        visible = (branch[:, None, :] == OWN_SEQUENCE) | (branch[:, :, None] == branch[:, None, :])
        attention = same & visible & (order[:, None] >= order[None, :])
        return Packed(
            square(self.tokens, 0),
            square(self.positions, 0),
            attention[:, None],
            square(self.labels, NO_LABEL),
            torch.tensor(self.places, device=device),
            torch.tensor(self.present, device=device),
        )


def _rollouts(
    ids: torch.Tensor, mask: torch.Tensor, columns: int
) -> list[tuple[tuple[int, ...], list[int]]]:
    """Prompt and completion of each row, without padding."""
    split = ids.shape[1] - columns
    pad = mask[:, :split].sum(1).tolist()
    size = mask[:, split:].sum(1).tolist()
    return [
        (tuple(row[split - prompt : split]), row[split : split + completion])
        for row, prompt, completion in zip(ids.tolist(), pad, size, strict=True)
    ]


def _shelves(lengths: list[int], width: int) -> list[list[int]]:
    """Which sequences share a row of `width` tokens: first fit, longest first."""
    shelves: list[list[int]] = []
    room: list[int] = []
    for place in sorted(range(len(lengths)), key=lambda item: (-lengths[item], item)):
        row = next((index for index, free in enumerate(room) if free >= lengths[place]), None)
        if row is None:
            shelves.append([])
            room.append(width)
            row = len(room) - 1
        shelves[row].append(place)
        room[row] -= lengths[place]
    return shelves
