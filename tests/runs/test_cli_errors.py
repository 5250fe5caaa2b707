"""What can be known to be wrong is said before anything is trained: one message, exit code 2, no
traceback."""

import errno
import json
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest

from forked import CELLS
from gdro.cli import main
from gdro.config import load_config

FEW = ("data.size=64", "data.heldout_size=24")


def _refused(capsys, *arguments):
    assert main(list(arguments)) == 2
    said = capsys.readouterr().err
    assert "Traceback" not in said
    return said


def _sets(*settings):
    return [part for setting in settings for part in ("--set", setting)]


@pytest.fixture
def tasks(tmp_path):
    path = tmp_path / "tasks.jsonl"
    rows = [{"id": f"t{i}", "prompt": f"{i} + 1 =", "answer": str(i + 1)} for i in range(40)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_a_misspelt_key_names_the_nearest(capsys):
    said = _refused(capsys, "train", *_sets("learning_rat=1e-4"))
    assert "learning_rate" in said


def test_a_setting_given_as_an_option_is_told_how(capsys):
    for words in (["--max_steps", "4"], ["default", "max_steps=4"], ["--max_steps=4"]):
        assert "as --set max_steps=" in _refused(capsys, "train", *words)


def test_an_unknown_recipe_or_file_lists_the_recipes(capsys):
    assert "default" in _refused(capsys, "train", "nowhere.yaml")


def test_resume_of_no_run(capsys, tmp_path):
    assert "holds no run" in _refused(capsys, "train", "--resume", str(tmp_path))


def test_resume_takes_no_settings_but_more_steps(capsys, tmp_path):
    resume = ("train", "--resume", str(tmp_path))
    assert "only max_steps can be raised" in _refused(capsys, *resume, "--set", "seed=3")
    assert "must be a whole number >= 1" in _refused(capsys, *resume, "--set", "max_steps=many")
    assert "leave the recipe out" in _refused(capsys, "train", "default", "--resume", str(tmp_path))


def test_a_run_whose_controller_is_tuned_for_its_steps_is_not_extended(capsys, tmp_path):
    sets = ["controller={name: prompt_gdro, weigher: {adversary: exp3p}}", "max_steps=4"]
    settings = tmp_path / "config.yaml"
    settings.write_text(load_config("default", sets).to_yaml())
    before = settings.read_bytes()
    said = _refused(capsys, "train", "--resume", str(tmp_path), "--set", "max_steps=8")
    assert "'prompt_gdro' is tuned for a run of 4 steps" in said
    assert settings.read_bytes() == before


def _begun(folder, *settings):
    """The folder of a run that came to its end, as far as a resume looks at it before it loads."""
    config = load_config("default", settings)
    start = {"event": "start", "config": json.loads(config.model_dump_json())}
    end = {"event": "end", "step": config.max_steps}
    (folder / "metrics.jsonl").write_text(json.dumps(start) + "\n" + json.dumps(end) + "\n")
    (folder / "report.html").touch()
    for name in ("model", f"checkpoints/checkpoint-{config.max_steps}"):
        (folder / name).mkdir(parents=True)
    return config.to_yaml()


def test_a_run_whose_settings_were_edited_is_not_resumed_by_halves(capsys, tmp_path):
    text = _begun(tmp_path)
    for old, new in (("temperature: 1.0", "temperature: 0.5"), ("lora: null", "lora: {r: 4}")):
        assert text.count(f"\n{old}\n") == 1
        text = text.replace(f"\n{old}\n", f"\n{new}\n")
    (tmp_path / "config.yaml").write_text(text)
    said = _refused(capsys, "train", "--resume", str(tmp_path), *_sets("max_steps=9000"))
    assert f"{tmp_path / 'config.yaml'}" in said
    assert "temperature = 0.5 (1.0 then)" in said
    assert "lora = " in said
    assert "top_p" not in said
    assert (tmp_path / "config.yaml").read_text() == text


def test_settings_of_saving_telling_and_memory_may_be_edited_between_stop_and_resume(
    capsys, tmp_path
):
    _begun(tmp_path)
    more = ["save_steps=7", "report_to=tensorboard", "verifier.workers=1", "run_name=other"]
    (tmp_path / "config.yaml").write_text(load_config("default", more).to_yaml())
    assert "is finished" in _refused(capsys, "train", "--resume", str(tmp_path))


def test_report_of_no_run(capsys, tmp_path):
    assert "metrics.jsonl" in _refused(capsys, "report", str(tmp_path))


def test_a_model_that_is_not_there(capsys, tmp_path):
    assert "no tokenizer" in _refused(
        capsys, "train", *_sets(*FEW, "model=no/such-model", f"output_dir={tmp_path}/run")
    )
    assert not (tmp_path / "run").exists()


def test_a_model_folder_without_tokenizer(capsys, tmp_path):
    from gdro.tiny import base_path

    folder = tmp_path / "model"
    folder.mkdir()
    for name in ("config.json", "model.safetensors"):
        (folder / name).symlink_to(base_path() / name)
    assert "tokenizer" in _refused(
        capsys, "train", *_sets(*FEW, f"model={folder}", f"output_dir={tmp_path}/run")
    )


def test_a_folder_that_is_no_model(capsys, tmp_path):
    assert "config.json" in _refused(
        capsys, "train", *_sets(*FEW, f"model={tmp_path}", f"output_dir={tmp_path}/run")
    )


def test_prompts_and_completions_must_fit_the_context(capsys, tmp_path):
    said = _refused(
        capsys, "train", *_sets(*FEW, "max_completion_length=100000", f"output_dir={tmp_path}/run")
    )
    assert "positions" in said


def test_a_prompt_that_is_too_long_is_named(capsys, tmp_path, tasks):
    settings = _sets(
        "data.kind=jsonl", f"data.path={tasks}", "verifier.kind=exact", "max_prompt_length=1"
    )
    assert "tasks" in _refused(capsys, "train", *settings, "--set", f"output_dir={tmp_path}/run")


def test_fewer_prompts_than_a_step_takes(capsys, tmp_path, tasks):
    settings = _sets(
        "data.kind=jsonl",
        f"data.path={tasks}",
        "verifier.kind=exact",
        f"output_dir={tmp_path}/run",
        "prompts_per_step=64",
    )
    assert "prompts_per_step" in _refused(capsys, "train", *settings)


def test_an_evaluation_needs_no_batch_of_training_prompts(capsys, tmp_path, tasks):
    data = ["data.kind=jsonl", f"data.path={tasks}", "data.heldout_fraction=0.2"]
    small = ["max_completion_length=4", "evaluation.prompts=2", "evaluation.num_generations=2"]
    words = _sets(*data, *small, "prompts_per_step=64", "verifier.kind=exact")
    assert main(["evaluate", "tiny", *words]) == 0
    assert "2 held-out prompts" in capsys.readouterr().out


def test_a_full_folder_is_never_written_over(capsys, tmp_path, tasks):
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "notes.txt").touch()
    settings = [
        "data.kind=jsonl",
        f"data.path={tasks}",
        "verifier.kind=exact",
        "prompts_per_step=8",
    ]
    assert "is not empty" in _refused(
        capsys, "train", *_sets(*settings, f"output_dir={tmp_path}/old")
    )


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("raise RuntimeError('boom')", "boom"),
        ("return [float('nan')]", "nan"),
        ("return [1.0, 2.0]", "2"),
        ("return None", "None"),
    ],
)
def test_a_faulty_reward_function_is_named(capsys, tmp_path, tasks, body, expected):
    code = tmp_path / "reward.py"
    code.write_text(f"def reward(completions, prompts):\n    {body}\n")
    settings = [
        "data.kind=jsonl",
        f"data.path={tasks}",
        "verifier.kind=python",
        f"verifier.function={code}:reward",
    ]
    small = ["prompts_per_step=8", "max_steps=1", f"output_dir={tmp_path}/run"]
    said = _refused(capsys, "train", *_sets(*settings, *small))
    assert "reward" in said
    assert expected in said


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (["report_to=trackio"], "report_to: trackio is not installed here"),
        (["per_device_train_batch_size=3"], "choose a divisor of"),
        (["lora={target_modules: [q_proj, q_typo]}"], "lora.target_modules: the model has no"),
        (["lora={target_modules: [mlp]}"], "lora.target_modules = ['mlp']: "),
    ],
)
def test_what_a_trainer_would_refuse_is_told_before_there_is_a_folder(
    capsys, tmp_path, monkeypatch, settings, said
):
    monkeypatch.setattr("gdro.runs.trainer_args.find_spec", lambda name: None)
    small = ["prompts_per_step=8", "verifier.kind=exact", f"data.cells={CELLS}"]
    words = _sets(*FEW, *small, f"output_dir={tmp_path}/run", *settings)
    assert said in _refused(capsys, "train", *words)
    assert not (tmp_path / "run").exists()


