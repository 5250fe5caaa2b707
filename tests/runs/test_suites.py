"""The paper's test sets, from small files with the hub's columns, to figures."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fake_vllm import fake_vllm
from gdro.cli import main
from gdro.config import load_config
from gdro.core.errors import DataError, RunError
from gdro.core.passk import bootstrap
from gdro.data.chat import encode
from gdro.runs.evaluate_suites import (
    aggregate,
    bootstrap_average,
    figures,
    lighteval_command,
    score,
)
from gdro.runs.suite_sampling import Sampling, make_sampler
from gdro.runs.suites import SUITES, load_suite, suite_names
from gdro.tiny import base_path
from gdro.verify import make_verifier

__all__ = ["fake_vllm"]

CHOICES = {"Incorrect Answer 1": "5 m", "Incorrect Answer 2": "6 m", "Incorrect Answer 3": "7 m"}
ROWS: dict[str, list[dict[str, Any]]] = {
    "math500": [
        {
            "problem": "What is $1+1$?",
            "solution": "2",
            "answer": "2",
            "level": 1,
            "unique_id": "test/1",
        }
    ],
    "aime24": [
        {"id": 60, "problem": "Find $n$.", "solution": "...", "answer": "204", "year": "2024"}
    ],
    "aime25": [{"id": "0", "problem": "Find $m$.", "answer": "70"}],
    "amc": [
        {"id": 0, "problem": "How many?", "answer": 4.0, "url": "x"},
        {"id": 1, "problem": "P?", "answer": 0.5},
    ],
    "minerva": [{"question": "What mass?", "answer": "4.5e33"}],
    "olympiadbench": [
        {
            "question": "Solve.",
            "final_answer": ["2", "3"],
            "modality": "Text-only",
            "language": "English",
        },
        {
            "question": "See it.",
            "final_answer": ["1"],
            "modality": "Multimodal",
            "language": "English",
        },
    ],
    "gpqa": [{"Question": "How long?", "Correct Answer": "4 m", **CHOICES, "Subdomain": "Physics"}],
}


@pytest.fixture
def copies(tmp_path: Path) -> str:
    folder = tmp_path / "suites"
    folder.mkdir()
    for name, rows in ROWS.items():
        if name == "math500":
            (folder / "math500.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        elif name == "gpqa":
            cells = [",".join(rows[0]), ",".join(rows[0].values())]
            (folder / "gpqa.csv").write_text("\n".join(cells) + "\n")
        else:
            (folder / name).mkdir()
            pq.write_table(
                pa.Table.from_pylist(rows), folder / name / f"{SUITES[name].split}-0.parquet"
            )
    return str(folder)


def test_every_suite_reads_its_own_columns(copies: str) -> None:
    golds = {
        name: [prompt.answer for prompt in load_suite(name, copies).prompts] for name in SUITES
    }
    letter = golds.pop("gpqa")
    assert golds == {
        "math500": ["2"],
        "aime24": ["204"],
        "aime25": ["70"],
        "amc": ["4", "0.5"],
        "minerva": ["4.5e33"],
        "olympiadbench": ["2, 3"],
    }
    assert letter[0] in "ABCD"
    assert load_suite("olympiadbench", copies).left_out == 1


def test_the_letter_is_that_of_the_right_choice(copies: str) -> None:
    prompt = load_suite("gpqa", copies).prompts[0]
    assert f"\n{prompt.answer}) 4 m\n" in prompt.messages[0]["content"] + "\n"
    for text in CHOICES.values():
        assert f") {text}" in prompt.messages[0]["content"]


def test_right_choices_are_spread_over_the_letters(tmp_path: Path) -> None:
    rows = [{"Question": f"Number {i}?", "Correct Answer": "4 m", **CHOICES} for i in range(200)]
    (tmp_path / "gpqa.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    letters = [prompt.answer for prompt in load_suite("gpqa", str(tmp_path)).prompts]
    assert min(letters.count(letter) for letter in "ABCD") > 25


def test_duplicates_are_counted_and_a_limit_is_stable(tmp_path: Path) -> None:
    rows = [{"problem": f"Number {i % 20}?", "answer": i % 20} for i in range(25)]
    (tmp_path / "aime25.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    whole = load_suite("aime25", str(tmp_path))
    assert (len(whole.prompts), whole.duplicates) == (20, 5)
    few = load_suite("aime25", str(tmp_path), limit=7).prompts
    assert {prompt.id for prompt in few} < {
        prompt.id for prompt in load_suite("aime25", str(tmp_path), 9).prompts
    }


def test_a_missing_column_or_copy_is_named(tmp_path: Path) -> None:
    (tmp_path / "aime24.jsonl").write_text('{"Problem": "x", "answer": "1"}\n')
    with pytest.raises(
        DataError, match=r"aime24\.jsonl, row 1: no column 'problem'; the row has Problem, answer"
    ):
        load_suite("aime24", str(tmp_path))
    with pytest.raises(RunError, match="holds no amc/"):
        load_suite("amc", str(tmp_path))
    with pytest.raises(RunError, match="is none of math500"):
        suite_names("math500,math5000")
    assert suite_names("amc, aime24,amc") == ["amc", "aime24"]


def test_fixed_completions_are_scored(copies: str) -> None:
    """Right in another form, wrong, and out of the box, with figures worked by hand."""
    prompts = [*load_suite("amc", copies).prompts, *load_suite("olympiadbench", copies).prompts]
    texts = [
        [r"\boxed{4}", r"\boxed{\frac{8}{2}}", r"\boxed{5}", "no idea"],
        [r"\boxed{\frac12}", r"\boxed{0.5}", r"\boxed{50\%}", r"\boxed{1/2}"],
        [r"\boxed{3, 2}", r"\boxed{2}", r"\boxed{3}", ""],
    ]
    with make_verifier("math", workers=1) as verifier:
        right = list(score(verifier, prompts, texts).values())
    assert right[0] == 2
    assert right[1] >= 3
    assert right[2] == 1
    found = figures([2, 4, 0], 4)
    assert found["mean_at_k"]["value"] == 0.5
    assert found["pass_at_k"]["value"] == pytest.approx(2 / 3, abs=1e-6)


def test_the_average_counts_each_suite_once() -> None:
    found = aggregate({"a": [4, 4, 4, 4], "b": [0]}, 4)
    assert (found["suites"], found["prompts"], found["mean_at_k"]["value"]) == (2, 5, 0.5)
    assert (found["mean_at_k"]["low"], found["mean_at_k"]["high"]) == (0.5, 0.5)
    values = np.random.default_rng(0).random(200)
    one, plain = bootstrap_average([values]), bootstrap(values)
    assert (one.low, one.high) == pytest.approx((plain.low, plain.high), abs=0.01)


def test_the_command_end_to_end_on_the_tiny_model(
    copies: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "figures.json"
    arguments = [
        "evaluate",
        "tiny",
        "--suite",
        "math500,amc,gpqa",
        "--suite-path",
        copies,
        "--output",
        str(output),
    ]
    sets = ["max_completion_length=8", "dtype=float32", "verifier.workers=1"]
    chosen = [part for text in sets for part in ("--set", text)]
    assert main([*arguments, *chosen]) == 0
    printed = capsys.readouterr().out
    assert "MATH-500" in printed
    assert "math_500|0,gpqa:diamond|0" in printed
    fields = json.loads(output.read_text())
    assert fields["engine"] == "transformers"
    assert (
        fields["sampling"]["temperature"],
        fields["sampling"]["top_p"],
        fields["sampling"]["top_k"],
    ) == (
        0.6,
        0.8,
        20,
    )
    assert fields["suites"]["amc"]["prompts"] == 2
    assert sum(fields["verifier"].values()) == 4 * 8
    assert set(fields["correct"]) == {"math500", "amc", "gpqa"}
    assert main([*arguments, *chosen]) == 0
    assert json.loads(output.read_text())["correct"] == fields["correct"]
    assert main([*arguments, "--set", "max_completion_length=300"]) == 2
    assert "positions" in capsys.readouterr().err


def test_vllm_samples_the_suites_where_the_settings_say_so(fake_vllm: Any, copies: str) -> None:
    """What the engine is asked for: a seed a problem, the tokens that the other backends see."""
    config = load_config("paper/qwen3_1.7b", ["generation.backend=vllm", "dtype=float32"])
    sampler = make_sampler("tiny", config)
    how = replace(Sampling.of(config), max_tokens=100)
    problems = load_suite("amc", copies).prompts
    texts = sampler(problems, how)
    assert sampler.name == "vllm"
    assert [len(group) for group in texts] == [8] * len(problems)
    [engine] = fake_vllm.built
    wanted = {"model": str(base_path()), "dtype": "float32", "max_model_len": 7296}
    assert engine.options.items() >= wanted.items()
    [(prompts, params)] = engine.asked
    wanted = {"n": 8, "temperature": 0.6, "top_p": 0.8, "top_k": 20, "max_tokens": 100}
    assert all(one.items() >= wanted.items() for one in params)
    assert len({one["seed"] for one in params}) == len(problems)
    encoded = [encode(problem.messages, sampler.tokenizer) for problem in problems]
    assert [asked["prompt_token_ids"] for asked in prompts] == encoded
    with pytest.raises(RunError, match="positions"):
        sampler(problems, replace(how, max_tokens=7290))


def test_vllm_asked_for_and_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gdro.runs.vllm.find_spec", lambda name: None)
    with pytest.raises(RunError, match="not installed"):
        make_sampler("tiny", load_config("paper/qwen3_1.7b", ["generation.backend=vllm"]))


def test_lighteval_s_command_says_what_it_lacks() -> None:
    how = Sampling.of(load_config("paper/qwen3_1.7b"))
    said = lighteval_command("m", list(SUITES), how)
    assert (
        '"math_500|0,aime24|0,aime25|0,olympiad_bench:OE_TO_maths_en_COMP|0,gpqa:diamond|0"' in said
    )
    assert said.endswith("# no built-in task: AMC, Minerva")
    assert lighteval_command("m", ["amc"], how).startswith("none")
