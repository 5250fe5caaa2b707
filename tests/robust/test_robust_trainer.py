"""RobustTrainer on a plain torch classifier, and its losses for token models. Two processes run
this file as a script."""

from __future__ import annotations

import copy
import sys
from pathlib import Path

import pytest
import torch
from datasets import Dataset
from torch import nn
from transformers import TrainingArguments

import gdro
from forked import on_two
from gdro.robust import (
    CVaR,
    GroupConditionalDRO,
    GroupDRO,
    LossError,
    RobustError,
    RobustTrainer,
)


class Linear(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.head = nn.Linear(3, 2)

    def forward(self, x):
        return {"logits": self.head(x)}


def rows(count=24):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(count, 3, generator=generator)
    return Dataset.from_list(
        [
            {"x": x[n].tolist(), "labels": int(x[n, 0] > 0), "group": n % 3 // 2, "id": n}
            for n in range(count)
        ]
    )


def run(folder, method, model=None, resume=None, data=None, **changes):
    options = {
        key: changes.pop(key)
        for key in ("sample_losses", "even_groups", "weights_from")
        if key in changes
    }
    plain = {
        "output_dir": str(folder),
        "per_device_train_batch_size": 12,
        "max_steps": 4,
        "learning_rate": 0.5,
        "optim": "sgd",
        "lr_scheduler_type": "constant",
        "save_strategy": "no",
        "report_to": "none",
        "use_cpu": True,
        "disable_tqdm": True,
        "max_grad_norm": 0.0,
    }
    arguments = TrainingArguments(**{**plain, **changes})
    trainer = RobustTrainer(
        model=model or Linear(),
        args=arguments,
        train_dataset=rows() if data is None else data,
        method=method,
        id_column="id",
        **options,
    )
    trainer.train(resume_from_checkpoint=resume)
    return trainer


def test_it_is_the_plain_loop(tmp_path):
    """One step by hand, with the sampler's batch."""
    method = GroupDRO(2, eta=1.0)
    trained = run(tmp_path, method, max_steps=1)
    batch = next(iter(trained.get_train_dataloader()))
    model, own = Linear(), GroupDRO(2, eta=1.0)
    losses = nn.functional.cross_entropy(
        model(batch["x"])["logits"], batch["labels"], reduction="none"
    )
    (own(losses, batch["gdro_groups"]) * losses).mean().backward()
    expected = model.head.weight - 0.5 * model.head.weight.grad
    torch.testing.assert_close(trained.model.head.weight, expected)


@pytest.mark.parametrize("weights_from", ["this_step", "last_step"])
def test_accumulation_is_one_large_batch(tmp_path, weights_from):
    whole, cut = (
        run(
            tmp_path,
            GroupDRO(2, eta=1.0),
            per_device_train_batch_size=size,
            gradient_accumulation_steps=12 // size,
            weights_from=weights_from,
        )
        for size in (12, 3)
    )
    torch.testing.assert_close(whole.model.head.weight, cut.model.head.weight)


def test_two_processes_are_one(tmp_path):
    """Two processes of 3 samples in 2 passes against one of 12, and resumed; gloo."""
    for done in on_two(str(tmp_path), script=Path(__file__)):
        assert done.returncode == 0, done.stderr[-3000:]
    alone = run(tmp_path, GroupDRO(2, eta=1.0))
    torch.testing.assert_close(alone.model.head.weight, torch.load(tmp_path / "weight.pt"))


@pytest.mark.parametrize("made", [GroupConditionalDRO, GroupDRO])
def test_a_resumed_run_is_the_same_to_the_bit(tmp_path, made):
    """Two steps an epoch; checkpoint 3 lies inside one. Group DRO draws groups evenly."""
    changes = {"save_strategy": "steps", "save_steps": 3, "max_steps": 6, "optim": "adamw_torch"}
    whole = run(tmp_path / "whole", made(2), **changes)
    saved = str(tmp_path / "whole" / "checkpoint-3")
    cut = run(tmp_path / "cut", made(2), resume=saved, **changes)
    assert torch.equal(whole.model.head.weight, cut.model.head.weight)
    assert gdro.state_hash(whole.method.state_dict()) == gdro.state_hash(cut.method.state_dict())


def test_weights_of_one_are_the_plain_trainer(tmp_path):
    from transformers import Trainer, default_data_collator

    robust = run(tmp_path, CVaR(1.0, groups=2))

    class Labelled(Linear):
        def forward(self, x, labels):
            return super().forward(x)

    class Plain(Trainer):
        def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
            return nn.functional.cross_entropy(model(**inputs)["logits"], inputs["labels"])

    plain = Plain(
        model=Labelled(),
        args=robust.args,
        train_dataset=rows(),
        data_collator=default_data_collator,
    )
    plain.train()
    torch.testing.assert_close(plain.model.head.weight, robust.model.head.weight)


def test_token_losses_are_means_over_the_labels_that_count(tmp_path):
    trainer = run(tmp_path, CVaR(1.0, groups=2), max_steps=1)
    logits, labels = torch.randn(2, 4, 5), torch.tensor([[1, 2, -100, 3], [4, -100, -100, -100]])
    each = nn.functional.cross_entropy(
        logits.flatten(0, 1), labels.flatten(), reduction="none"
    ).view(2, 4)
    expected = torch.stack([each[0].sum() / 3, each[1, 0]])
    torch.testing.assert_close(trainer._losses({"logits": logits}, labels), expected)
    assert trainer._sizes({"labels": labels}).tolist() == [3, 1]
    trainer._loss_shifts_labels = True
    shifted = nn.functional.cross_entropy(logits[0, :3], labels[0, 1:], reduction="sum") / 2
    torch.testing.assert_close(trainer._losses({"logits": logits}, labels)[0], shifted)
    assert trainer._sizes({"labels": labels}).tolist() == [2, 0]


def test_a_loss_that_is_none_names_the_sample_as_the_data_set_does(tmp_path):
    def broken(outputs, labels):
        return nn.functional.cross_entropy(outputs["logits"], labels, reduction="none") / 0.0

    named = rows().map(lambda row: {"id": f"text/{row['id']}"})
    with pytest.raises(LossError, match=r"\(id 'text/\d+'\)"):
        run(tmp_path, GroupConditionalDRO(2), data=named, sample_losses=broken)


def test_a_loss_of_one_s_own(tmp_path):
    def squared(outputs, labels):
        return (outputs["logits"][:, 0] - labels) ** 2

    run(tmp_path, GroupDRO(2), sample_losses=squared)
    with pytest.raises(RobustError, match="sample_losses"):
        run(tmp_path, GroupDRO(2), label_smoothing_factor=0.1)


def test_another_order_of_samples_is_refused_where_groups_are_drawn_evenly(tmp_path):
    with pytest.raises(RobustError, match="even_groups=False"):
        run(tmp_path, GroupDRO(2), train_sampling_strategy="sequential")


def main(folder: Path) -> None:
    changes = {"per_device_train_batch_size": 3, "gradient_accumulation_steps": 2}
    changes |= {"save_strategy": "steps", "save_steps": 3}
    for method in (GroupConditionalDRO(2), GroupDRO(2, eta=1.0)):  # of two samplers
        fresh, weights, out = copy.deepcopy(method), [], folder / method.name
        for own, resume in ((method, None), (fresh, str(out / "checkpoint-3"))):
            trained = run(out, own, resume=resume, **changes)
            weights.append(trained.accelerator.unwrap_model(trained.model).head.weight)
        assert torch.equal(*weights)
    if trained.is_world_process_zero():
        torch.save(weights[0], folder / "weight.pt")


if __name__ == "__main__":  # one of two processes
    main(Path(sys.argv[1]))
