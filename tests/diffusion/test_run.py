"""A whole run on a CPU: sample, score, train, stop, resume, report; and everything that can be
wrong."""

import json
import math
import multiprocessing
import os
import shutil
import signal
import time

import pytest
from safetensors.torch import load_file

from gdro import cli
from gdro.core.errors import DiffusionError
from gdro.diffusion import digits_base
from gdro.diffusion.record import read_record
from gdro.diffusion.run import resume, start
from gdro.diffusion.store import prompt_id

BRIGHTNESS = "return [float(np.asarray(image).mean()) / 255 for image in images]"


def lines(folder):
    """The record without what no two runs share."""
    kept = [
        event
        for event in read_record(folder / "metrics.jsonl")
        if event["event"] not in ("end", "resume")
    ]
    return [
        {
            key: value
            for key, value in event.items()
            if key not in ("time", "seconds", "sampled_prompts", "config")
        }
        for event in kept
    ]


def test_from_nothing_to_a_report_and_the_same_again_after_a_kill(settings, tmp_path):
    whole = start(settings(output_dir=tmp_path / "whole", ema_decay=0.5)).path
    events = read_record(whole / "metrics.jsonl")
    assert [event["step"] for event in events if event["event"] == "evaluation"] == [0, 2, 4]
    assert [event["step"] for event in events if event["event"] == "step"] == [1, 2, 3, 4]
    page = (whole / "report.html").read_text()
    assert "data:image/png;base64" in page
    assert "Reward against drift" in page
    assert any("lora_B" in name for name in load_file(whole / "pytorch_lora_weights.safetensors"))

    # A child is killed in the middle of step 4, after the checkpoint of step 2 and the record of
    # step 3.
    config = settings(output_dir=tmp_path / "killed", ema_decay=0.5)
    child = multiprocessing.get_context("fork").Process(target=killed_at_step_4, args=(config,))
    child.start()
    child.join(60)
    assert child.exitcode == -signal.SIGKILL
    killed = tmp_path / "killed"
    assert not (killed / "pytorch_lora_weights.safetensors").exists()
    assert read_record(killed / "metrics.jsonl")[-1]["step"] == 3
    # a lost file is sampled again
    (killed / "groups" / f"{prompt_id('digit 4')}.safetensors").unlink()
    resume(killed)
    assert lines(killed) == lines(whole)
    weights = "pytorch_lora_weights.safetensors"
    assert (killed / weights).read_bytes() == (whole / weights).read_bytes()
    with pytest.raises(DiffusionError, match="finished"):
        resume(killed)


def killed_at_step_4(config):
    """In the child."""
    from gdro.diffusion.training import Trainer

    step = Trainer.step

    def kill(self, number):
        if number == 4:
            os.kill(os.getpid(), signal.SIGKILL)
        return step(self, number)

    Trainer.step = kill
    start(config)


def test_a_signal_ends_the_step_with_a_checkpoint(settings, monkeypatch):
    from gdro.diffusion.training import Trainer

    step = Trainer.step

    def interrupted(self, number):
        if number == 3:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.01)
        return step(self, number)

    monkeypatch.setattr(Trainer, "step", interrupted)
    run = start(settings()).path
    assert [path.name for path in sorted((run / "checkpoints").glob("*.pt"))] == [
        "step-000002.pt",
        "step-000003.pt",
    ]
    monkeypatch.undo()
    resume(run)
    assert (run / "report.html").is_file()


@pytest.mark.parametrize(
    "options", [{"loss_type": "dpo", "group_size": 2}, {"loss_type": "dgpo"}], ids=["dpo", "dgpo"]
)
def test_the_other_losses_run_too(settings, options, tmp_path):
    shared = tmp_path / "groups"
    run = start(settings(gamma=0, max_train_steps=2, groups_dir=shared, **options)).path
    assert not (run / "groups").exists()
    assert len(list(shared.glob("*.safetensors"))) == 3


