from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gdro.core.errors import DataError
from gdro.data.chat import Shape
from gdro.data.rows import Columns, answer_text, content_hash, number_text, to_prompt


def make(row: dict[str, Any], columns: Columns | None = None, shape: Shape | None = None) -> Any:
    return to_prompt(row, columns or Columns(), shape or Shape(), "src", "f.jsonl, row 3")


def test_text_row() -> None:
    prompt = make({"prompt": "1+1?", "answer": "2", "other": None})
    assert (prompt.messages, prompt.answer, prompt.source, prompt.metadata) == (
        "1+1?",
        "2",
        "src",
        {},
    )
    assert prompt.id == f"src/{content_hash('1+1?')}"


def test_nested_columns_and_source() -> None:
    columns = Columns("prompt", "reward_model.ground_truth", "extra_info.index", "data_source")
    row = {
        "prompt": [{"role": "user", "content": "hi", "name": None}],
        "reward_model": {"ground_truth": "7", "style": "rule"},
        "extra_info": {"index": 12},
        "data_source": "gsm8k",
    }
    prompt = make(row, columns)
    assert (prompt.id, prompt.source, prompt.answer) == ("gsm8k/12", "gsm8k", "7")
    assert prompt.messages == [{"role": "user", "content": "hi"}]


def test_column_whose_name_has_a_dot_comes_first() -> None:
    assert make({"prompt": "p", "a.b": "x", "a": {"b": "y"}}, Columns(answer="a.b")).answer == "x"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("007", "007"),
        (" 3 ", " 3 "),
        (3, "3"),
        (-3, "-3"),
        (3.0, "3"),
        (0.1, "0.1"),
        (-0.0, "0"),
        (10**30, "1" + "0" * 30),
        (Decimal("2.50"), "2.5"),
        (Decimal("1E+3"), "1000"),
        (1e15, "1000000000000000"),
        (1.5e-7, "0.00000015"),
        (0.00001, "0.00001"),
        (2.5e-7, "0.00000025"),
    ],
)
def test_answers_become_text(value: Any, text: str) -> None:
    assert answer_text(value, "answer", "f, row 1") == text


@pytest.mark.parametrize(
    "value",
    [
        None,
        "",
        " \n",
        True,
        False,
        [],
        ["1"],
        {"a": 1},
        b"1",
        float("nan"),
        float("inf"),
        1e16,
        Decimal("NaN"),
    ],
)
def test_other_answers_are_errors(value: Any) -> None:
    with pytest.raises(DataError, match=r"^f, row 1: answer"):
        answer_text(value, "answer", "f, row 1")


@given(st.floats(allow_nan=False, allow_infinity=False, max_value=9e15, min_value=-9e15))
def test_number_text_reads_back(value: float) -> None:
    assert float(number_text(value, "answer", "f")) == value


@pytest.mark.parametrize(
    ("value", "what"),
    [
        (None, "is null"),
        ("", "is empty"),
        ("  ", "is empty"),
        ([], "empty list"),
        (5, "is a number"),
        (b"x", "bytes"),
        ({"role": "user", "content": "x"}, "an object"),
        (["x"], r"prompt\[0\] is"),
        ([{"role": "user"}], "has the keys role"),
        ([{"role": "user", "content": None}], "has the keys role"),
        ([{"role": "user", "content": "x", "tool": "y"}], "has the keys content, role, tool"),
        ([{"role": "user", "content": ""}], r"prompt\[0\].content is empty"),
        ([{"role": "user", "content": [{"type": "image"}]}], r"prompt\[0\].content is a list"),
        ("\ud800", "half a character pair"),
        ([{"role": "human", "content": "x"}], r"prompt\[0\].role is 'human'"),
        ([{"role": "user", "content": "x"}, {"role": "assistant", "content": "1"}], "'assistant'"),
        ([{"role": "system", "content": "x"}], "ends with a turn of 'system'"),
    ],
)
def test_bad_prompts_are_errors(value: Any, what: str) -> None:
    with pytest.raises(DataError, match=rf"^f.jsonl, row 3: prompt.*{what}|{what}"):
        make({"prompt": value, "answer": "1"})


def test_earlier_answers_of_a_chat_are_part_of_the_prompt() -> None:
    roles = ("developer", "user", "assistant", "tool")
    chat = [{"role": role, "content": "x"} for role in roles]
    for end in (2, 4):
        assert make({"prompt": chat[:end], "answer": "1"}).messages == chat[:end]


@pytest.mark.parametrize("value", [None, "", True, 1.5, [1]])
def test_bad_ids_are_errors(value: Any) -> None:
    with pytest.raises(DataError, match=r"row 3: uid is"):
        make({"prompt": "p", "answer": "1", "uid": value}, Columns(id="uid"))


def test_missing_column_names_those_there() -> None:
    with pytest.raises(
        DataError, match=r"no column 'answer'; the row has prompt, solution; data\.answer"
    ):
        make({"prompt": "p", "solution": "1"})


def test_shape_changes_the_prompt_and_not_the_id() -> None:
    plain = make({"prompt": "p {x}", "answer": "1"})
    shaped = make(
        {"prompt": "p {x}", "answer": "1"}, shape=Shape("Solve: {prompt} \\boxed{}", chat=True)
    )
    assert shaped.id == plain.id
    assert shaped.messages == [{"role": "user", "content": "Solve: p {x} \\boxed{}"}]


@pytest.mark.parametrize("template", ["no place", "{prompt}{prompt}"])
def test_template_needs_one_place(template: str) -> None:
    with pytest.raises(DataError, match="exactly once"):
        Shape(template)


def test_metadata_is_json_only() -> None:
    columns = Columns(metadata=("tests",))
    tests = [1, {"a": None}]
    assert make({"prompt": "p", "answer": "1", "tests": tests}, columns).metadata == {
        "tests": tests
    }
    for bad in (b"x", float("nan"), {1, 2}, ["\ud800"]):
        with pytest.raises(DataError, match="row 3: tests is not a JSON value"):
            make({"prompt": "p", "answer": "1", "tests": bad}, columns)