def test_check_prints_the_resolved_settings(capsys):
    assert main(["train", "--check", "--set", "max_steps=7"]) == 0
    assert "steps: 7" in capsys.readouterr().out


def test_help_is_a_screen_and_help_all_explains_every_setting(capsys):
    assert main(["train", "--help"]) == 0
    said = capsys.readouterr().out
    assert len(said.splitlines()) <= 60
    assert "prompts_per_step" in said
    assert "advantage_ddof" not in said
    assert main(["train", "--help-all"]) == 0
    assert "advantage_ddof" in capsys.readouterr().out


def test_a_reader_that_has_seen_enough_is_no_error():
    """`gdro ... | head`: the other end of the pipe is closed before the command writes."""
    reading, writing = os.pipe()
    os.close(reading)
    command = [
        sys.executable,
        "-c",
        "import sys, gdro.cli; sys.exit(gdro.cli.main())",
        "compare",
        "first_mixture",
        "--check",
    ]
    try:
        done = subprocess.run(
            command, stdout=writing, stderr=subprocess.PIPE, text=True, check=False
        )
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--check", "--resume", "nosuch"], "--check looks at settings alone; leave --resume out"),
        (
            ["--dry-run", "--resume", "nosuch"],
            "--dry-run looks at settings alone; leave --resume out",
        ),
        (["--check", "--dry-run"], "leave --dry-run out"),
        (["--check", "--assume", "a=1"], "--assume belongs to --dry-run"),
        (
            ["--check", *_sets("data.cells=[{family: gcd, level: 2}]")],
            "row 1: level = 2 must be text: write it in quo",
        ),
        (
            ["--check", *_sets("data.cells=[{family: gcd, wieght: 2}]")],
            "row 1: unknown key 'wieght'",
        ),
        (
            ["--check", *_sets("data.cells=[{family: gcd, weight: x}]")],
            "row 1: weight = 'x' must be a number",
        ),
        (["--check", *_sets("data.cells=[{family: gcd, weight: -1}]")], "weight must be positive"),
    ],
)
def test_options_that_would_be_passed_over_or_found_late(capsys, words, said):
    assert said in _refused(capsys, "train", *words)


