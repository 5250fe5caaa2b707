"""`gdro sft`: settings and data say what is wrong with them; a run compares two methods and goes on
where it was."""

from __future__ import annotations

import json

import pytest
import torch

from gdro.cli import main
from gdro.robust import RobustError, write_domain_weights
from gdro.robust.registry import make_method, method_names
from gdro.robust.sft import _trainer
from gdro.robust.sft_config import load_settings, recipe_names
from gdro.robust.sft_data import load_sources


@pytest.fixture
def texts(tmp_path):
    path = tmp_path / "texts.jsonl"
    rows = [
        {
            "text": f"{n} + {n} = {2 * n}" if n % 3 else "over and over " * 3,
            "source": "sums" if n % 3 else "words",
            "id": f"row/{n}",
        }
        for n in range(90)
    ]
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return path


def test_a_run_compares_plain_training_with_the_method_and_is_not_run_twice(
    tmp_path, texts, capsys
):
    out = tmp_path / "out"
    words = [
        "sft",
        "tiny",
        "--set",
        f"data={texts}",
        "--set",
        f"output_dir={out}",
        "--set",
        "max_steps=4",
        "--set",
        "eval_steps=2",
        "--set",
        "per_device_train_batch_size=4",
        "--set",
        "validation=0.3",
        "--set",
        "methods=[{name: doremi, reference: erm}]",
    ]
    assert main(words) == 0
    table = (out / "table.md").read_text()
    assert "| before |" in table
    assert "| erm |" in table
    assert "| doremi |" in table
    said = capsys.readouterr().out
    assert table in said
    lines = [line for line in said.splitlines() if line.startswith("doremi, seed 0: step 4 of 4")]
    assert any("validation loss" in line and "worst" in line for line in lines)
    assert any("weights sums" in line for line in lines)
    assert "{'" not in said, "the trainer's own dictionaries are not printed"
    record = json.loads((out / "outcomes.json").read_text())
    assert record["sources"] == ["sums", "words"]
    assert any("robust/weight/sums" in entry for entry in record["runs"][1]["history"])
    weights = json.loads((out / "doremi-0" / "domain_weights.json").read_text())[
        "train_domain_weights"
    ]
    assert sum(weights.values()) == pytest.approx(1.0)
    assert (out / "figure.svg").read_text().startswith("<?xml")
    stamp = (out / "erm-0" / "outcome.json").stat().st_mtime_ns
    assert main(words) == 0
    assert (out / "erm-0" / "outcome.json").stat().st_mtime_ns == stamp
    assert main([*words, "--set", "learning_rate=0.1"]) == 2
    assert "other settings" in capsys.readouterr().err


def test_sources_are_drawn_by_the_domain_weights_of_a_file(tmp_path, texts):
    path = tmp_path / "weights.json"
    write_domain_weights(path, {"sums": 1.0, "words": 3.0})
    words = [f"data={texts}", "validation=0.3", "per_device_train_batch_size=8"]
    told = f"methods=[{{name: balanced, domain_weights: {path}}}]"
    settings = load_settings("tiny", [*words, told])
    data, method = load_sources(settings), settings.methods[0]
    trainer = _trainer(settings, data, method, 0, tmp_path)
    batch = next(iter(trainer.get_train_dataloader()))
    assert torch.bincount(batch["gdro_groups"]).tolist() == [2, 6]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere.yaml"], "neither a file nor one of the recipes"),
        (["tiny", "--set", "max_stepz=3"], "max_stepz: unknown key; did you mean max_steps?"),
        (["tiny", "--set", "max_steps=0"], "max_steps"),
        (["tiny", "--set", "max_steps"], "write key=value"),
        (["tiny", "--set", "data=nowhere.jsonl"], "no such file"),
    ],
)
def test_a_wrong_setting_is_one_line(words, message, capsys):
    assert main(["sft", *words]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_every_recipe_is_valid(capsys):
    assert recipe_names() == ["smollm2", "tiny"]
    for name in recipe_names():
        assert main(["sft", name, "--check"]) == 0
        settings = load_settings(name)
        for method in settings.methods:
            make_method(method.name, ["a", "b"], **method.options)


def test_the_split_is_by_id_alone(texts):
    settings = load_settings(None, [f"data={texts}", "validation=0.3"])
    data = load_sources(settings)
    lines = texts.read_text().splitlines()
    texts.write_text("\n".join(reversed(lines)))
    again = load_sources(settings)
    assert data.train["id"] == again.train["id"]
    assert set(data.train["id"]).isdisjoint(data.validation["id"])
    assert 0.1 < len(data.validation) / 90 < 0.5


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 91"),
        ('{"text": "x", "source": 3, "id": "y"}', "'source'"),
        ('{"text": "", "source": "a"}', "'text'"),
    ],
)
def test_a_wrong_row_is_named(texts, line, message):
    texts.write_text(texts.read_text() + "\n" + line)
    with pytest.raises(RobustError, match=message):
        load_sources(load_settings(None, [f"data={texts}"]))


def test_methods_are_made_by_name():
    for name in method_names():
        assert make_method(name, ["a", "b"]).groups == ("a", "b")
    with pytest.raises(RobustError, match="none of"):
        make_method("sgd", ["a"])
    with pytest.raises(RobustError, match="no option 'etta'"):
        make_method("group_dro", ["a"], etta=1)
    with pytest.raises(RobustError, match="no options"):
        make_method("erm", ["a"], eta=1)
