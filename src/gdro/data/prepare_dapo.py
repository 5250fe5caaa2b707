r"""DAPO-Math-17k-Processed (a folder, a parquet or jsonl file, or the hub) -> one parquet file in
verl's schema.

The rows read have `prompt` (the problem's text) and `solution` (the final answer); other columns
are not needed. A row's id is a hash of the problem's words, so it outlives new rows, another order
and other white space.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

from gdro.core.errors import DataError
from gdro.data.chat import Shape
from gdro.data.raw import Row, read_raw
from gdro.data.rows import Columns, content_hash, to_prompt
from gdro.io import write_atomic

HUB = "open-r1/DAPO-Math-17k-Processed"
COLUMNS = Columns(prompt="prompt", answer="solution")
DATA_SOURCE = "math_dapo"
"""The name under which verl scores these rows: 1 or -1, from `\\boxed{}` or `Answer:`."""
TEMPLATE = "{prompt}\n\nReason step by step, and put the final answer within \\boxed{}."
"""Ours; the paper does not print its prompt."""
_CHINESE = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff\uff00-\uffef]")


@dataclass(frozen=True)
class PreparedRows:
    """Rows in verl's schema, and what was left out.

    Attributes:
        rows: in the order of the source.
        read: rows read.
        duplicates: rows dropped because an earlier one has the same words.
        contradictions: how many of those have another answer than the row kept.
        not_english: rows dropped because of Chinese characters in the problem.
    """

    rows: list[dict[str, Any]]
    read: int
    duplicates: int
    contradictions: int
    not_english: int

    def summary(self) -> str:
        """One line for a person."""
        return (
            f"{self.read} rows read, {len(self.rows)} kept; {self.duplicates} duplicates dropped"
            f" ({self.contradictions} with another answer), {self.not_english} not in English"
            " dropped"
        )


def prepare(rows: Iterable[Row], template: str = TEMPLATE) -> PreparedRows:
    """Clean rows: English, one of each problem.

    Args:
        rows: of `read_raw`, with the columns `prompt` and `solution`.
        template: put round each problem; holds `{prompt}` once.

    Raises:
        DataError: a row without a text or an answer, no row left, or a template without `{prompt}`.
    """
    if template.count("{prompt}") != 1:
        raise DataError(f"template {template!r}: must hold {{prompt}} exactly once")
    kept: dict[str, dict[str, Any]] = {}
    read = duplicates = contradictions = not_english = 0
    for place, row in rows:
        read += 1
        prompt = to_prompt(row, COLUMNS, Shape(), DATA_SOURCE, place)
        if not isinstance(prompt.messages, str):
            raise DataError(
                f"{place}: prompt is a chat; this is not DAPO-Math-17k-Processed, whose prompts are"
                " text"
            )
        text = prompt.messages.strip()
        if _CHINESE.search(text):
            not_english += 1
            continue
        key = content_hash(" ".join(text.split()))
        if key in kept:
            duplicates += 1
            contradictions += kept[key]["reward_model"]["ground_truth"] != prompt.answer.strip()
            continue
        kept[key] = _verl_row(key, template.replace("{prompt}", text), prompt.answer.strip())
    if not kept:
        raise DataError(f"no English problem in {read} rows; nothing is written")
    return PreparedRows(list(kept.values()), read, duplicates, contradictions, not_english)


def prepare_dapo(
    source: str = HUB, output: str | Path = "dapo-math-en.parquet", template: str = TEMPLATE
) -> PreparedRows:
    """Read, clean and write. Raises DataError: what stands in the way; an existing file is then as
    it was."""
    prepared = prepare(read_raw(source, "en", "train"), template)
    write(prepared, output)
    return prepared


def write(prepared: PreparedRows, path: str | Path) -> None:
    """Write the rows as parquet, whole or not at all; same rows, same bytes.

    Raises:
        DataError: the folder does not exist or cannot be written.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    content = BytesIO()
    pq.write_table(pa.Table.from_pylist(prepared.rows), content)
    try:
        write_atomic(path, content.getbuffer())
    except (FileNotFoundError, NotADirectoryError) as error:
        raise DataError(f"{path}: its folder does not exist; make it first") from error


def _verl_row(key: str, text: str, answer: str) -> dict[str, Any]:
    return {
        "data_source": DATA_SOURCE,
        "prompt": [{"role": "user", "content": text}],
        "ability": "math",
        "reward_model": {"style": "rule", "ground_truth": answer},
        "extra_info": {"index": key, "split": "train"},
    }
