"""Prompts from reasoning-gym: families at chosen levels, two disjoint splits, its own scorers.

A cell is one reasoning-gym family at one level (one configuration). Every cell has an endless,
seeded stream of entries; an entry keeps its id `reasoning_gym/<family>/<level>/<seed>-<index>`
whatever else the mixture holds. The split of a question is decided by a hash of its text, so a
held-out question is never a training question, for any seed, size or mixture.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from gdro.data.cells import (
    BLOCK,
    Cell,
    Family,
    cell_sizes,
    cells_from_config,
    dataset_of,
    named_cells,
)
from gdro.data.chat import Shape
from gdro.data.prompts import Prompt
from gdro.data.task_scores import check_scorer, score

__all__ = [
    "SOURCE",
    "Cell",
    "Family",
    "MixtureDraw",
    "Split",
    "cell_sizes",
    "cells_from_config",
    "draw_mixture",
    "load_mixture",
    "named_cells",
    "score",
    "split_of",
    "stream",
]

SOURCE = "reasoning_gym"
Split = Literal["train", "heldout"]
_log = logging.getLogger(__name__)
_PLAIN = Shape()


@dataclass(frozen=True)
class MixtureDraw:
    """A drawn mixture and what was passed over on the way.

    Attributes:
        prompts: the prompts, cell by cell in the order asked for.
        duplicates: cell name -> entries dropped because their question had been drawn before.
        other_split: cell name -> entries passed over because they belong to the other split.
    """

    prompts: list[Prompt]
    duplicates: dict[str, int]
    other_split: dict[str, int]


def load_mixture(
    cells: Sequence[Cell],
    size: int | None,
    seed: int,
    split: Split = "train",
    shape: Shape = _PLAIN,
) -> list[Prompt]:
    """`draw_mixture(...).prompts`, put to the model in that shape; ids and scores do not depend on
    it."""
    return [_shaped(prompt, shape) for prompt in draw_mixture(cells, size, seed, split).prompts]


def draw_mixture(
    cells: Sequence[Cell], size: int | None, seed: int, split: Split = "train"
) -> MixtureDraw:
    """Draw `size` prompts (None: every cell states its own size) with distinct questions from one
    split.

    A question that two cells can both ask goes to the cell whose name sorts first, so the order of
    `cells` changes only the order of the prompts.

    Raises:
        ValueError: two cells share a name, sizes are missing or mixed with weights, a cell cannot
            give enough distinct questions, or a family cannot be scored from a text answer.
    """
    sizes = cell_sizes(cells, size)
    seen: set[str] = set()
    drawn: dict[str, list[Prompt]] = {}
    duplicates: dict[str, int] = {}
    other_split: dict[str, int] = {}
    for cell in sorted(cells, key=lambda cell: cell.name):
        drawn[cell.name], duplicates[cell.name], other_split[cell.name] = _draw_cell(
            cell, sizes[cell.name], seed, split, seen
        )
    _log.info(
        "reasoning_gym %s: %d prompts, dropped duplicates %s",
        split,
        sum(sizes.values()),
        duplicates,
    )
    prompts = [prompt for cell in cells for prompt in drawn[cell.name]]
    return MixtureDraw(prompts, duplicates, other_split)


def stream(cell: Cell, seed: int, split: Split) -> Iterator[Prompt | None]:
    """The endless stream of a cell: a prompt per entry of this split (repeats too), None for the
    others."""
    index = 0
    while True:
        dataset = dataset_of(cell, _block_seed(cell, seed, index // BLOCK))
        for position in range(BLOCK):
            entry = _entry(cell, dataset, position)
            yield (
                _to_prompt(cell, entry, seed, index)
                if split_of(entry["question"]) == split
                else None
            )
            index += 1


def _entry(cell: Cell, dataset: Any, position: int) -> Any:
    try:
        return dataset[position]
    except (IndexError, KeyError, ValueError) as error:
        raise ValueError(
            f"cell {cell.name}: reasoning-gym finds no question for config {dict(cell.config)} "
            f"({type(error).__name__}: {error}); widen it"
        ) from error


def split_of(question: str) -> Split:
    """The split a question belongs to: one in five is held out, by the SHA-256 of its text."""
    return "heldout" if hashlib.sha256(question.encode()).digest()[0] % 5 == 0 else "train"


def _to_prompt(cell: Cell, entry: Mapping[str, Any], seed: int, index: int) -> Prompt:
    identity = f"{SOURCE}/{cell.name}/{seed}-{index}"
    try:
        facts = json.loads(json.dumps(entry["metadata"]))
    except TypeError as error:
        raise ValueError(
            f"{identity}: its metadata holds values that are not JSON ({error})"
        ) from error
    metadata = {
        "family": cell.family,
        "level": cell.level,
        "config": dict(cell.config),
        "entry": facts,
    }
    return Prompt(identity, entry["question"], str(entry["answer"]), SOURCE, metadata)


def _shaped(prompt: Prompt, shape: Shape) -> Prompt:
    """The prompt in that shape; its question is kept for the scorer."""
    if shape == _PLAIN:
        return prompt
    question = prompt.messages
    messages = shape.apply(question if isinstance(question, str) else list(question), prompt.id)
    return replace(prompt, messages=messages, metadata={**prompt.metadata, "question": question})


def _draw_cell(
    cell: Cell, size: int, seed: int, split: Split, seen: set[str]
) -> tuple[list[Prompt], int, int]:
    """Prompts of one cell, duplicates dropped, and entries of the other split passed over."""
    prompts: list[Prompt] = []
    duplicates = others = 0
    limit = 1_000 + 50 * size
    for tried, prompt in enumerate(stream(cell, seed, split)):
        if len(prompts) == size:
            break
        if tried == limit:
            raise ValueError(
                f"cell {cell.name}: only {len(prompts)} distinct {split} questions in {limit}"
                f" entries, {size} wanted; ask for fewer or widen its config {dict(cell.config)}"
            )
        if prompt is None:
            others += 1
        elif prompt.messages in seen:
            duplicates += 1
        else:
            seen.add(str(prompt.messages))
            prompts.append(prompt)
    check_scorer(cell, prompts)
    return prompts, duplicates, others


def _block_seed(cell: Cell, seed: int, block: int) -> int:
    """Seed of one block. reasoning-gym seeds entry i with `seed + i`: a hash keeps near seeds
    apart."""
    text = json.dumps([seed, cell.family, dict(cell.config), block], sort_keys=True)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")
