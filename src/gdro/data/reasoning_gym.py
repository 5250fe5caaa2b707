"""Prompts from reasoning-gym: families at chosen levels, two disjoint splits, its own scorers.

A cell is one reasoning-gym family at one level (one configuration). Every cell has an endless, seeded stream
of entries; an entry keeps its id `reasoning_gym/<family>/<level>/<seed>-<index>` whatever else the mixture
holds. The split of a question is decided by a hash of its text, so a held-out question is never a training
question, for any seed, size or mixture.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cache
from typing import Any, Literal

from gdro.data.prompts import Prompt

SOURCE = "reasoning_gym"
Split = Literal["train", "heldout"]
BLOCK = 20_000
"""Entries per reasoning-gym data set object; a longer stream goes on in the next block, with its own seed."""
UNREADABLE = (
    ValueError,
    TypeError,
    ArithmeticError,
    LookupError,
    AttributeError,
    SyntaxError,
    RecursionError,
)
"""What reasoning-gym's scorers raise on an answer that they cannot parse (say `int("two")`): it scores 0."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Cell:
    """One family at one level.

    Attributes:
        family: a reasoning-gym data set name, e.g. `chain_sum`.
        level: the name of this configuration in ids and reports; empty: `default`, or a tag of `config`.
        config: parameters of that data set, e.g. `{"min_digits": 2}` (JSON values).
        weight: share of the mixture, relative to the other cells; unused when `size` is given.
        size: number of prompts, or None to share by weight.

    Raises:
        ValueError: a bad level name, weight or size. Family and config are checked on the first use, so that
            naming a cell does not import reasoning-gym.
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
            raise ValueError(f"cell {self.name}: weight must be positive and finite, got {self.weight}")
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


def load_mixture(cells: Sequence[Cell], size: int | None, seed: int, split: Split = "train") -> list[Prompt]:
    """`draw_mixture(...).prompts`."""
    return draw_mixture(cells, size, seed, split).prompts


def draw_mixture(cells: Sequence[Cell], size: int | None, seed: int, split: Split = "train") -> MixtureDraw:
    """Draw `size` prompts (None: every cell states its own size) with distinct questions from one split.

    A question that two cells can both ask goes to the cell whose name sorts first, so the order of `cells`
    changes only the order of the prompts.

    Raises:
        ValueError: two cells share a name, sizes are missing or mixed with weights, a cell cannot give enough
            distinct questions, or a family cannot be scored from a text answer.
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
    _log.info("reasoning_gym %s: %d prompts, dropped duplicates %s", split, sum(sizes.values()), duplicates)
    prompts = [prompt for cell in cells for prompt in drawn[cell.name]]
    return MixtureDraw(prompts, duplicates, other_split)


