r"""The math scorer in this process: agreement with math-verify on ordinary answers, and its holes closed."""

from __future__ import annotations

import pytest
from math_verify import parse, verify
from ordinary import ORDINARY, WORDINGS, generated

from gdro.verify import GoldError, ScorerSpec, Task, causes
from gdro.verify.math import check_gold
from gdro.verify.scorers import load_scorer

score = load_scorer(ScorerSpec("math"))

DIFFERENT = {("3", "3.")}
"""Where stock math-verify calls an ordinary right answer wrong."""


def right(gold: str, completion: str) -> bool:
    return score(Task("p", completion, gold)).score == 1.0


def stock(gold: str, completion: str) -> bool:
    answer = parse(completion, parsing_timeout=None)
    return bool(verify(parse(f"${gold}$", parsing_timeout=None), answer, timeout_seconds=None))


@pytest.mark.parametrize(("gold", "answer", "expected"), ORDINARY)
def test_ordinary_answers(gold: str, answer: str, expected: bool) -> None:
    for wording in WORDINGS:
        assert right(gold, wording % answer) is expected
    if (gold, answer) not in DIFFERENT:
        assert stock(gold, WORDINGS[0] % answer) is expected


def test_agrees_with_math_verify_on_generated_pairs() -> None:
    disagreements = []
    equal = 0
    for index, (gold, answer) in enumerate(generated(400, seed=5)):
        completion = WORDINGS[index % len(WORDINGS)] % answer
        theirs = stock(gold, completion)
        equal += theirs
        if right(gold, completion) is not theirs:
            disagreements.append((gold, completion, theirs))
    assert disagreements == []
    assert 100 < equal < 350


@pytest.mark.parametrize(
    "text", ["The answer is $%s$.", "Answer: %s", "so it is %s", "the final answer is %s. I hope it is correct"]
)
@pytest.mark.parametrize(("gold", "answer"), [("3", "3"), ("3", "4"), (r"0.5", "1/2"), ("12345", "12,345")])
def test_free_text_is_read_as_math_verify_reads_it(text: str, gold: str, answer: str) -> None:
    assert right(gold, text % answer) is stock(gold, text % answer)


@pytest.mark.parametrize(
    ("gold", "answer"),
    [
        ("3", "4=3"),
        ("3", "2x=3"),
        ("3", "x=5=3"),
        ("3", "x+1=3"),
        ("3", r"4 \equiv 3"),
        ("3", r"\neq 3"),
        ("3", r"\ne 3"),
        ("3", r"4\to 3"),
        ("3", r"5 \implies 3"),
        ("3", r"4 \Rightarrow 3"),
        ("3", r"4 \mapsto 3"),
        ("3", r"4 \mid 3"),
        ("3", r"4 \therefore 3"),
        ("3", r"4 \\ 3"),
        ("3", "4 & 3"),
        ("3", "4. 3"),
        ("3", "4... 3"),
        ("3", ":=3"),
        ("3", r"4 \stackrel{?}{=} 3"),
        ("3", r"4 \in 3"),
        ("3", r"\neg 3"),
        ("3", r"\cancel{4} 3"),
        ("3", r"3 \text{ (or 4)}"),
        ("3", r"3\text{ or four}"),
        ("3", r"3\text{ is wrong}"),
        ("3", r"3\text{ (wrong)}"),
        ("3", r"3\mathrm{ is wrong}"),
        ("3", r"3\mbox{ but not 4}"),
        ("3", r"3\textit{ maybe}"),
        ("3", r"3\text{ minus one}"),
        ("3", r"3\text{ cm}, 4\text{ cm}"),
        ("3", r"3\text{ cm}+\sqrt{4}"),
        ("3", r"3\text{ ft }4\text{ in}"),
        (r"3\text{ ft }4\text{ in}", r"3\text{ ft }5\text{ in}"),
        (r"2\pi k", r"2\pi k\text{ where }m\in\mathbb{Z}"),
        ("3", r"3 \approx 5"),
        ("3", "3 ~= 5"),
        ("3", r"x \approx 3 \approx 5"),
        ("3", r"3\text{ cm} \approx 5\text{ cm}"),
        (r"\{1,2\}", "4=1,5=2"),
        ("1,2", "4=1,5=2"),
        ("1,2", "x=7=1,y=2"),
    ],
)
def test_holes_of_math_verify_are_closed(gold: str, answer: str) -> None:
    assert stock(gold, rf"\boxed{{{answer}}}"), "math-verify has closed this one itself"
    assert not right(gold, rf"\boxed{{{answer}}}")


@pytest.mark.parametrize(
    ("gold", "answer", "expected"),
    [
        ("3", "x=3", True),
        ("3", "f(x)=3", True),
        ("3", "AB=3", True),
        ("3", "2+1=3", True),
        ("5", "5=2+3=5", True),
        ("3", "x=6/2=3", True),
        ("3", "3=3", True),
        ("3", r"\frac{6}{2}", True),
        ("3", r"\left(\frac{6}{2}\right)", True),
        ("3", r"6\div 2", True),
        ("1.5", r"1\frac{1}{2}", True),
        ("3", "3:1", True),
        ("5", r"5_{10}", True),
        ("18", r"18^{\circ}", True),
        (r"\frac{22}{7}", r"\frac{22}{7} \approx 3.14", True),
        ("12345.5", "12,345.5", True),
        ("3", "3 or 4", False),
        ("4", "3 or 4", False),
        ("3", "3,4", False),
        ("3", r"\{3,4\}", False),
        ("3", "3, x=4", False),
        ("3", "1<3", False),
        ("3", "", False),
        ("3", "4;3", False),
        ("x=3", "4=3", False),
        ("x=3", "0=0", False),
        ("x=3", "y=3", False),
        ("x>3", "4>3", False),
        (r"x \neq 2", r"x \neq 2", True),
        ("x=3", "3=x", True),
    ],
)
def test_decided_cases(gold: str, answer: str, expected: bool) -> None:
    assert right(gold, rf"\boxed{{{answer}}}") is expected


@pytest.mark.parametrize(
    "completion",
    [r"\boxed{3} or \boxed{4}", r"\boxed{4} and \boxed{3}", r"\boxed{4}\boxed{3}", r"\boxed{3}. No: \boxed{4}"],
)
def test_two_boxes_are_not_two_guesses(completion: str) -> None:
    assert not right("3", completion)


def test_causes() -> None:
    assert score(Task("p", "", "3")).cause == causes.UNPARSABLE
    assert score(Task("p", "no idea", "3")).cause == causes.UNPARSABLE
    assert score(Task("p", "The answer is $9^{9^{9}}$", "3")).cause == causes.REFUSED_EXPONENT
    assert score(Task("p", r"\boxed{9^{9^{9}}}", "3")).cause == causes.REFUSED_EXPONENT
    assert score(Task("p", r"While $9^{9^{9}}$ is huge, the answer is $3$.", "3")).cause == causes.CORRECT


def test_gold_in_a_box_or_dollars() -> None:
    assert right(r"\boxed{\frac{1}{2}}", r"\boxed{0.5}")
    assert right("$3$", r"\boxed{x=3}")


@pytest.mark.parametrize("gold", ["", "  ", "9^{9^{9}}", r"\boxed{}"])
def test_bad_golds_are_named(gold: str) -> None:
    with pytest.raises(GoldError, match="gold answer"):
        check_gold(gold)


def test_ordinary_golds_are_good() -> None:
    for gold, _, _ in ORDINARY:
        check_gold(gold)
