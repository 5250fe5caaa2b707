r"""The math scorer in this process: agreement with math-verify on ordinary answers, and its holes
closed."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import pytest
from dresses import HIDDEN, INNER, OUTER
from hypothesis import given, settings
from hypothesis import strategies as st
from math_verify import parse, verify
from ordinary import ORDINARY, WORDINGS, generated

from gdro.verify import GoldError, ScorerSpec, Task, causes
from gdro.verify.answers.dress import undress
from gdro.verify.math import check_gold
from gdro.verify.scorers import load_scorer

score = load_scorer(ScorerSpec("math"))

CASES = [
    json.loads(line)
    for line in (Path(__file__).parent / "cases.jsonl").read_text("utf-8").splitlines()
]
"""Pairs by kind; the first 70 are from the field, where they were scored wrong."""
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


@pytest.mark.parametrize("kind", sorted({case["kind"] for case in CASES}))
def test_cases(kind: str) -> None:
    cases = [case for case in CASES if case["kind"] == kind]
    wrong = [
        case for case in cases if right(case["gold"], case["completion"]) is not bool(case["right"])
    ]
    assert wrong == []


@pytest.mark.parametrize("name", INNER)
def test_no_dress_in_a_box_changes_the_verdict(name: str) -> None:
    """Every answer of the ordinary corpus, right and wrong ones."""
    dressed = [(gold, INNER[name](answer), expected) for gold, answer, expected in ORDINARY]
    assert [
        (gold, text)
        for gold, text, expected in dressed
        if text is not None and right(gold, rf"So \boxed{{{text}}}") is not expected
    ] == []


@pytest.mark.parametrize("text", OUTER)
def test_no_wording_changes_the_verdict(text: str) -> None:
    """But for `!` at the end of a sentence, which is no factorial there."""
    assert [
        (gold, answer)
        for gold, answer, expected in ORDINARY
        if right(gold, text % answer) is not expected
        and not (text == "Therefore, %s" and answer.endswith("!"))
    ] == []


@pytest.mark.parametrize("text", HIDDEN)
def test_a_value_that_is_not_the_answer_is_wrong(text: str) -> None:
    """Before the end of the thinking, denied, or one of two guesses."""
    assert [(gold, answer) for gold, answer, _ in ORDINARY if right(gold, text % answer)] == []


def test_golds_are_their_own_answers_and_no_other_golds() -> None:
    golds = sorted({case["gold"] for case in CASES})
    assert [
        gold for gold in golds if not right(gold, rf"\boxed{{{gold}}}") and "boxed" not in gold
    ] == []


NUMBERS = st.builds(
    Fraction, st.integers(-999, 999), st.sampled_from([1, 2, 3, 4, 5, 7, 8, 12, 16, 25, 100])
)
UNITS = [
    "",
    r"\text{ cm}",
    r"\,\mathrm{kg}",
    " apples",
    r"^\circ",
    r"\text{ m/s}^2",
    r"\text{ square units}",
]


def writings(value: Fraction) -> list[str]:
    """All ways in which this number may be written."""
    top, bottom, sign = abs(value.numerator), value.denominator, "-" if value < 0 else ""
    found = [f"{sign}{top}/{bottom}", rf"{sign}\frac{{{top}}}{{{bottom}}}"]
    found += [rf"\dfrac{{{sign}{top * 3}}}{{{bottom * 3}}}"]
    if bottom == 1:
        found += [
            f"{sign}{top}",
            f"{sign}{top}.0",
            f"{sign}{top * 10}e-1",
            rf"{sign}{top}\times 10^{{0}}",
        ]
        found += [rf"{sign}{top}000\times10^{{-3}}"]
    if bottom in (2, 4, 5, 8, 16, 25, 100):
        found += [str(float(value)), rf"{float(value) * 100:g}\%"]
    if top > bottom > 1 and top % bottom:
        whole, part = divmod(top, bottom)
        found += [rf"{sign}{whole}\frac{{{part}}}{{{bottom}}}", f"{sign}{whole} {part}/{bottom}"]
    return found


@settings(max_examples=60)
@given(NUMBERS, NUMBERS, st.data())
def test_a_number_is_itself_in_every_writing_and_no_other(
    value: Fraction, other: Fraction, data: st.DataObject
) -> None:
    gold = data.draw(st.sampled_from(writings(value)))
    unit = data.draw(st.sampled_from(UNITS))
    name = data.draw(st.sampled_from(sorted(INNER)))
    for text in writings(value):
        dressed = INNER[name](text) or text
        assert right(gold, rf"\boxed{{{dressed}}}"), (gold, dressed)
        assert right(gold, f"The answer is {text}."), (gold, text)
    if unit:
        assert right(gold, rf"\boxed{{{writings(value)[1]}{unit}}}"), (gold, unit)
    if other not in (value, value * 100, value / 100):  # percent
        for text in writings(other):
            assert not right(gold, rf"\boxed{{{text}}}"), (gold, text)
            assert not right(gold, f"The answer is {text}."), (gold, text)


@settings(max_examples=100)
@given(st.integers(1, 99), st.integers(-40, 40), st.integers(1, 99), st.integers(-40, 40))
def test_numbers_of_any_size_are_told_apart(
    one: int, power: int, other: int, exponent: int
) -> None:
    gold, same = rf"{one}\times 10^{{{power}}}", f"{one}e{power}"
    assert right(gold, rf"\boxed{{{same}}}")
    equal = Fraction(one) * Fraction(10) ** power == Fraction(other) * Fraction(10) ** exponent
    assert right(gold, rf"\boxed{{{other}e{exponent}}}") is equal


def test_agrees_with_math_verify_on_generated_pairs() -> None:
    disagreements = []
    equal = 0
    for index, (gold, answer) in enumerate(generated(150, seed=5)):
        completion = WORDINGS[index % len(WORDINGS)] % answer
        theirs = stock(gold, completion)
        equal += theirs
        if right(gold, completion) is not theirs:
            disagreements.append((gold, completion, theirs))
    assert disagreements == []
    assert 40 < equal < 130


@pytest.mark.parametrize(
    "text",
    [
        "The answer is $%s$.",
        "Answer: %s",
        "so it is %s",
        "the final answer is %s. I hope it is correct",
    ],
)
@pytest.mark.parametrize(
    ("gold", "answer"), [("3", "3"), ("3", "4"), (r"0.5", "1/2"), ("12345", "12,345")]
)
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
    [
        r"\boxed{3} or \boxed{4}",
        r"\boxed{4} and \boxed{3}",
        r"\boxed{4}\boxed{3}",
        r"\boxed{3}. No: \boxed{4}",
    ],
)
def test_two_boxes_are_not_two_guesses(completion: str) -> None:
    assert not right("3", completion)


def test_causes() -> None:
    assert score(Task("p", "", "3")).cause == causes.UNPARSABLE
    assert score(Task("p", "no idea", "3")).cause == causes.UNPARSABLE
    assert score(Task("p", "The answer is $9^{9^{9}}$", "3")).cause == causes.REFUSED_EXPONENT
    assert score(Task("p", r"\boxed{9^{9^{9}}}", "3")).cause == causes.REFUSED_EXPONENT
    assert (
        score(Task("p", r"While $9^{9^{9}}$ is huge, the answer is $3$.", "3")).cause
        == causes.CORRECT
    )


def test_gold_in_a_box_or_dollars() -> None:
    assert right(r"\boxed{\frac{1}{2}}", r"\boxed{0.5}")
    assert right("$3$", r"\boxed{x=3}")


@pytest.mark.parametrize("gold", ["", "  ", "9^{9^{9}}", r"\boxed{}"])
def test_bad_golds_are_named(gold: str) -> None:
    with pytest.raises(GoldError, match="gold answer"):
        check_gold(gold)


def test_ordinary_golds_are_good_and_words_are_told() -> None:
    told = {gold for gold, _, _ in ORDINARY if check_gold(gold)}
    assert told == {r"\text{east}", "yes"}
    assert check_gold(r"\int_0^1 x dx") == ""
    assert check_gold(r"\triangle ABC") != ""


_FRAGMENTS = (
    r"\frac { } 1 2 x ^ _ ( ) [ ] \{ \} , ; = < \le \text{ cm and or \pm \sqrt ! % | \cup - + * / ."
    r" : \circ "
    r"\begin{cases} \end{cases} \\ & \pmod \in \mathbb{R} e i f ' \sin \log \sum_{k=1}^{3} \binom"
    r" \infty $ 3E5 "
    r"1,234 ½ ² √ 答案 个 not is \left( \right) \overline A AB \boxed{ \approx \equiv \color{red}"
    r" ** ` \dot "
    r"\mathrm{ \over 0.\overline{3} ..."
)
FRAGMENTS = st.lists(st.sampled_from(_FRAGMENTS.split()), max_size=22)


@settings(max_examples=300)
@given(FRAGMENTS, FRAGMENTS, st.booleans())
def test_no_text_makes_reading_or_comparing_raise(
    pieces: list[str], others: list[str], blanks: bool
) -> None:
    text, other = (" " if blanks else "").join(pieces), "".join(others)
    for completion in (
        text,
        rf"\boxed{{{text}}}",
        f"<answer>{text}</answer>",
        f"The answer is {text}.",
    ):
        assert score(Task("p", completion, other or "3")).score in (0.0, 1.0)


@pytest.mark.parametrize("seed", range(3))
def test_undressing_twice_changes_nothing(seed: int) -> None:
    for case in CASES[seed::3]:
        plain = undress(case["gold"])
        assert undress(plain) == plain