def cells_from_config(entries: Sequence[Mapping[str, Any]]) -> list[Cell]:
    """Cells of a user's mixture: a list of `{family, level?, config?, weight? | size?}`.

    Raises:
        ValueError: naming the row, for an unknown key, an unknown or missing family, a config key that the
            family does not have, or anything `Cell` refuses.
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
        ValueError: naming the row, for an unknown key, a missing family, or anything `Cell` refuses.
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


def stream(cell: Cell, seed: int, split: Split) -> Iterator[Prompt | None]:
    """The endless stream of a cell: a prompt per entry of this split (repeats too), None for the others."""
    index = 0
    while True:
        dataset = _dataset(cell, _block_seed(cell, seed, index // BLOCK))
        for position in range(BLOCK):
            entry = _entry(cell, dataset, position)
            yield _to_prompt(cell, entry, seed, index) if split_of(entry["question"]) == split else None
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


def answer_of(completion: str) -> str:
    """The answer in a completion: the last `<answer>...</answer>` if any, else the whole text; stripped."""
    from reasoning_gym.utils import extract_answer

    tagged: str | None = extract_answer(completion)
    return completion.strip() if tagged is None else tagged


def score(prompt: Prompt, completion: str) -> float:
    """Score of a completion in [0, 1] by the family's own `score_answer`; 1 means right, less is partial credit.

    An answer that the scorer cannot parse (see `UNREADABLE`) scores 0. Partial credit that rounding carries
    past 1 (spell_backward adds 1/9 nine times for a right word with a letter too many) stays below 1.
    """
    metadata = prompt.metadata
    dataset = _scorer(metadata["family"], json.dumps(metadata["config"], sort_keys=True))
    question = prompt.messages if isinstance(prompt.messages, str) else prompt.messages[-1]["content"]
    entry = {"question": question, "answer": prompt.answer, "metadata": metadata["entry"]}
    try:
        value = float(dataset.score_answer(answer_of(completion), entry))
    except UNREADABLE:
        return 0.0
    return value if value <= 1.0 else math.nextafter(1.0, 0.0)


@cache
def _scorer(family: str, config_json: str) -> Any:
    return _dataset(Cell(family, config=json.loads(config_json)), seed=0)


def _dataset(cell: Cell, seed: int) -> Any:
    import reasoning_gym

    _check_config(cell)
    try:
        return reasoning_gym.create_dataset(cell.family, seed=seed, size=BLOCK, **cell.config)
    except (AssertionError, TypeError, ValueError) as error:
        raise ValueError(f"cell {cell.name}: reasoning-gym refuses config {dict(cell.config)}: {error}") from error


def _to_prompt(cell: Cell, entry: Mapping[str, Any], seed: int, index: int) -> Prompt:
    identity = f"{SOURCE}/{cell.name}/{seed}-{index}"
    try:
        facts = json.loads(json.dumps(entry["metadata"]))
    except TypeError as error:
        raise ValueError(f"{identity}: its metadata holds values that are not JSON ({error})") from error
    metadata = {"family": cell.family, "level": cell.level, "config": dict(cell.config), "entry": facts}
    return Prompt(identity, entry["question"], str(entry["answer"]), SOURCE, metadata)


def _draw_cell(cell: Cell, size: int, seed: int, split: Split, seen: set[str]) -> tuple[list[Prompt], int, int]:
    """Prompts of one cell, duplicates dropped, and entries of the other split passed over."""
    prompts: list[Prompt] = []
    duplicates = others = 0
    limit = 1_000 + 50 * size
    for tried, prompt in enumerate(stream(cell, seed, split)):
        if len(prompts) == size:
            break
        if tried == limit:
            raise ValueError(
                f"cell {cell.name}: only {len(prompts)} distinct {split} questions in {limit} entries, "
                f"{size} wanted; ask for fewer or widen its config {dict(cell.config)}"
            )
        if prompt is None:
            others += 1
        elif prompt.messages in seen:
            duplicates += 1
        else:
            seen.add(str(prompt.messages))
            prompts.append(prompt)
    for prompt in prompts[:1]:
        _check_gold(cell, prompt)
    return prompts, duplicates, others


def _check_gold(cell: Cell, prompt: Prompt) -> None:
    """Refuse a family whose scorer needs more than a gold answer and JSON metadata (7 of 106 in 0.1.25)."""
    if score(prompt, prompt.answer) < 1.0:
        raise ValueError(
            f"cell {cell.name}: {cell.family} gives its own answer to {prompt.id} a score below 1, "
            "so it cannot be scored from a text answer and JSON metadata: take another family"
        )


def cell_sizes(cells: Sequence[Cell], size: int | None) -> dict[str, int]:
    """Prompts of each cell, by its name, in a mixture of that size; raises ValueError as `draw_mixture`."""
    names = [cell.name for cell in cells]
    twice = sorted({name for name in names if names.count(name) > 1})
    if not cells or twice:
        raise ValueError(f"cell {twice[0]} is in the mixture twice" if twice else "the mixture has no cells")
    fixed = {cell.name: cell.size for cell in cells if cell.size is not None}
    if size is None and len(fixed) < len(cells):
        missing = next(name for name in names if name not in fixed)
        raise ValueError(f"cell {missing} has no size and the mixture has none: give one of them")
    if fixed and size is not None:
        raise ValueError(f"cell {next(iter(fixed))} has a size and so has the mixture: use weights, or sizes only")
    return fixed if size is None else _shares(cells, size)


def _shares(cells: Sequence[Cell], size: int) -> dict[str, int]:
    """Largest remainder: `size` split in proportion to the weights, ties by name, at least one each."""
    if size < len(cells):
        raise ValueError(f"a mixture of {len(cells)} cells needs at least as many prompts, got size {size}")
    total = sum(cell.weight for cell in cells)
    exact = {cell.name: size * cell.weight / total for cell in cells}
    shares = {name: max(1, int(value)) for name, value in exact.items()}
    order = sorted(exact, key=lambda name: (shares[name] - exact[name], name))
    for name in order[: max(0, size - sum(shares.values()))]:
        shares[name] += 1
    while sum(shares.values()) > size:
        shares[max(shares, key=lambda name: (shares[name], name))] -= 1
    return shares


def _block_seed(cell: Cell, seed: int, block: int) -> int:
    """Seed of one block. reasoning-gym seeds entry i with `seed + i`: a hash keeps near seeds apart."""
    text = json.dumps([seed, cell.family, dict(cell.config), block], sort_keys=True)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")


def _config_tag(config: Mapping[str, Any]) -> str:
    if not config:
        return "default"
    return hashlib.sha256(json.dumps(dict(config), sort_keys=True).encode()).hexdigest()[:8]


def _check_config(cell: Cell) -> None:
    """Raises ValueError for an unknown family (naming the nearest one) or config key."""
    from reasoning_gym.factory import DATASETS

    if cell.family not in DATASETS:
        near = get_close_matches(cell.family, DATASETS, n=1, cutoff=0.0)
        raise ValueError(f"unknown reasoning-gym family {cell.family!r}; the nearest one is {near[0]!r}")
    known = {spec.name for spec in dataclasses.fields(DATASETS[cell.family][1])} - {"seed", "size"}
    for key in cell.config:
        if key not in known:
            raise ValueError(f"cell {cell.name}: {cell.family} has no config key {key!r}; it has {sorted(known)}")