def test_places_that_cannot_be_written_to(capsys, tmp_path):
    file = tmp_path / "file"
    file.touch()
    assert "is a file; give a folder" in _refused(
        capsys, "train", *_sets(*FEW, f"output_dir={file}")
    )
    assert "look at that path" in _refused(capsys, "train", *_sets(*FEW, f"output_dir={file}/run"))
    assert "look at that path" in _refused(
        capsys, "simulate", "uniform", "--steps", "2", "--output", str(file)
    )
    assert "is a file; choose another" in _refused(
        capsys, "compare", "first_mixture", "--output", str(file)
    )


def test_a_place_for_figures_is_looked_at_before_anything_is_evaluated(capsys, tmp_path):
    for words in (["tiny"], ["tiny", "--suite", "math500", "--suite-path", str(tmp_path)]):
        for place in (tmp_path / "missing" / "x.json", tmp_path):
            said = _refused(capsys, "evaluate", *words, "--output", str(place))
            assert f"--output {place}: " in said


@pytest.mark.parametrize(
    ("words", "remedy"),
    [
        (["train"], "gdro train --resume RUN"),
        (["diffusion"], "gdro diffusion --resume RUN"),
        (["simulate"], "the same command again"),
        (["report", "RUN"], "the same command again"),
    ],
)
def test_a_full_disk_is_told_with_what_goes_on_in_that_command(capsys, monkeypatch, words, remedy):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    command = SimpleNamespace(main=full)
    monkeypatch.setattr("gdro.cli.importlib", SimpleNamespace(import_module=lambda name: command))
    monkeypatch.setattr("gdro.report.write_report", full)
    said = _refused(capsys, *words)
    assert remedy in said
    assert said.count("RUN") == remedy.count("RUN")


def test_what_is_no_plan_of_a_comparison(capsys, tmp_path):
    (tmp_path / "metrics.jsonl").touch()
    assert f"gdro report {tmp_path}" in _refused(capsys, "compare", str(tmp_path))
    empty = tmp_path / "empty.yaml"
    empty.touch()
    assert "seeds: missing" in _refused(capsys, "compare", str(empty))
    said = _refused(capsys, "compare", "first_mixture", "--check", "--seeds", "-1")
    assert "seeds = [-1] (--seeds): must be" in said
