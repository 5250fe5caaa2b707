"""The verifiers a run uses: the public face, the hostile corpus in its short form, exact,
reasoning-gym, sources."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hostile import HOSTILE

from gdro.data.prompts import Prompt
from gdro.data.reasoning_gym import Cell, load_mixture, score
from gdro.verify import (
    GoldError,
    MathVerifier,
    ScorerSpec,
    Task,
    VerifierError,
    causes,
    make_verifier,
)
from gdro.verify.scorers import load_scorer


@pytest.fixture(scope="module")
def verifier() -> Iterator[MathVerifier]:
    with MathVerifier(workers=2, deadline=1.0) as one:
        yield one


def test_the_public_face() -> None:
    with MathVerifier(workers=2, deadline=1.0) as verifier:
        scores = verifier(
            [r"\boxed{3}", r"\boxed{4=3}", r"\boxed{9^{9^{9}}}", "none"], ["3", "3", "3", "3"]
        )
        assert scores == [1.0, 0.0, 0.0, 0.0]
        assert verifier.counts == {"correct": 1, "wrong": 1, "refused_exponent": 1, "unparsable": 1}
        assert verifier([], []) == []
        with pytest.raises(ValueError, match="1 golds but 2 completions"):
            verifier(["3", "4"], ["3"])
        with pytest.raises(TypeError, match="completion of prompt '#1' is NoneType"):
            verifier(["3", None], ["3", "3"])  # type: ignore[list-item]


def test_the_corpus_is_large_and_its_names_are_unique() -> None:
    assert len(HOSTILE) >= 80
    assert len({case.name for case in HOSTILE}) == len(HOSTILE)


def test_no_hostile_completion_hangs_or_scores() -> None:
    """The short form: all at once on two workers. Each one's time and memory:
    benchmarks/verifier.py hostile."""
    with MathVerifier(workers=2, deadline=0.4) as verifier:
        outcomes = verifier.outcomes(
            [Task(case.name, case.completion, case.gold) for case in HOSTILE]
        )
        assert [
            case.name for case, outcome in zip(HOSTILE, outcomes, strict=True) if outcome.score
        ] == []
        assert verifier.pool.peak_mb < 512
        assert sum(outcome.cause.startswith("refused") for outcome in outcomes) > 60
        assert verifier([r"\boxed{3}"], ["3"]) == [1.0]


def test_ordinary_answers_among_hostile_ones_are_scored(verifier: MathVerifier) -> None:
    completions, golds, expected = [], [], []
    for index, case in enumerate(HOSTILE[::9]):
        completions += [
            case.completion,
            rf"\boxed{{\frac{{{index}}}{{7}}}}",
            rf"\boxed{{x={index}}}",
        ]
        golds += [case.gold, f"{index}/7", str(index + 1)]
        expected += [0.0, 1.0, 0.0]
    assert verifier(completions, golds) == expected


def test_golds_are_checked_before_a_run(verifier: MathVerifier) -> None:
    good = [
        Prompt(f"m/{i}", "?", gold, "m") for i, gold in enumerate(["3", r"\frac{1}{2}", "(1,2]"])
    ]
    verifier.check(good)
    before = verifier.counts
    with pytest.raises(
        GoldError, match=r"prompt 'm/9': the gold answer .* is refused .*\(1 other prompts too\)"
    ):
        verifier.check([*good, Prompt("m/9", "?", "9^{9^{9}}", "m"), Prompt("m/10", "?", "", "m")])
    assert verifier.counts == before


@pytest.mark.parametrize(
    ("completion", "gold", "score"),
    [
        ("Paris", "paris", 1.0),
        ("  The  Hague. ", "the hague", 1.0),
        (r"It is \boxed{Paris}", "Paris", 1.0),
        ("thinking <answer> 42 </answer> done", "42", 1.0),
        ("1/2", "0.5", 0.0),
        ("ＡＢ", "ab", 1.0),
        ("", "x", 0.0),
    ],
)
def test_exact(completion: str, gold: str, score: float) -> None:
    assert load_scorer(ScorerSpec("exact"))(Task("p", completion, gold)).score == score


def test_exact_through_the_pool() -> None:
    with make_verifier("exact", workers=1) as verifier:
        prompts = [
            Prompt("a", "?", "Paris", "a"),
            Prompt("b", "?", "Rome", "a"),
            Prompt("c", "?", "x", "a"),
        ]
        assert verifier.score(prompts, ["paris.", "Milan", ""]) == [1.0, 0.0, 0.0]
        assert verifier.counts == {causes.CORRECT: 1, causes.WRONG: 1, causes.UNPARSABLE: 1}
        with pytest.raises(GoldError, match="prompt 'd': the gold answer is empty"):
            verifier.check([Prompt("d", "?", " ", "a")])


def test_reasoning_gym_through_the_pool() -> None:
    prompts = load_mixture([Cell("chain_sum"), Cell("spell_backward")], 12, seed=0)
    with make_verifier("reasoning_gym", workers=1) as verifier:
        verifier.check(prompts)
        answers = [prompt.answer for prompt in prompts]
        assert verifier.score(prompts, answers) == [1.0] * 12
        wrong = verifier.score(prompts, ["no idea"] * 12)
        assert wrong == [score(prompt, "no idea") for prompt in prompts]
        assert verifier.counts[causes.CORRECT] == 12
        assert sum(verifier.counts.values()) == 24


def test_a_prompt_that_is_not_json_is_named() -> None:
    with (
        make_verifier("reasoning_gym", workers=1) as verifier,
        pytest.raises(VerifierError, match=r"'odd'.*JSON"),
    ):
        verifier.score([Prompt("odd", "?", "1", "s", {"set": {1, 2}})], ["1"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "maths"}, "unknown verifier 'maths'"),
        ({"kind": "function"}, "belongs"),
        ({"kind": "math", "function": "a:b"}, "belongs"),
    ],
)
def test_unknown_kinds(options: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_verifier(**options)  # type: ignore[arg-type]
