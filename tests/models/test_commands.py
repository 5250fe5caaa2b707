"""Models through the commands: train, evaluate, compare and dry runs take them all, and refuse
alike."""

import json

import pytest
import yaml

from gdro.cli import main


@pytest.fixture
def settings(tmp_path):
    """A run of two small steps on a few sums."""
    rows = [{"id": f"t{i}", "prompt": f"{i} + 1 =", "answer": str(i + 1)} for i in range(24)]
    (tmp_path / "tasks.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    run = {
        "dtype": "float32",
        "max_steps": 2,
        "prompts_per_step": 4,
        "controller": "uniform",
        "data": {"kind": "jsonl", "path": str(tmp_path / "tasks.jsonl"), "heldout_fraction": 0.3},
        "verifier": {"kind": "exact", "workers": 1},
        "max_prompt_length": 32,
        "max_completion_length": 4,
        "evaluation": {"num_generations": 2},
    }
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(run))
    plan = {
        "name": "p",
        "recipe": "run.yaml",
        "seeds": [0],
        "methods": {"grpo": {"controller": "uniform"}},
    }
    (tmp_path / "plan.yaml").write_text(yaml.safe_dump(plan | {"baseline": "grpo"}))
    return tmp_path


def _sets(*settings):
    return [part for setting in settings for part in ("--set", setting)]


def test_a_gguf_file_is_trained_with_adapters_and_evaluated(settings, plain_file, capsys):
    run, recipe = str(settings / "run"), str(settings / "run.yaml")
    model = f"model={plain_file}"
    assert main(["train", recipe, "--dry-run", *_sets(model)]) == 0
    page = capsys.readouterr().out
    assert "from the .gguf file" in page
    assert "ASSUMED: no tokenizer" not in page
    assert main(["train", recipe, *_sets(model, "lora={r: 2}", f"output_dir={run}")]) == 0
    assert main(["evaluate", run, "--output", str(settings / "trained.json")]) == 0
    assert main(["evaluate", str(plain_file), recipe, "--output", str(settings / "base.json")]) == 0
    trained, base = (
        json.loads((settings / f"{name}.json").read_text()) for name in ("trained", "base")
    )
    assert trained["prompts"] == base["prompts"] > 0
    events = [
        json.loads(line) for line in (settings / "run" / "metrics.jsonl").read_text().splitlines()
    ]
    assert [event["step"] for event in events if event["event"] == "evaluation"] == [0, 2]


@pytest.mark.parametrize("kind", ["cut off", "text", "absent", "not fetched"])
def test_a_model_that_cannot_be_used_is_one_line_everywhere_and_nothing_is_made(
    settings, plain_file, capsys, kind
):
    file = settings / "broken.gguf"
    if kind == "cut off":
        file.write_bytes(plain_file.read_bytes()[:-4000])
    elif kind == "text":
        file.write_text("no model\n")
    name = "smollm2" if kind == "not fetched" else str(file)
    before = sorted(settings.iterdir())
    recipe, model, output = str(settings / "run.yaml"), f"model={name}", str(settings / "out")
    for command in (
        ["train", recipe, *_sets(model, f"output_dir={output}")],
        ["train", recipe, "--dry-run", *_sets(model)],
        ["evaluate", name, recipe],
        ["compare", str(settings / "plan.yaml"), "--output", output, *_sets(model)],
        ["compare", str(settings / "plan.yaml"), "--check", *_sets(model)],
    ):
        assert main(command) == 2, command
        said = capsys.readouterr().err.strip().splitlines()
        assert len(said) == 1, (command, said)
        assert said[0].startswith("gdro: ")
        assert str(name) in said[0]
    assert sorted(settings.iterdir()) == before


def test_greedy_evaluation_is_the_same_for_every_seed(settings, plain_file, capsys):
    model, recipe, figures = str(plain_file), str(settings / "run.yaml"), []
    for seed in (1, 2):
        output = settings / f"{seed}.json"
        assert (
            main(
                [
                    "evaluate",
                    model,
                    recipe,
                    "--greedy",
                    *_sets(f"seed={seed}"),
                    "--output",
                    str(output),
                ]
            )
            == 0
        )
        figures.append(json.loads(output.read_text()))
        del figures[-1]["seconds"]
    assert figures[0] == figures[1]
    assert figures[0]["k"] == 1
    assert main(["evaluate", model, recipe, *_sets("evaluation.temperature=0")]) == 2
    assert "evaluation.num_generations" in capsys.readouterr().err


def test_a_run_in_half_precision_evaluates_as_the_command_does(settings, plain_file, capsys):
    """The untrained and the trained model, within the run and from their folders: the same
    arithmetic, the same answers."""
    run, recipe = settings / "run", str(settings / "run.yaml")
    half = _sets(
        "dtype=bfloat16",
        f"model={plain_file}",
        "evaluation.num_generations=8",
        "learning_rate=0.01",
    )
    reward = settings / "reward.py"
    reward.write_text(
        "def spaces(completions, prompts):\n    return [float(' ' in c) for c in completions]\n"
    )
    own = _sets("verifier.kind=python", f"verifier.function={reward}:spaces", f"output_dir={run}")
    assert main(["train", recipe, *half, *own]) == 0
    assert (
        main(
            [
                "evaluate",
                str(plain_file),
                str(run / "config.yaml"),
                "--output",
                str(settings / "base.json"),
            ]
        )
        == 0
    )
    assert main(["evaluate", str(run), "--output", str(settings / "trained.json")]) == 0
    events = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    within = [event for event in events if event["event"] == "evaluation"]
    for name, event in zip(("base", "trained"), within, strict=True):
        outside = json.loads((settings / f"{name}.json").read_text())
        assert outside["by_source"] == event["by_source"]
    assert 0 < within[0]["mean_at_k"]["value"] < 1
    assert within[0]["mean_at_k"] != within[1]["mean_at_k"]
