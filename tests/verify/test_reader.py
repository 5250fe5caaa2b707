"""The reader: which part of a completion is its answer, for every rule and for hostile texts."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gdro.verify import MathVerifier, ScorerSpec, Task, make_verifier
from gdro.verify.reader import (
    RULES,
    TAIL_CHARS,
    Answer,
    after_thinking,
    completion_text,
    read,
    tail,
)
from gdro.verify.scorers import load_scorer

PIECES = st.lists(
    st.sampled_from(
        [
            "\\boxed{",
            "}",
            "{",
            "\\{",
            "\\",
            "<think>",
            "</think>",
            "<answer>",
            "</answer>",
            "3",
            " ",
            "\n",
            ", ",
            "-",
            ".",
        ]
    ),
    max_size=60,
).map("".join)


@pytest.mark.parametrize(
    ("completion", "answer"),
    [
        (r"\boxed{5} then \boxed{3}", "3"),
        (r"\boxed{5}. So \boxed{3}", "3"),
        (r"$\boxed{3}$ or $\boxed{4}$", "3, 4"),
        (r"$a=\boxed{3}, b=\boxed{4}$", "3, 4"),
        (r"\boxed{3}和\boxed{4}", "3, 4"),
        (r"\boxed{4}\boxed{3}", "4, 3"),
        (r"\boxed{\boxed{3}}", "3"),
        (r"\boxed {3}", "3"),
        (r"\boxed 12$", "12"),
        (r"\fbox{3}", "3"),
        (r"\boxed{3} and then \boxed{4", "3"),
        (r"\boxed{\frac{1}{2}}", r"\frac{1}{2}"),
        (r"\boxed{\left\{ x=1 \right.}", r"\left\{ x=1 \right."),
        (r"\boxed{\{1, 2\}}", r"\{1, 2\}"),
    ],
)
def test_which_box_is_the_answer(completion: str, answer: str) -> None:
    assert read(completion) == Answer(answer, "box")
    assert read(completion, "last_box") == Answer(answer, "box")


@pytest.mark.parametrize(
    ("completion", "answer"),
    [
        ("<answer>24</answer>", Answer("24", "tag")),
        ("<answer>5 <answer> 6 </answer>", Answer("6", "tag")),
        ("<answer>5</answer> then <answer>6</answer>", Answer("6", "tag")),
        ("<ANSWER>5</ANSWER>", Answer("5", "tag")),
        ("<answer>5</answer> and <answer>6", Answer("5", "tag")),
        (r"\boxed{5} <answer>6</answer>", Answer("6", "tag")),
        (r"<answer>6</answer> \boxed{5}", Answer("5", "box")),
        (r"<answer>It is \boxed{5}.</answer>", Answer("5", "box")),
        ("<answer></answer>", Answer("", "tag")),
        ("no mark", Answer("no mark", "")),
        ("<think>5</think> <answer>6</answer>", Answer("6", "tag")),
        (r"<think>\boxed{5}</think> The answer is 6.", Answer(" The answer is 6.", "")),
        (r"\boxed{5}</think>6", Answer("6", "")),
        (r"<think>\boxed{5}", None),
        (r"<think>1</think><think>\boxed{5}", None),
        ("<think>5</think>", None),
        (r"<reasoning>\boxed{5}</reasoning> <answer>6</answer>", Answer("6", "tag")),
        ("", None),
    ],
)
def test_marks_and_thinking(completion: str, answer: Answer | None) -> None:
    assert read(completion) == answer


@pytest.mark.parametrize(
    ("rule", "completion", "answer"),
    [
        ("whole", r"a \boxed{5} ", r"a \boxed{5} "),
        ("whole", "<think>3</think> 4", " 4"),
        ("last_number", r"\boxed{5} is 12,345.5 or -6.", "-6"),
        ("last_number", "10-5", "5"),
        ("last_number", "between 1/2 and 3e-5", "3e-5"),
        ("last_number", "none", None),
        ("last_number", "<think>7", None),
        ("last_box", "<answer>5</answer>", None),
        ("last_box", "5", None),
        ("last_answer_tag", r"\boxed{5}", None),
        ("last_answer_tag", r"<answer>\boxed{5}</answer>", r"\boxed{5}"),
    ],
)
def test_rules(rule: str, completion: str, answer: str | None) -> None:
    found = read(completion, rule)
    assert (None if found is None else found.text) == answer


@pytest.mark.parametrize(("kind", "gold", "wrong"), [("math", "5", "6"), ("exact", "five", "six")])
def test_one_rule_for_every_verifier(kind: str, gold: str, wrong: str) -> None:
    """Thinking is no answer, the last closed tag or box is; a rule of one's own narrows it."""
    for text, right in (
        (f"<think>{wrong}</think><answer>{gold}</answer>", True),
        (f"<think>{gold}</think><answer>{wrong}</answer>", False),
        (f"<think>\\boxed{{{gold}}}", False),
        (f"<answer>{wrong}</answer> \\boxed{{{gold}}}", True),
    ):
        assert load_scorer(ScorerSpec(kind))(Task("p", text, gold)).score == float(right), text
    tagged = load_scorer(ScorerSpec(kind, answer="last_answer_tag"))
    assert tagged(Task("p", f"<answer>{gold}</answer> \\boxed{{{wrong}}}", gold)).score == 1.0
    assert tagged(Task("p", f"\\boxed{{{gold}}}", gold)).score == 0.0


