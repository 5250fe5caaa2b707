"""Cells of a reasoning-gym mixture: which families, at which level, with which share of it."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

BLOCK = 20_000
"""Entries per reasoning-gym data set object; a longer stream goes on in the next block, with its
own seed."""


@dataclass(frozen=True)
class Cell:
    """One family at one level.

    Attributes:
        family: a reasoning-gym data set name, e.g. `chain_sum`.
        level: the name of this configuration in ids and reports; empty: `default`, or a tag of
            `config`.
        config: parameters of that data set, e.g. `{"min_digits": 2}` (JSON values).
        weight: share of the mixture, relative to the other cells; unused when `size` is given.
        size: number of prompts, or None to share by weight.

    Raises:
        ValueError: a bad level name, weight or size. Family and config are checked on the first
            use, so that naming a cell does not import reasoning-gym.
    """

    family: str
    level: str = ""
    config: Mapping[str, Any] = field(default_factory=dict)
    weight: float = 1.0
    size: int | None = None

    def __post_init__(self) -> None:
        for key, right, kind in (
            ("family", isinstance(self.family, str) and self.family != "", "text"),
            ("level", isinstance(self.level, str), 'text: write it in quotes, "1"'),
            ("config", isinstance(self.config, Mapping), "a mapping of keys to values"),
            ("weight", type(self.weight) in (int, float), "a number"),
            ("size", self.size is None or type(self.size) is int, "a whole number"),
        ):
            if not right:
                raise ValueError(f"{key} = {getattr(self, key)!r} must be {kind}")
        if not self.level:
            object.__setattr__(self, "level", _config_tag(self.config))
        if "/" in self.level:
            raise ValueError(f"cell {self.name}: a level's name may not hold '/'")
        if not self.weight > 0 or self.weight == float("inf"):
            raise ValueError(
                f"cell {self.name}: weight must be positive and finite, got {self.weight}"
            )
        if self.size is not None and self.size < 1:
            raise ValueError(f"cell {self.name}: size must be at least 1, got {self.size}")

    @property
    def name(self) -> str:
        """`<family>/<level>`, unique in a mixture."""
        return f"{self.family}/{self.level}"


@dataclass(frozen=True)
class Family:
    """A reasoning-gym family with its named levels, easiest first: level name -> config."""

    name: str
    levels: Mapping[str, Mapping[str, Any]]

    def cells(self) -> list[Cell]:
        """One cell per level, of weight 1."""
        return [Cell(self.name, level, config) for level, config in self.levels.items()]


def cells_from_config(entries: Sequence[Mapping[str, Any]]) -> list[Cell]:
    """Cells of a user's mixture: a list of `{family, level?, config?, weight? | size?}`.

    Raises:
        ValueError: naming the row, for an unknown key, an unknown or missing family, a config key
            that the family does not have, or anything `Cell` refuses.
    """
    cells = named_cells(entries)
    for row, cell in enumerate(cells, 1):
        try:
            _check_config(cell)
        except ValueError as error:
            raise ValueError(f"row {row}: {error}") from error
    return cells


def named_cells(entries: Sequence[Mapping[str, Any]]) -> list[Cell]:
    """As `cells_from_config`, without a look at what reasoning-gym has; needs nothing installed.

    Raises:
        ValueError: naming the row, for an unknown key, a missing family, or anything `Cell`
            refuses.
    """
    known = {spec.name for spec in dataclasses.fields(Cell)}
    cells = []
    for row, entry in enumerate(entries, 1):
        unknown = sorted(set(entry) - known)
        if unknown or "family" not in entry:
            problem = f"unknown key {unknown[0]!r}" if unknown else "no 'family'"
            raise ValueError(f"row {row}: {problem}; a row has the keys {', '.join(sorted(known))}")
        try:
            cells.append(Cell(**entry))
        except ValueError as error:
            raise ValueError(f"row {row}: {error}") from error
    return cells


def cell_sizes(cells: Sequence[Cell], size: int | None) -> dict[str, int]:
    """Prompts of each cell, by its name, in a mixture of that size; raises ValueError as
    `draw_mixture`."""
    names = [cell.name for cell in cells]
    twice = sorted({name for name in names if names.count(name) > 1})
    if not cells or twice:
        raise ValueError(
            f"cell {twice[0]} is in the mixture twice" if twice else "the mixture has no cells"
        )
    fixed = {cell.name: cell.size for cell in cells if cell.size is not None}
    if size is None and len(fixed) < len(cells):
        missing = next(name for name in names if name not in fixed)
        raise ValueError(f"cell {missing} has no size and the mixture has none: give one of them")
    if fixed and size is not None:
        raise ValueError(
            f"cell {next(iter(fixed))} has a size and so has the mixture: use weights, or sizes"
            " only"
        )
    return fixed if size is None else _shares(cells, size)


def _shares(cells: Sequence[Cell], size: int) -> dict[str, int]:
    """Largest remainder: `size` split in proportion to the weights, ties by name, at least one
    each."""
    if size < len(cells):
        raise ValueError(
            f"a mixture of {len(cells)} cells needs at least as many prompts, got size {size}"
        )
    total = sum(cell.weight for cell in cells)
    exact = {cell.name: size * cell.weight / total for cell in cells}
    shares = {name: max(1, int(value)) for name, value in exact.items()}
    order = sorted(exact, key=lambda name: (shares[name] - exact[name], name))
    for name in order[: max(0, size - sum(shares.values()))]:
        shares[name] += 1
    while sum(shares.values()) > size:
        shares[max(shares, key=lambda name: (shares[name], name))] -= 1
    return shares


def dataset_of(cell: Cell, seed: int) -> Any:
    """The reasoning-gym data set of a cell; raises ValueError for a family, a key or a config that
    it refuses."""
    import reasoning_gym

    _check_config(cell)
    try:
        return reasoning_gym.create_dataset(cell.family, seed=seed, size=BLOCK, **cell.config)
    except (AssertionError, TypeError, ValueError) as error:
        raise ValueError(
            f"cell {cell.name}: reasoning-gym refuses config {dict(cell.config)}: {error}"
        ) from error


def _config_tag(config: Mapping[str, Any]) -> str:
    if not config:
        return "default"
    return hashlib.sha256(json.dumps(dict(config), sort_keys=True).encode()).hexdigest()[:8]


def _check_config(cell: Cell) -> None:
    """Raises ValueError for an unknown family (naming the nearest one) or config key."""
    from reasoning_gym.factory import DATASETS

    if cell.family not in DATASETS:
        near = get_close_matches(cell.family, DATASETS, n=1, cutoff=0.0)
        raise ValueError(
            f"unknown reasoning-gym family {cell.family!r}; the nearest one is {near[0]!r}"
        )
    known = {spec.name for spec in dataclasses.fields(DATASETS[cell.family][1])} - {"seed", "size"}
    for key in cell.config:
        if key not in known:
            raise ValueError(
                f"cell {cell.name}: {cell.family} has no config key {key!r}; it has {sorted(known)}"
            )
