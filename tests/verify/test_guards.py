"""Guards: every limit at its edge, ordinary answers never refused, no text makes them raise."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ordinary import ORDINARY

from gdro.verify import causes, guards
from gdro.verify.fastpath import decide, number
from gdro.verify.magnitude import CEILING, evaluate, operand_after, operand_before

LATEX = st.text(alphabet=st.sampled_from("0123456789^!{}()[]\\,.+-*/=x $_|eE'\n"), max_size=300)
PIECES = st.lists(
    st.sampled_from(
        [
            "\\boxed{",
            "}",
            "{",
            "^",
            "^{",
            "9",
            "!",
            "\\frac{",
            "\\sum_{",
            "\\sqrt",
            "(",
            ")",
            "$",
            "=",
            "\\binom",
            " ",
            ",",
            "-",
            "\x00",
            "٣",
        ]
    ),
    max_size=120,
).map("".join)
TEXT = st.one_of(st.text(max_size=300), LATEX, PIECES)


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("9^{9^{9}}", causes.REFUSED_EXPONENT),
        ("9^9^9", causes.REFUSED_EXPONENT),
        ("9**9**9", causes.REFUSED_EXPONENT),
        ("2^2^2^2^2^2", causes.REFUSED_EXPONENT),
        ("2^{100001}", causes.REFUSED_EXPONENT),
        ("10^{-10^{9}}", causes.REFUSED_EXPONENT),
        ("2^{50!}", causes.REFUSED_EXPONENT),
        ("x^{10^{9}n}", causes.REFUSED_EXPONENT),
        ("1e999999999", causes.REFUSED_EXPONENT),
        ("2^{100000}", None),
        ("2^{2^{5}}+1", None),
        ("2^{2^{n}}", None),
        ("x^{n+1}", None),
        ("10001!", causes.REFUSED_FACTORIAL),
        ("(5!)!!", causes.REFUSED_FACTORIAL),
        (r"\left(10^8\right)!", causes.REFUSED_FACTORIAL),
        ("10000!", None),
        ("n!", None),
        (r"\binom{2024}{3}", None),
        (r"\binom{1000000}{1000}", causes.REFUSED_FACTORIAL),
        (r"\sum_{k=1}^{1001} k", causes.REFUSED_RANGE),
        (r"\sum_{k=1}^{1000} k", None),
        (r"\sum_{k=1}^{\infty} \frac{1}{k^2}", None),
        (r"\int" * 4, causes.REFUSED_RANGE),
        ("(" * 31 + ")" * 31, causes.REFUSED_NESTING),
        ("(" * 30 + ")" * 30, None),
        ("-" * 21 + "3", causes.REFUSED_NESTING),
        ("7" * 1002, causes.REFUSED_DIGITS),
        ("7" * 1000, None),
        ("x" * 2001, causes.REFUSED_LENGTH),
        ("3\x00", causes.REFUSED_CHARACTER),
        ("٣", causes.REFUSED_CHARACTER),
        ("３", causes.REFUSED_CHARACTER),
        ("\ud800", causes.REFUSED_CHARACTER),
        ("5\n\t", None),
        ("5 cm²", None),
    ],
)
def test_each_limit(text: str, cause: str | None) -> None:
    assert guards.refusal(text) == cause


def test_ordinary_answers_are_never_refused() -> None:
    assert [
        text for gold, answer, _ in ORDINARY for text in (gold, answer) if guards.refusal(text)
    ] == []


@settings(max_examples=400)
@given(TEXT)
def test_no_text_makes_a_guard_raise(text: str) -> None:
    assert guards.refusal(text) in (None, *causes.REFUSALS)
    assert abs(evaluate(text)) <= CEILING
    for position in range(0, len(text), 7):
        assert operand_after(text, position)[1] <= len(text)
        operand_before(text, position)


@settings(max_examples=400)
@given(TEXT, TEXT)
def test_no_text_makes_a_quick_decision_raise(text: str, other: str) -> None:
    number(text)
    assert decide(text, other) in (None, True, False)


@settings(max_examples=200)
@given(st.integers(0, 40), st.integers(0, 5), st.sampled_from("+-*^"))
def test_the_estimate_is_right_on_small_integers(left: int, right: int, operator: str) -> None:
    expected = eval(f"float({left}{operator.replace('^', '**')}{right})")
    assert evaluate(f"{left}{operator}{{{right}}}") == pytest.approx(expected)
