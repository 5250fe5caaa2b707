"""RobustSFTTrainer against TRL's own trainer: equal at weights of one, equal however a step is cut,
exact on resume."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from robust_sft import CASES, SOURCES, data, methods, model, settings, tokenizer, trainer, vector
from trl import SFTTrainer

import gdro
from forked import on_two
from gdro.robust import CVaR, DoReMi, GroupDRO, GroupError, LossError, RobustError, SampleIdError

HERE = Path(__file__).parent


def test_weights_of_one_are_trl_s_own_trainer(tmp_path):
    plain = SFTTrainer(
        model=model(), args=settings(tmp_path), train_dataset=data(), processing_class=tokenizer()
    )
    plain.train()
    robust = trainer(tmp_path, CVaR(1.0, groups=SOURCES))
    robust.train()
    assert torch.equal(vector(plain), vector(robust))
    losses = [
        [log["loss"] for log in run.state.log_history if "loss" in log] for run in (plain, robust)
    ]
    assert losses[0] == losses[1]
    columns = [set(run.state.log_history[0]) for run in (plain, robust)]
    assert {"entropy", "mean_token_accuracy"} <= columns[0] <= columns[1]
    assert {"robust/loss/counting", "robust/weight/letters"} <= columns[1]


@pytest.mark.parametrize("name", ["group_dro", "gc_dro"])
@pytest.mark.parametrize("weights_from", ["this_step", "last_step"])
def test_accumulation_is_one_large_batch(tmp_path, name, weights_from):
    found = []
    for size, steps in ((8, 1), (2, 4)):
        run = trainer(
            tmp_path,
            methods(name),
            weights_from,
            per_device_train_batch_size=size,
            gradient_accumulation_steps=steps,
        )
        run.train()
        found.append((vector(run), run.method))
    torch.testing.assert_close(found[0][0], found[1][0], rtol=1e-4, atol=1e-6)
    first, second = (method.metrics()["weight"] for _, method in found)
    assert first == pytest.approx(second, rel=1e-4)
    assert first["letters"] != pytest.approx(1.0, abs=1e-3)


def test_two_processes_are_one(tmp_path):
    """Two processes of 2 samples in 2 passes against one process of 8; gloo."""
    for done in on_two(str(tmp_path), script=HERE / "robust_sft.py"):
        assert done.returncode == 0, done.stderr[-3000:]
    for name, weights_from in CASES:
        alone = trainer(tmp_path, methods(name), weights_from)
        alone.train()
        together = torch.load(tmp_path / f"{name}-{weights_from}.pt")
        torch.testing.assert_close(vector(alone), together, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("saved_at", [3, 4])
def test_a_resumed_run_is_the_same_to_the_bit(tmp_path, saved_at):
    """24 samples in batches of 8: step 3 is the last of an epoch, after which GC-DRO renews its
    weights."""
    changes = {
        "save_strategy": "steps",
        "save_steps": saved_at,
        "max_steps": 8,
        "optim": "adamw_torch",
    }
    whole = trainer(tmp_path / "whole", methods("gc_dro"), **changes)
    whole.train()
    cut = trainer(tmp_path / "cut", methods("gc_dro"), **changes)
    cut.train(resume_from_checkpoint=str(tmp_path / "whole" / f"checkpoint-{saved_at}"))
    assert torch.equal(vector(whole), vector(cut))
    assert gdro.state_hash(whole.method.state_dict()) == gdro.state_hash(cut.method.state_dict())
    (tmp_path / "whole" / f"checkpoint-{saved_at}" / "robust_state.npz").unlink()
    with pytest.raises(gdro.StateError, match="robust_state"):
        cut.train(resume_from_checkpoint=str(tmp_path / "whole" / f"checkpoint-{saved_at}"))


def test_evaluation_reports_losses_by_group(tmp_path):
    run = trainer(
        tmp_path,
        methods("group_dro"),
        eval_dataset=data(10),
        per_device_eval_batch_size=4,
        max_steps=1,
    )
    found = run.evaluate()
    by_group = [found[f"eval_loss_{name}"] for name in SOURCES]
    assert found["eval_worst_loss"] == pytest.approx(max(by_group))
    assert found["eval_adjusted_loss"] == pytest.approx(0.75 * by_group[0] + 0.25 * by_group[1])
    rows = list(zip(run.eval_dataset["input_ids"], run.eval_dataset["source"], strict=True))
    tokens = [sum(len(ids) - 1 for ids, s in rows if s == g) for g in SOURCES]
    mean = sum(loss * n for loss, n in zip(by_group, tokens, strict=True)) / sum(tokens)
    assert found["eval_average_loss"] == pytest.approx(mean, rel=1e-5)


def test_groups_are_drawn_evenly_by_default_where_the_method_wants_it(tmp_path):
    run = trainer(tmp_path, methods("group_dro"), max_steps=3)
    run.train()
    shares = [
        log["robust/share/letters"]
        for log in run.state.log_history
        if "robust/share/letters" in log
    ]
    assert len(shares) == 3
    assert run.even_groups
    assert not trainer(tmp_path, methods("gc_dro")).even_groups
    batch = next(iter(run.get_train_dataloader()))
    assert torch.bincount(batch["gdro_groups"]).tolist() == [4, 4]
    weighted = trainer(tmp_path, methods("gc_dro"), even_groups={"counting": 0.25, "letters": 0.75})
    batch = next(iter(weighted.get_train_dataloader()))
    assert torch.bincount(batch["gdro_groups"]).tolist() == [2, 6]


def test_doremi_sees_the_excess_over_its_reference(tmp_path):
    same = trainer(tmp_path, DoReMi(SOURCES), reference_model=model(), max_steps=1)
    same.train()
    assert same.method.metrics()["loss"] == {"counting": 0.0, "letters": 0.0}
    later = trainer(tmp_path, DoReMi(SOURCES), reference_model=same.model, max_steps=1)
    later.train()
    assert all(value > 0 for value in later.method.metrics()["loss"].values())


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"packing": True}, RobustError, "packing"),
        ({"padding_free": True, "max_length": None}, RobustError, "padding_free"),
        ({"loss_type": "dft"}, RobustError, "nll"),
        ({"label_smoothing_factor": 0.1}, RobustError, "smoothing"),
        ({"method": DoReMi(SOURCES)}, RobustError, "reference_model"),
        ({"method": GroupDRO(["counting"])}, GroupError, "'letters'"),
        ({"method": CVaR(0.5), "weights_from": "last_step"}, LossError, "this_step"),
        ({"weights_from": "yesterday"}, RobustError, "this_step"),
    ],
)
def test_what_cannot_be_weighted_is_refused(tmp_path, changes, error, words):
    changes = dict(changes)
    method = changes.pop("method", methods("group_dro"))
    with pytest.raises(error, match=words):
        trainer(tmp_path, method, **changes)


def test_columns_that_are_missing_or_repeated_are_named():
    from gdro.robust.trainer_base import check_data

    rows = data(8)
    with pytest.raises(GroupError, match="'domain'"):
        check_data(rows, methods("group_dro"), "domain", None)
    with pytest.raises(GroupError, match="'domain'"):
        check_data(rows, CVaR(0.5), "domain", None, by_group=True)
    with pytest.raises(SampleIdError, match="id_column"):
        check_data(rows, methods("gc_dro"), "source", None)
    with pytest.raises(SampleIdError, match="twice"):
        check_data(rows, methods("gc_dro"), "source", "source")
