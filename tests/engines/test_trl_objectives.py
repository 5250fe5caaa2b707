"""Objectives in GDROTrainer: the gradient of the whole update, exact resume, adapters, and what is
refused."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from objective_oracle import Anchored, Checked, length_score
from peft import LoraConfig
from trl_bench import Ragged, character_tokenizer, config, has_even_digit, sums, tiny_model

from forked import on_two
from gdro.core.errors import OptionError
from gdro.engines.trl import GDROTrainer, like_length
from gdro.objectives.rows import ObjectiveError
from gdro.runs.processes import leave_processes

WHOLE = {"per_device_train_batch_size": 16}
SPLIT = {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 4}
LATER = {
    "per_device_train_batch_size": 4,
    "gradient_accumulation_steps": 2,
    "steps_per_generation": 4,
}
AGAIN = {"per_device_train_batch_size": 8, "gradient_accumulation_steps": 2, "num_iterations": 2}
OPTIONS = {
    "disco": [{}, {"score": "Lratio"}, {"basic": True}, {"tau": 0.2, "delta": 1e-6, "beta": 5.0}],
    "direct_reward": [{}, {"tau": 0.5, "mode": "top1"}],
}


def logged(trainer, key):
    return [entry[key] for entry in trainer.state.log_history if key in entry]


@pytest.mark.parametrize(
    "shape", [WHOLE, SPLIT, LATER, AGAIN], ids=["whole", "split", "later", "again"]
)
@pytest.mark.parametrize(
    ("name", "options"), [(name, o) for name in OPTIONS for o in OPTIONS[name]]
)
def test_an_update_has_the_gradient_of_the_whole_batch(name, options, shape, tmp_path):
    """Ragged groups and weights; on the policy that sampled, and after it has moved."""
    trainer = Checked(
        tmp_path,
        objective=name,
        objective_options=options,
        controller=Ragged(),
        max_steps=3,
        **shape,
    )
    trainer.train()
    assert len(trainer.errors) == 3
    assert max(trainer.errors) < 1e-4
    assert max(trainer.norms) > 1e-3
    assert logged(trainer, "loss") == pytest.approx(trainer.losses, abs=1e-4)
    assert any("gdro/objective/" in key for key in trainer.state.log_history[0])


def test_two_processes_share_groups_and_the_gradient(tmp_path):
    for done in on_two(str(tmp_path), script=Path(__file__)):
        assert done.returncode == 0, done.stderr[-3000:]
    ranks = [json.loads((tmp_path / f"rank{rank}.json").read_text()) for rank in (0, 1)]
    assert ranks[0] == ranks[1]
    for name, found in ranks[0].items():
        assert max(found["errors"]) < 1e-4, name
        assert max(found["norms"]) > 1e-4, name


@pytest.mark.parametrize("loss_type", ["dapo", "grpo", "dr_grpo", "bnpo"])
def test_packing_changes_no_loss_and_no_update(loss_type, tmp_path, monkeypatch):
    monkeypatch.setitem(like_length.PASS_COST, "cpu", 0)
    changes = {"loss_type": loss_type, "shared_prefix": False, "max_steps": 3, **LATER}
    loose = trained(tmp_path, packing=False, **changes)
    dense = trained(tmp_path, **changes)
    pairs = zip(loose.model.parameters(), dense.model.parameters(), strict=True)
    assert max((mine - theirs).abs().max().item() for mine, theirs in pairs) < 1e-5
    assert logged(dense, "loss") == pytest.approx(logged(loose, "loss"), abs=1e-6)
    assert min(logged(dense, "gdro/fill_ratio")) > 0.95
    assert not logged(loose, "gdro/fill_ratio")


@pytest.mark.parametrize("term", [{"entropy_coef": 0.1}, {"top_entropy_quantile": 0.3}], ids=str)
def test_packing_deals_no_rows_where_a_term_is_over_a_micro_batch(term, tmp_path):
    changes = {"shared_prefix": False, "max_steps": 3, **LATER, **term}
    loose = trained(tmp_path, packing=False, **changes)
    dense = trained(tmp_path, **changes)
    pairs = zip(loose.model.parameters(), dense.model.parameters(), strict=True)
    assert max((mine - theirs).abs().max().item() for mine, theirs in pairs) < 1e-5
    assert logged(dense, "loss") == pytest.approx(logged(loose, "loss"), abs=1e-6)


def test_objectives_go_with_packing(tmp_path, monkeypatch):
    monkeypatch.setitem(like_length.PASS_COST, "cpu", 0)
    trainer = Checked(
        tmp_path, objective="disco", controller=Ragged(), shared_prefix=False, max_steps=3, **AGAIN
    )
    trainer.train()
    assert max(trainer.errors) < 1e-4
    assert logged(trainer, "gdro/fill_ratio")


@pytest.mark.parametrize(
    ("stats", "loss"), [("on_policy", "shaped"), ("all", "shaped"), ("on_policy", "likelihood")]
)
@pytest.mark.parametrize("shape", [WHOLE, LATER], ids=["whole", "later"])
def test_anchors_teach_where_nothing_is_right(stats, loss, shape, tmp_path):
    data = sums()
    data = data.add_column("solution", [str(i) if i % 3 else "" for i in range(len(data))])
    trainer = Anchored(
        tmp_path,
        objective="dagrpo",
        objective_options={"anchors": "solution", "anchor_stats": stats, "anchor_loss": loss},
        train_dataset=data,
        controller=Ragged(),
        max_steps=3,
        **shape,
    )
    trainer.train()
    assert max(logged(trainer, "gdro/objective/anchors")) > 0
    if stats == "on_policy":  # with `all`, the wrong rollouts are pushed away too
        assert max(trainer.errors) < 1e-4
        assert max(trainer.norms) > 1e-3
    else:
        assert max(trainer.errors) > 0.1


def trained(folder, resume=None, **changes):
    data = sums()
    data = data.add_column("solution", [str(i) for i in range(len(data))])
    trainer = GDROTrainer(
        model=tiny_model(),
        reward_funcs=[has_even_digit, length_score],
        args=config(folder, reward_weights=[1.0, 0.0], **changes),
        train_dataset=data,
        processing_class=character_tokenizer(),
        controller=Ragged(),
    )
    trainer.train(resume_from_checkpoint=resume)
    return trainer


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("dppo", {"prune": 0.7}),
        ("pps", {}),
        ("cppo", {}),
        ("dagrpo", {"anchors": "solution", "fine": "length_score"}),
        ("disco", {}),
        ("direct_reward", {}),
    ],
)
def test_a_resumed_run_is_the_run_that_never_stopped(name, options, tmp_path):
    changes = {
        "objective": name,
        "objective_options": options,
        "max_steps": 5,
        "save_strategy": "steps",
        **AGAIN,
    }
    # between two updates on the same rollouts
    whole = trained(tmp_path / "whole", save_steps=3, **changes)
    again = trained(
        tmp_path / "again", str(tmp_path / "whole" / "checkpoint-3"), save_steps=9, **changes
    )
    for mine, theirs in zip(whole.model.parameters(), again.model.parameters(), strict=True):
        assert torch.equal(mine, theirs)
    assert any(key.startswith("gdro/objective/") for key in whole.state.log_history[0])


def test_rules_answer_the_advantages_of_the_loss(tmp_path):
    plain = trained(tmp_path, objective="grpo")
    same = trained(tmp_path, objective="dppo", objective_options={"prune": 0.0})
    less = trained(
        tmp_path, objective="dppo", objective_options={"prune": 0.9, "unpruned_share": 0.0}
    )
    pairs = zip(plain.model.parameters(), same.model.parameters(), strict=True)
    assert max((mine - theirs).abs().max().item() for mine, theirs in pairs) < 1e-5
    assert max(logged(less, "gdro/objective/rollouts_pruned")) > 0.1
    assert np.mean(logged(less, "gdro/objective/rollouts_trained")) < np.mean(
        logged(same, "gdro/objective/rollouts_trained")
    )


def test_a_masked_rollout_has_no_advantage(tmp_path):
    masked = trained(
        tmp_path, objective="dagrpo", objective_options={"fine": "length_score", "d_min": 0.5}
    )
    assert max(logged(masked, "gdro/objective/rollouts_masked")) > 0.1


@pytest.mark.parametrize("shape", [WHOLE, SPLIT], ids=["whole", "split"])
def test_an_adapter_trains_and_the_rest_stays(shape, tmp_path):
    lora = LoraConfig(
        r=4, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM", lora_dropout=0.0
    )
    trainer = Checked(tmp_path, objective="disco", peft_config=lora, max_steps=2, **shape)
    trainer.train()
    assert max(trainer.errors) < 1e-4


def test_what_does_not_go_together_is_named(tmp_path):
    def build(**changes):
        return Checked(tmp_path, **({"objective": "disco"} | changes))

    with pytest.raises(OptionError, match="choose one of grpo"):
        build(objective="ppo")
    with pytest.raises(OptionError, match="no option 'clip'"):
        build(objective_options={"clip": 1})
    with pytest.raises(OptionError, match=r"beta=0\.1"):
        build(beta=0.1)
    with pytest.raises(OptionError, match="needs each prompt's surrogate loss"):
        build(controller=Ragged(needs_losses=True))
    with pytest.raises(OptionError, match="steps_per_generation=2"):
        build(per_device_train_batch_size=8, gradient_accumulation_steps=4, steps_per_generation=2)
    with pytest.raises(OptionError, match="fine='partial'"):
        build(objective="dagrpo", objective_options={"fine": "partial"})
    with pytest.raises(OptionError, match="anchors='solution'"):
        build(objective="dagrpo", objective_options={"anchors": "solution"})
    long = sums().add_column("solution", ["1", "1234567"] * 12)
    with pytest.raises(ObjectiveError, match="prompt 'sum/1' has 8 tokens"):
        build(objective="dagrpo", objective_options={"anchors": "solution"}, train_dataset=long)


@pytest.mark.parametrize("name", ["disco", "dppo"])
def test_a_broken_model_is_a_named_error_and_nothing_is_applied(name, tmp_path):
    trainer = Checked(tmp_path, objective=name, controller=Ragged(), max_steps=1, **SPLIT)
    original = trainer.update.logps

    def broken(*args, **kwargs):
        logps, entropies, rest = original(*args, **kwargs)
        return logps * torch.nan, entropies, rest

    trainer.update.logps = broken
    before = [p.clone() for p in trainer.model.parameters()]
    with pytest.raises(ObjectiveError, match="prompt 'sum/"):
        trainer.train()
    assert all(torch.equal(b, p) for b, p in zip(before, trainer.model.parameters(), strict=True))


RUNS = {
    "disco": {"objective": "disco", "num_iterations": 2},
    "direct_reward": {"objective": "direct_reward", "shared_prefix": False},
    "anchors": {"objective": "dagrpo", "objective_options": {"anchors": "solution"}},
}


def main() -> None:
    torch.set_num_threads(1)
    like_length.PASS_COST["cpu"] = 0  # several forward passes before one backward pass
    folder, results = Path(sys.argv[1]), {}
    for name, changes in RUNS.items():
        data = sums(8)
        data = data.add_column("solution", [str(i) if i % 3 else "" for i in range(len(data))])
        trainer = (Anchored if name == "anchors" else Checked)(
            folder / name,
            controller=Ragged(),
            train_dataset=data,
            per_device_train_batch_size=4,
            gradient_accumulation_steps=2,
            max_steps=3,
            ddp_backend="gloo",
            **changes,
        )
        trainer.train()
        assert trainer.accelerator.num_processes == 2
        results[name] = {"errors": trainer.errors, "norms": trainer.norms, "losses": trainer.losses}
    leave_processes()
    (folder / f"rank{os.environ['RANK']}.json").write_text(json.dumps(results))


if __name__ == "__main__":
    main()