def test_passes_and_checkpointed_gradients_are_one_large_batch(settings, tmp_path):
    found = []
    for name, options in (
        ("one", {"train_batch_size": 4}),
        ("two", {"gradient_accumulation_steps": 2}),
        ("checkpointed", {"train_batch_size": 4, "gradient_checkpointing": True}),
    ):
        config = settings(
            output_dir=tmp_path / name, max_train_steps=1, groups_dir=tmp_path / "groups", **options
        )
        run = start(config).path
        (step,) = [
            event for event in read_record(run / "metrics.jsonl") if event["event"] == "step"
        ]
        assert (step["groups"], step["stating"]) == (4, 4)
        found.append((step["loss"], step["grad_norm"]))
    assert found[0] == pytest.approx(found[1], rel=1e-4)
    assert found[0] == pytest.approx(found[2], rel=1e-5)


def test_a_reward_that_says_the_same_of_everything(settings, own_reward):
    with pytest.raises(DiffusionError, match="no prompt has two images of different reward"):
        start(settings(reward=own_reward("return [0.5] * len(images)"), judge="null"))


def test_prompts_and_images_that_teach_nothing_are_left_out_and_counted(settings, own_reward):
    body = (
        "return [None if i == 0 else 0.5 if '4' in prompts[i] else float(i) for i in"
        " range(len(images))]"
    )
    run = start(settings(reward=own_reward(body), judge="null", max_train_steps=1)).path
    (groups,) = [
        event for event in read_record(run / "metrics.jsonl") if event["event"] == "groups"
    ]
    assert groups["prompts_without_two_rewards"] == 1
    assert groups["images_without_reward"] == 3


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("return [float('nan')] * len(images)", "returned nan for image 0 of prompt 'digit 1'"),
        ("return [1.0]", "returned 1 rewards for 6 images of prompt 'digit 1'"),
        ("return ['x'] * len(images)", "returned 'x' for image 0"),
        (
            "raise RuntimeError('no GPU')",
            "raised on prompt 'digit 1', images 0 to 5: RuntimeError: no GPU",
        ),
    ],
)
def test_a_reward_that_is_wrong_is_named_and_nothing_sampled_is_lost(
    settings, own_reward, body, message
):
    with pytest.raises(DiffusionError, match=message.replace("(", r"\(")):
        start(settings(reward=own_reward(body), judge="null"))


def test_scores_written_before_a_reward_raised_are_kept(settings, own_reward, tmp_path):
    calls = tmp_path / "calls"
    body = (
        f"open({str(calls)!r}, 'a').write(prompts[0] + chr(10))\n    if '7' in prompts[0] and not"
        f" __import__('pathlib').Path({str(tmp_path / 'mended')!r}).exists():\n        raise"
        f" OSError('server gone')\n    {BRIGHTNESS}"
    )
    config = settings(
        reward=own_reward(body), judge="null", max_train_steps=1, num_validation_prompts=1
    )
    with pytest.raises(DiffusionError, match="server gone"):
        start(config)
    (tmp_path / "mended").touch()
    resume(config.output_dir)
    asked = calls.read_text().split("\n")[:4]
    # the first two are not asked about again
    assert asked == ["digit 1", "digit 4", "digit 7", "digit 7"]


def test_another_base_or_reward_on_resume_is_refused(settings, base, tmp_path, own_reward):
    mine = tmp_path / "base"
    shutil.copytree(base, mine)
    reward = own_reward(BRIGHTNESS)
    config = settings(pretrained_model_name_or_path=mine, reward=reward, max_train_steps=1)
    run = start(config).path
    record = run / "metrics.jsonl"
    record.write_text(
        "".join(line + "\n" for line in record.read_text().splitlines() if '"end"' not in line)
    )
    source = tmp_path / "reward_0.py"
    text = source.read_text()
    source.write_text(text + "\n# changed\n")
    with pytest.raises(DiffusionError, match="the reward is another one"):
        resume(run)
    source.write_text(text)
    weights = mine / "transformer" / "diffusion_pytorch_model.safetensors"
    state = load_file(weights)
    from safetensors.torch import save_file

    save_file({name: part * 1.01 for name, part in state.items()}, weights)
    with pytest.raises(DiffusionError, match="the base is another one"):
        resume(run)


