"""A resumed run is the run that never stopped, bit for bit, wherever the checkpoint falls."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from trl_bench import (
    Ragged,
    character_tokenizer,
    config,
    has_even_digit,
    sums,
    tiny_model,
    train_on_sums,
)

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
    "two passes over two steps": {
        "steps_per_generation": 2,
        "num_iterations": 2,
        "per_device_train_batch_size": 8,
    },
}


def train(folder, controller, resume=None, **changes):
    args = config(
        folder, **({"save_strategy": "steps", "save_steps": 1, "max_steps": STEPS} | changes)
    )
    return train_on_sums(args, controller, resume)


def losses(trainer):
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


@pytest.mark.parametrize("case", CASES)
def test_bit_for_bit(case, tmp_path):
    """Stops inside and at the end of a generation batch, of an epoch, and in a later epoch: an
    epoch is of 2 steps, of 4 with two steps a batch, of 8 with two passes over them."""
    whole_controller = Ragged(needs_losses=True)
    stops = (1, 2, 5, 9) if case == "two passes over two steps" else (1, 2, 5)
    steps = stops[-1] + 1
    whole = train(tmp_path / "whole", whole_controller, max_steps=steps, **CASES[case])
    for stop in stops:
        controller = Ragged(needs_losses=True)
        part = train(
            tmp_path / "part",
            controller,
            tmp_path / "whole" / f"checkpoint-{stop}",
            save_steps=99,
            max_steps=steps,
            **CASES[case],
        )
        assert losses(part) == losses(whole), stop
        assert controller.visits == whole_controller.visits, stop
        assert (
            controller.log
            == whole_controller.log[len(whole_controller.log) - len(controller.log) :]
        ), stop
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


class Passes(GDROTrainer):
    """Notes when it generates and which slice of a generation batch it trains on."""

    def _generate_and_score_completions(self, inputs):
        self.events.append((self.state.global_step, "generate"))
        return super()._generate_and_score_completions(inputs)

    def _compute_loss(self, model, inputs):
        self.events.append((self.state.global_step, self._step % self.args.steps_per_generation))
        return super()._compute_loss(model, inputs)


@pytest.mark.parametrize(("before", "after"), [(1, 4), (4, 1), (4, 2)])
def test_another_accumulation_goes_on_in_phase(before, after, tmp_path):
    """The same rollouts an update, in more or fewer passes, in the second epoch: each update
    generates first."""

    def trainer(passes, folder, **changes):
        rows = {"per_device_train_batch_size": 16 // passes, "gradient_accumulation_steps": passes}
        args = config(
            folder,
            **rows,
            **({"save_strategy": "steps", "save_steps": 1, "max_steps": 6} | changes),
        )
        given = {
            "reward_funcs": has_even_digit,
            "args": args,
            "train_dataset": sums(8),
            "controller": Ragged(),
        }
        made = Passes(model=tiny_model(), processing_class=character_tokenizer(), **given)
        made.events = []
        return made

    trainer(before, tmp_path / "whole", max_steps=3).train()
    part = trainer(after, tmp_path / "part", save_strategy="no")
    part.train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-3"))
    expected = [(step, what) for step in (3, 4, 5) for what in ("generate", *range(after))]
    assert part.events == expected
    assert part.place.rollouts_total == 6 * 16
    asked = [ids for ids, _ in part.controller.log]
    assert set(asked[1]) | set(asked[2]) == set(sums(8)["id"]), (
        "steps 5 and 6 are the third epoch, whole"
    )


def test_another_accumulation_that_would_be_out_of_phase_is_refused(tmp_path):
    """Four updates a generation batch: step 2 of one-update batches would lie amid one."""
    rows = {"per_device_train_batch_size": 16}
    train(tmp_path / "run", Ragged(), max_steps=2, **rows)
    other = {"per_device_train_batch_size": 4, "steps_per_generation": 4, "max_steps": 8}
    with pytest.raises(StateError) as caught:
        train(tmp_path / "again", Ragged(), tmp_path / "run" / "checkpoint-2", **other)
    message = str(caught.value)
    assert "written by GDROTrainer with controller 'ragged' (" in message
    assert "step 2 would lie 2 passes into a generation batch of 4" in message
    assert "a step that is a multiple of 4" in message


def test_a_larger_generation_batch_amid_one_is_refused(tmp_path):
    two = {"steps_per_generation": 2, "per_device_train_batch_size": 8, "max_steps": 3}
    train(tmp_path / "run", Ragged(), **two)
    with pytest.raises(
        StateError,
        match=r"lies between two updates .*go on with steps_per_generation=2, or from a ch",
    ):
        train(
            tmp_path / "again",
            Ragged(),
            tmp_path / "run" / "checkpoint-3",
            **(two | {"steps_per_generation": 4}),
        )


def test_another_controllers_checkpoint_names_who_wrote_it(tmp_path):
    joint = gdro.make_controller("joint", mean_rollouts=4)
    train(tmp_path / "run", joint, max_steps=1)
    with pytest.raises(
        StateError, match=r"written by GDROTrainer with controller 'joint' .*controller='sqrt_law'"
    ):
        train(
            tmp_path / "again",
            gdro.make_controller("sqrt_law", mean_rollouts=4),
            tmp_path / "run" / "checkpoint-1",
        )


def test_a_broken_checkpoint_is_refused(tmp_path):
    train(
        tmp_path / "run",
        Ragged(),
        max_steps=3,
        steps_per_generation=2,
        per_device_train_batch_size=8,
    )
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
    assert "missing or damaged" in resumed(
        lambda copy: (copy / "gdro_buffer_rank0.safetensors").unlink()
    )
    assert "missing or damaged" in resumed(lambda copy: cut(copy / "gdro_buffer_rank0.safetensors"))

    def other_world(copy: Path):
        state = gdro.load_state(copy / "gdro_state.npz")
        state["writer"]["processes"] = 2
        gdro.save_state(copy / "gdro_state.npz", state)

    message = resumed(other_world)
    assert "between two updates on the same rollouts" in message
    assert "GDROTrainer with controller 'ragged'" in message
    assert "go on with processes=2, or from" in message