def test_a_prompt_that_opens_the_thinking() -> None:
    """Where the prompt ends in `<think>` a completion that never closes it has no answer."""
    with MathVerifier(workers=1) as verifier:
        assert verifier([r"so \boxed{5}"], ["5"]) == [1.0]
    with make_verifier("math", workers=1) as verifier:
        from gdro.data.prompts import Prompt

        verifier.opens_thinking = True
        prompts = [Prompt(f"a/{i}", "?", "5", "a") for i in range(2)]
        assert verifier.score(prompts, [r"so \boxed{5}", r"so</think>\boxed{5}"]) == [0.0, 1.0]


def test_the_text_of_a_completion() -> None:
    """A parsed response and the text it was parsed from have one answer."""
    assert completion_text("a") == "a"
    assert completion_text([{"role": "assistant", "content": "a"}]) == "a"
    parsed = {"role": "assistant", "content": "Done.", "reasoning_content": r"so \boxed{2}"}
    assert read(completion_text([parsed])) == read("<think>so \\boxed{2}</think>Done.")
    assert (
        read(
            completion_text(
                [{"role": "assistant", "content": "", "reasoning_content": r"so \boxed{2}"}]
            )
        )
        is None
    )
    assert (
        completion_text([{"role": "assistant", "content": [{"type": "text", "text": "a"}]}]) == "a"
    )


def test_without_a_mark_the_last_whole_lines_are_the_text() -> None:
    lines = "\n".join(f"line {i}" for i in range(1000))
    assert tail(lines).startswith("line ")
    assert tail(lines).endswith("line 999")
    assert len(tail(lines)) <= TAIL_CHARS


@settings(max_examples=300)
@given(st.one_of(PIECES, st.text(max_size=200)), st.sampled_from([None, *RULES]))
def test_no_text_makes_the_reader_raise(text: str, rule: str | None) -> None:
    found = read(text, rule)
    assert found is None or len(found.text) <= max(TAIL_CHARS, len(text))
    assert after_thinking(text) in text
    assert after_thinking(f"<think>{text}") == "" or "</" in text


@pytest.mark.parametrize(
    "text",
    [
        "\\boxed{" * 100_000,
        "{" * 1_000_000,
        "\\boxed{4}, " * 100_000,
        "\\boxed{" + "{}" * 400_000,
        "<answer>" * 100_000,
        "<think></think>" * 60_000,
        "\\boxed{" + "\\" * 900_000 + "}",
        "1,234" * 200_000,
    ],
    ids=range(8),
)
def test_megabytes_cost_milliseconds(text: str) -> None:
    started = time.process_time()
    for rule in (None, *RULES):
        read(text, rule)
    assert time.process_time() - started < 5.0
