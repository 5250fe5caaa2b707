"""A dry run checks what a run would check, counts what it would do, and loads no weights."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from forked import CELLS
from gdro.cli import main
from gdro.config import load_config
from gdro.core.errors import RunError
from gdro.runs.dry_run import dry_run
from gdro.runs.model_size import model_size
from gdro.tiny import base_path

SMALL = ["data.size=80", "data.heldout_size=40", "max_steps=10", "prompts_per_step=16"]


def test_the_default_recipe_is_counted() -> None:
    found = dry_run(load_config("default", SMALL), ["processes=2", "completion_fraction=0.5"])
    assert found.work.rollouts == 10 * 16 * 4
    assert found.work.generated == 640 * 12
    assert found.work.scored == 0
    assert found.work.evaluated == 2 * 40 * 8 * 12
    assert found.shape == (32, 1)
    assert found.found.mean is not None
    assert found.found.longest is not None
    assert 1 < found.found.mean < found.found.longest <= 64
    assert found.fits


def test_what_does_not_fit_is_told_with_the_setting_that_makes_it_smaller() -> None:
    found = dry_run(load_config("default", SMALL))

    def page(room: float, **settings: object) -> str:
        given = replace(found.given, device_gb=(found.memory.fixed + room) / 1e9)
        config = found.config.model_copy(update=settings)
        return str(replace(found, given=given, config=config)).replace("\n", " ")

    updating = found.memory.updating or 0
    assert "updating needs gradient_checkpointing: true, or a per_device" in page(updating - 1)
    assert "evaluation.rows" not in page(updating - 1)
    assert "gradient_ch" not in page(updating - 1, gradient_checkpointing=True)
    assert "an evaluation.rows below 512; updating" in page(1.0)
    assert "lora" in page(-1.0)


def test_two_updates_a_batch_are_half_as_many_batches() -> None:
    sets = [*SMALL, "num_iterations=2"]
    once, twice = (dry_run(load_config("default", some)) for some in (SMALL, sets))
    assert (once.work.rollouts, twice.work.rollouts) == (640, 320)
    assert twice.work.trained == once.work.trained
    assert "10 steps, 1.00 epochs" in str(twice)


@pytest.mark.parametrize(
    ("heldout", "more", "key"),
    [
        (13, [], "data.heldout_size"),
        (40, ["evaluation.prompts=15"], "evaluation.prompts"),
        (40, ["evaluation.prompts=16"], None),
        (0, [], None),
    ],
)
def test_few_held_out_prompts_are_told(heldout: int, more: list[str], key: str | None) -> None:
    sets = [*SMALL, f"data.cells={CELLS}", f"data.heldout_size={heldout}", *more]
    found = dry_run(load_config("default", sets))
    said = [note for note in found.found.notes if "held-out" in note]
    assert [note.rpartition(" ")[2] for note in said] == ([] if key is None else [key])


def test_parameters_are_those_of_the_weights() -> None:
    from safetensors import safe_open

    with safe_open(str(base_path() / "model.safetensors"), "pt") as file:
        names = [name for name in file.keys() if "lm_head" not in name]  # noqa: SIM118
        stored = sum(file.get_tensor(name).numel() for name in names)
    model, origin = model_size("tiny")
    assert origin == "config.json"
    assert (
        model.parameters == stored or model.parameters - stored == model.vocabulary * model.hidden
    )


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("no/Such-1.7B-Base", 1_700_000_000),
        ("no/such-350m", 350_000_000),
        ("no/Such3-8B", 8_000_000_000),
    ],
)
def test_a_model_that_is_not_here_is_sized_by_its_name(name: str, parameters: int) -> None:
    model, origin = model_size(name)
    assert model.parameters == parameters
    assert model.layers is None
    assert "name" in origin


def test_a_name_without_a_size() -> None:
    with pytest.raises(RunError, match="--assume parameters"):
        model_size("no/such-model")
    assert model_size("no/such-model", 0.5)[0].parameters == 500_000_000


def test_qwen3_from_its_config_alone(tmp_path: Path) -> None:
    """Published sizes of Qwen3-1.7B: 28 layers, 2048 wide, 16 heads over 8 of keys and values, tied
    embeddings."""
    sizes = {
        "model_type": "qwen3",
        "architectures": ["Qwen3ForCausalLM"],
        "hidden_size": 2048,
        "intermediate_size": 6144,
        "num_hidden_layers": 28,
        "num_attention_heads": 16,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "vocab_size": 151936,
        "tie_word_embeddings": True,
    }
    (tmp_path / "config.json").write_text(json.dumps(sizes))
    model, _ = model_size(str(tmp_path))
    attention = 2048 * 16 * 128 * 2 + 2048 * 8 * 128 * 2 + 2 * 128
    layer = attention + 3 * 2048 * 6144 + 2 * 2048
    assert model.parameters == 28 * layer + 151936 * 2048 + 2048
    assert (model.layers, model.kv_heads, model.head_dim) == (28, 8, 128)
    found = dry_run(
        load_config("default", [f"model={tmp_path}", *SMALL, "max_prompt_length=64"]),
        ["processes=1"],
    )
    assert found.found.mean is None
    assert found.memory.fixed == 16 * model.parameters
    assert found.memory.sampling == 64 * (64 + 24) * 2 * 28 * 8 * 128 * 4


def test_the_paper_s_recipe_on_a_small_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"prompt": f"What is ${i}+1$?", "solution": str(i + 1)} for i in range(300)]
    (tmp_path / "raw.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    prepared = str(tmp_path / "dapo.parquet")
    assert (
        main(
            ["prepare", "dapo-math", "--source", str(tmp_path / "raw.jsonl"), "--output", prepared]
        )
        == 0
    )
    gpus = ["--assume", "gpu=H100", "--assume", "processes=8"]
    command = ["train", "paper/qwen3_1.7b", "--dry-run", "--set", f"data.path={prepared}", *gpus]
    assert main(command) == 0
    page = capsys.readouterr().out
    assert "1,024,000" in page
    assert "ASSUMED: no tokenizer" in page
    assert "256 prompts x 4 rollouts = 1024 exactly (2 to 12 a prompt)" in page
    assert "processes x passes x rows: 8 x 32 x 4" in page
    assert main([*command, "--assume", "processes=7"]) == 2
    assert "do not divide over 7" in capsys.readouterr().err
    assert main([*command, "--set", "prompts_per_step=512"]) == 2
    assert "a batch takes 512 distinct ones (prompts_per_step 512)" in capsys.readouterr().err


def test_what_was_read_of_the_golds_is_said(tmp_path: Path) -> None:
    path = tmp_path / "tasks.jsonl"
    rows = [{"id": str(i), "prompt": f"{i}?", "answer": str(i)} for i in range(60)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    code = tmp_path / "reward.py"
    code.write_text("def reward(completions, prompts):\n    return [1.0]\n")
    files = [f"data.path={path}", "prompts_per_step=16"]
    own = ["verifier.kind=python", f"verifier.function={code}:reward"]
    for sets, read in (
        ([*files, "verifier.kind=exact"], "every gold answer was read"),
        ([*files, *own], "tried on the first prompt alone"),
        ([*SMALL, f"data.cells={CELLS}"], "of each cell one gold answer was tried"),
    ):
        assert read in str(dry_run(load_config("default", sets)))


@pytest.mark.parametrize(("own", "told"), [("{}/a", True), ("a-{}", False)])
def test_ids_that_make_a_source_of_each_prompt_are_told(
    tmp_path: Path, own: str, told: bool
) -> None:
    path = tmp_path / "tasks.jsonl"
    rows = [{"id": own.format(i), "prompt": f"{i}?", "answer": str(i)} for i in range(60)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    sets = [f"data.path={path}", "prompts_per_step=16", "verifier.kind=exact"]
    notes = dry_run(load_config("default", sets)).found.notes
    assert any("data.id_column" in note for note in notes) == told


def test_bad_golds_stop_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "tasks.jsonl"
    rows = [
        {"id": str(i), "prompt": f"{i}?", "answer": "10^{10^{10}}" if i == 3 else str(i)}
        for i in range(40)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    sets = ["data.kind=jsonl", f"data.path={path}", "prompts_per_step=16"]
    assert main(["train", "--dry-run", *(part for text in sets for part in ("--set", text))]) == 2
    assert "/3'" in capsys.readouterr().err


def test_assume_belongs_to_the_dry_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--assume", "processes=2"]) == 2
    assert "--dry-run" in capsys.readouterr().err


def test_rounds_are_said_to_spend_more_or_to_make_fewer_steps() -> None:
    rounds = [*SMALL, "controller=uniform", "generation.rounds=dynamic_sampling"]
    page = str(dry_run(load_config("default", rounds)))
    assert "16 prompts x 4 rollouts = 64 or more, not counted here (2 to 12 a prompt)" in page
    page = str(dry_run(load_config("default", [*rounds, "generation.rounds_within_budget=true"])))
    assert "16 prompts x 4 rollouts = 64 or more, fewer steps (2 to 12 a prompt)" in page


def test_it_looks_at_the_machine_it_is_on_and_says_what_is_assumed() -> None:
    found = dry_run(load_config("default", SMALL), ["completion_fraction=0.5"])
    page = str(found)
    assert found.origins["device_gb"] == found.origins["peak_tflops"] == "this machine"
    assert f"device_gb={found.given.device_gb:.4g}  (this machine)" in page
    assert "completion_fraction=0.5  (given)" in page
    assert "train_utilisation=0.35  (assumed)" in page
    if not torch.cuda.is_available():
        assert "no GPU; CPU" in page
        assert found.given.processes == 1
    other = dry_run(load_config("default", SMALL), ["device_gb=40", "gpu=A100", "processes=2"])
    assert (other.given.device_gb, other.given.peak_tflops, other.given.processes) == (40, 312, 2)
    assert "device_gb=40  (given)" in str(other)
    assert "peak_tflops=312  (A100)" in str(other)


def test_lengths_that_are_not_given_come_from_the_model() -> None:
    found = dry_run(
        load_config("default", [*SMALL, "max_prompt_length=null", "max_completion_length=null"])
    )
    assert (found.config.lengths.prompt, found.config.lengths.completion) == (128, 128)
    short = dry_run(
        load_config("default", [*SMALL, "max_prompt_length=56", "max_completion_length=null"])
    )
    assert short.config.lengths.completion == 200


def test_all_that_is_wrong_before_the_weights_is_told_at_once(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "notes").touch()
    sets = [
        "data.kind=jsonl",
        "data.path=nowhere.jsonl",
        f"model={tmp_path}",
        f"output_dir={tmp_path / 'run'}",
    ]
    for looks in (["--dry-run"], []):
        assert main(["train", *looks, *(part for text in sets for part in ("--set", text))]) == 2
        told = capsys.readouterr().err
        assert "is not empty; choose another" in told
        assert "has no config.json" in told
        assert "nowhere.jsonl: cannot be read" in told
