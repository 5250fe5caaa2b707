"""A resumed run is the run that never stopped, bit for bit, wherever the checkpoint falls."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from trl_bench import Ragged, character_tokenizer, config, has_even_digit, sums, tiny_model

import gdro
from gdro.core.errors import StateError
from gdro.engines.trl import GDROTrainer

STEPS = 10
CASES = {
    "one batch a step": {},
    "two batches a step": {
        "gradient_accumulation_steps": 2,
        "per_device_train_batch_size": 8,
        "steps_per_generation": 1,
    },
    "two steps a batch": {"steps_per_generation": 2, "per_device_train_batch_size": 8},
    "two passes over two steps": {"steps_per_generation": 2, "num_iterations": 2, "per_device_train_batch_size": 8},
}


def train(folder, controller, resume=None, **changes):
    args = config(folder, **({"save_strategy": "steps", "save_steps": 1, "max_steps": STEPS} | changes))
    trainer = GDROTrainer(
        model=tiny_model(),
        reward_funcs=has_even_digit,
        args=args,
        train_dataset=sums(8),
        processing_class=character_tokenizer(),
        controller=controller,
    )
    trainer.train(resume_from_checkpoint=None if resume is None else str(resume))
    return trainer


def losses(trainer):
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


@pytest.mark.parametrize("case", CASES)
def test_bit_for_bit(case, tmp_path):
    """Stops inside and at the end of a generation batch, of an epoch, and in a later epoch."""
    whole_controller = Ragged(needs_losses=True)
    whole = train(tmp_path / "whole", whole_controller, **CASES[case])
    for stop in (1, 2, 5, 9):
        controller = Ragged(needs_losses=True)
        part = train(
            tmp_path / "part", controller, tmp_path / "whole" / f"checkpoint-{stop}", save_steps=99, **CASES[case]
        )
        assert losses(part) == losses(whole), stop
        assert controller.visits == whole_controller.visits, stop
        assert controller.log == whole_controller.log[len(whole_controller.log) - len(controller.log) :], stop
        assert part.place.tokens_total == whole.place.tokens_total
        for mine, theirs in zip(part.model.parameters(), whole.model.parameters(), strict=True):
            assert torch.equal(mine, theirs), stop
        assert torch.equal(
            part.optimizer.optimizer.state_dict()["state"][0]["exp_avg"],
            whole.optimizer.optimizer.state_dict()["state"][0]["exp_avg"],
        )


def test_joint_controller(tmp_path):
    """The default controller too, in a later epoch."""

    def joint():
        return gdro.make_controller("joint", mean_rollouts=4, seed=1)

    first, second = joint(), joint()
    whole = train(tmp_path / "whole", first)
    part = train(tmp_path / "part", second, tmp_path / "whole" / "checkpoint-7", save_steps=99)
    assert losses(part) == losses(whole)
    assert gdro.state_hash(first.state_dict()) == gdro.state_hash(second.state_dict())


def test_a_broken_checkpoint_is_refused(tmp_path):
    train(tmp_path / "run", Ragged(), max_steps=3, steps_per_generation=2, per_device_train_batch_size=8)
    options = {"max_steps": 4, "steps_per_generation": 2, "per_device_train_batch_size": 8}

    def resumed(spoil):
        copy = tmp_path / "copy"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(tmp_path / "run" / "checkpoint-3", copy)
        spoil(copy)
        with pytest.raises(StateError) as caught:
            train(tmp_path / "again", Ragged(), copy, **options)
        return str(caught.value)

    def cut(path: Path):
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

    assert "gdro_state.npz is missing" in resumed(lambda copy: (copy / "gdro_state.npz").unlink())
    assert "gdro_state.npz" in resumed(lambda copy: cut(copy / "gdro_state.npz"))
    assert "missing or damaged" in resumed(lambda copy: (copy / "gdro_buffer_rank0.safetensors").unlink())
    assert "missing or damaged" in resumed(lambda copy: cut(copy / "gdro_buffer_rank0.safetensors"))

    def other_world(copy: Path):
        state = gdro.load_state(copy / "gdro_state.npz")
        state["writer"]["processes"] = 2
        gdro.save_state(copy / "gdro_state.npz", state)

    message = resumed(other_world)
    assert "between two updates on the same rollouts" in message
    assert "GDROTrainer with controller 'ragged'" in message
    assert "go on with processes=2, or from" in message