def test_a_damaged_group_file_is_named(settings):
    config = settings(max_train_steps=1)
    run = start(config).path
    record = run / "metrics.jsonl"
    record.write_text(
        "".join(line + "\n" for line in record.read_text().splitlines() if '"end"' not in line)
    )
    path = run / "groups" / f"{prompt_id('digit 1')}.safetensors"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(DiffusionError, match=f"{path.name}: damaged"):
        resume(run)


def test_groups_of_other_settings_are_not_taken(settings, tmp_path):
    start(settings(max_train_steps=1, groups_dir=tmp_path / "groups"))
    with pytest.raises(DiffusionError, match="num_inference_steps 2, this run has 3"):
        start(
            settings(
                output_dir=tmp_path / "other", groups_dir=tmp_path / "groups", num_inference_steps=3
            )
        )


def test_a_damaged_checkpoint_gives_way_to_the_one_before(settings, capsys):
    run = start(settings()).path
    weights = (run / "pytorch_lora_weights.safetensors").read_bytes()
    record = run / "metrics.jsonl"
    record.write_text(
        "".join(line + "\n" for line in record.read_text().splitlines() if '"end"' not in line)
    )
    newest = run / "checkpoints" / "step-000004.pt"
    newest.write_bytes(newest.read_bytes()[:-10] + b"0" * 10)
    resume(run)
    assert "damaged; trying the one before it" in capsys.readouterr().err
    assert (run / "pytorch_lora_weights.safetensors").read_bytes() == weights


def test_a_run_that_blows_up_stops_and_keeps_its_checkpoint(settings, monkeypatch):
    from gdro.diffusion.adapters import Adapters

    update = Adapters.update

    def blown(self):
        if self.schedule.last_epoch == 3:
            self.parameters[0].grad.fill_(math.inf)
        return update(self)

    monkeypatch.setattr(Adapters, "update", blown)
    config = settings()
    with pytest.raises(DiffusionError, match="the gradient is inf"):
        start(config)
    monkeypatch.undo()
    resume(config.output_dir)  # from the checkpoint of step 2


def test_the_command_line(settings, base, tmp_path, capsys):
    words = (
        f"--pretrained_model_name_or_path={base} --output_dir {tmp_path / 'run'}"
        " --max_train_steps 1".split()
    )
    words += [
        "--set",
        "num_images_per_prompt=6",
        "--num_inference_steps=2",
        "--num_validation_images=2",
    ]
    assert cli.main(["diffusion", "digits", *words]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "run")
    assert cli.main(["diffusion", "digits", *words]) == 2
    assert "is not empty" in capsys.readouterr().err
    assert cli.main(["diffusion", "--report", str(tmp_path / "run")]) == 0
    assert cli.main(["diffusion", "digits", "--dry-run", *words]) == 0
    page = capsys.readouterr().out
    assert "433,680 parameters" in page
    assert "= 0.391 on their sum" in page


def test_trackers_get_the_numbers(settings, tmp_path, monkeypatch):
    from gdro.diffusion import trackers

    run = start(settings(report_to="tensorboard", max_train_steps=1)).path
    assert list((run / "tensorboard").rglob("events.out.tfevents.*"))
    monkeypatch.setitem(trackers.AVAILABLE, "wandb", lambda: False)
    with pytest.raises(DiffusionError, match="wandb is not installed"):
        start(settings(report_to="wandb", output_dir=tmp_path / "other"))
    assert not (tmp_path / "other").exists()


def test_a_base_is_whole_or_not_there(tmp_path, monkeypatch):
    monkeypatch.setattr(digits_base, "real_digits", lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        digits_base.ensure_base(tmp_path / "base", print)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "thesis.txt").touch()
    with pytest.raises(DiffusionError, match="not empty"):
        digits_base.ensure_base(tmp_path / "base", print)


def test_the_record_is_strict_json(settings):
    run = start(settings(judge="null", max_train_steps=1)).path
    events = [
        json.loads(line, parse_constant=lambda text: 1 / 0)
        for line in (run / "metrics.jsonl").open()
    ]
    assert next(event for event in events if event["event"] == "evaluation")["judge"] is None
