"""A user's reward function in gdro's style and in TRL's: what it gets, a trial call, the line at
fault."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from gdro.data.prompts import Prompt
from gdro.verify import PoolVerifier, RewardFunctionError, VerifierError, make_verifier

SOURCE = '''
    """Rewards."""
    import re

    def answered(completions, solution, **kwargs):
        """As in TRL's documentation: columns of the data set by name, messages for chats."""
        texts = [completion[0]["content"] for completion in completions]
        return [1.0 if right in text else 0.0 for text, right in zip(texts, solution)]

    def sees(completions, prompts, answer, weight, **kwargs):
        assert prompts == [[{"role": "user", "content": "1+1?"}]], prompts
        assert kwargs["id"] == ["a/1"] and kwargs["source"] == ["a"] and answer == ["2"]
        return [w * len(c[0]["content"]) for c, w in zip(completions, weight)]

    async def later(completions, **kwargs):
        return [0.5 for _ in completions]

    def ours(completions, prompts):
        return [float(completions[0] == prompts[0].answer)]

    def helper(text):
        return re.search(r"(\\d+)", text).group(1)

    def broken(completions, **kwargs):
        return [float(helper(c[0]["content"])) for c in completions]

    def wants_metrics(completions, log_metric, **kwargs):
        return [1.0 for _ in completions]

    def strange(completions):
        return [1.0]

    def hangs(completions, **kwargs):
        while True:
            pass

    def own_column(completions, answer, solution, **kwargs):
        return [float(answer == ["theirs"] and solution == ["2"])]
'''
PROMPT = Prompt("a/1", [{"role": "user", "content": "1+1?"}], "2", "a", {"weight": 0.25})


@pytest.fixture(scope="module")
def rewards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("own") / "rewards.py"
    path.write_text(textwrap.dedent(SOURCE))
    return path


def made(rewards: Path, name: str, **options: object) -> PoolVerifier:
    options = {"workers": 1, "memory_mb": 256, "answer_name": "solution", **options}
    return make_verifier("function", function=f"{rewards}:{name}", **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "score"), [("answered", 1.0), ("sees", 0.5), ("later", 0.5), ("ours", 0.0)]
)
def test_a_function_works_as_it_is(rewards: Path, name: str, score: float) -> None:
    with made(rewards, name) as verifier:
        verifier.check([PROMPT])
        assert verifier.score([PROMPT], [" 2"]) == [score]
        assert verifier.counts == {"scored": 1}


def test_a_column_called_answer_is_not_the_gold(rewards: Path) -> None:
    prompt = Prompt("a/1", [{"role": "user", "content": "?"}], "2", "a", {"answer": "theirs"})
    with made(rewards, "own_column") as verifier:
        assert verifier.score([prompt], ["2"]) == [1.0]
    assert prompt.answer == "2"


def test_a_rule_for_the_answer_hands_on_the_answer_alone(rewards: Path) -> None:
    with made(rewards, "ours", answer="last_answer_tag") as verifier:
        assert verifier.score([PROMPT, PROMPT], ["so <answer>2</answer>", "2"]) == [1.0, 0.0]


def test_the_trial_names_the_users_line(rewards: Path) -> None:
    """On a gold answer without a number: the last line of the user's own file on the way to the
    error."""
    prompt = Prompt("a/2", [{"role": "user", "content": "?"}], "east", "a")
    with made(rewards, "broken") as verifier, pytest.raises(RewardFunctionError) as caught:
        verifier.check([prompt])
    assert "AttributeError: 'NoneType' object has no attribute 'group' for prompt 'a/2'" in str(
        caught.value
    )
    assert r"(rewards.py, line 22: return re.search(r" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("wants_metrics", RewardFunctionError, "raised TypeError: .*log_metric.*for prompt 'a/1'"),
        (
            "strange",
            VerifierError,
            r"takes \(completions\); write `def strange\(completions, prompts\)`, or",
        ),
        ("hangs", RewardFunctionError, "a trial call on prompt 'a/1', .* ended as timed_out"),
    ],
)
def test_trials_that_fail(rewards: Path, name: str, error: type[Exception], message: str) -> None:
    with made(rewards, name) as verifier, pytest.raises(error, match=message):
        verifier.check([PROMPT])


def test_a_file_that_does_not_load_is_named_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "rewards.py"
    cases = (
        ("import re\nimport no_such_module\n", "line 2: import no_such_module"),
        ("def f(:\n", "line 1"),
    )
    for text, line in cases:
        path.write_text(text)
        with made(path, "f") as verifier, pytest.raises(VerifierError, match=line):
            verifier.check([PROMPT])
