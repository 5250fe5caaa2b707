"""Whatever bytes a file holds, a door gives prompts or a DataError, and nothing else. Seeds are
fixed."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from gdro.core.errors import DataError
from gdro.data.jsonl import read_jsonl
from gdro.data.parquet import read_parquet
from gdro.data.prompts import Prompt
from gdro.data.rows import Columns

CASES = int(os.environ.get("GDRO_FUZZ_CASES", "300"))
fuzz = settings(derandomize=True, max_examples=CASES, suppress_health_check=list(HealthCheck))

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)
json_rows = st.fixed_dictionaries(
    {}, optional={key: json_values for key in ("prompt", "answer", "id", "source")}
)
mutations = st.lists(
    st.tuples(st.integers(0, 10**6), st.binary(max_size=6), st.integers(0, 40)),
    min_size=1,
    max_size=4,
)


def mutate(data: bytes, changes: list[tuple[int, bytes, int]]) -> bytes:
    """`data` with, at each place, some bytes put for some others."""
    for place, new, removed in changes:
        at = place % (len(data) + 1)
        data = data[:at] + new + data[at + removed :]
    return data


def prompts_or_error(read: Callable[[Path], Iterator[tuple[int, Prompt]]], data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "f"
        path.write_bytes(data)
        message = ""
        try:
            rows = list(read(path))
        except DataError as error:
            message = str(error)
            rows = []
        assert rows or str(path) in message
        assert all(p.id and p.messages and p.answer.strip() for _, p in rows)


JSONL = b"""{"prompt": "1+1", "answer": 2, "id": "a"}
{"prompt": [{"role": "user", "content": "x"}], "answer": "y", "id": 3}
"""


@fuzz
@given(st.binary(max_size=200))
def test_jsonl_of_random_bytes(data: bytes) -> None:
    prompts_or_error(read_jsonl, data)


@fuzz
@given(mutations)
@example([(0, b"\x00", 0)])
def test_mutated_jsonl(changes: list[tuple[int, bytes, int]]) -> None:
    prompts_or_error(read_jsonl, mutate(JSONL, changes))


@fuzz
@given(st.lists(json_rows | json_values, max_size=4))
def test_jsonl_of_random_values(rows: list[Any]) -> None:
    prompts_or_error(read_jsonl, "\n".join(json.dumps(row) for row in rows).encode())


def parquet_bytes(compression: str) -> bytes:
    rows = [
        {"prompt": [{"role": "user", "content": f"q{i}"}], "answer": str(i), "uid": i}
        for i in range(20)
    ]
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(rows), sink, compression=compression)
    return bytes(sink.getvalue().to_pybytes())


PLAIN, SNAPPY = parquet_bytes("none"), parquet_bytes("snappy")


def read_uid(path: Path) -> Iterator[tuple[int, Prompt]]:
    return read_parquet(path, Columns(id="uid"))


@fuzz
@given(st.binary(max_size=200), st.booleans())
def test_parquet_of_random_bytes(data: bytes, framed: bool) -> None:
    framed_data = b"PAR1" + data + len(data).to_bytes(4, "little") + b"PAR1"
    prompts_or_error(read_uid, framed_data if framed else data)


@fuzz
@given(mutations, st.sampled_from([PLAIN, SNAPPY]))
def test_mutated_parquet(changes: list[tuple[int, bytes, int]], data: bytes) -> None:
    prompts_or_error(read_uid, mutate(data, changes))


@fuzz
@given(st.integers(0, 10**6), st.integers(1, 255), st.sampled_from([PLAIN, SNAPPY]))
def test_parquet_with_one_byte_changed(place: int, change: int, data: bytes) -> None:
    at = place % len(data)
    prompts_or_error(read_uid, data[:at] + bytes([data[at] ^ change]) + data[at + 1 :])
