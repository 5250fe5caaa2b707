"""One training run of the study: a method, a setting, a task and a seed in; accuracies by group
out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from gdro.robust import (
    Balanced,
    CVaR,
    DoReMi,
    EvenGroupSampler,
    GroupConditionalDRO,
    GroupDRO,
    QDiversity,
    RobustMethod,
    VarianceDRO,
    excess_losses,
    group_mixup,
)
from robust_tasks import Part, Task, make_task

LABELS, TRUE = ("0", "1"), ("0/0", "0/1", "1/0", "1/1")
STEPS, EPOCHS, RATE = 10, 30, 2e-3
"""Steps an epoch (a batch is a tenth of the training set), epochs, learning rate of AdamW."""

Options = Mapping[str, Any]


@dataclass(frozen=True)
class Method:
    """A row of the table.

    Attributes:
        make: (names of the groups it is told, their sizes in training, options) -> the method;
            None: plain training.
        told: which groups it is told: "none", "given" (the case's partition) or "label".
    """

    make: Callable[[tuple[str, ...], list[int], Options], RobustMethod] | None
    told: str


METHODS: dict[str, Method] = {
    "erm": Method(None, "none"),
    "balanced": Method(lambda names, counts, o: Balanced(names, counts=counts), "given"),
    "group_dro": Method(lambda names, counts, o: GroupDRO(names, counts=counts, **o), "given"),
    "gc_dro": Method(
        lambda names, counts, o: GroupConditionalDRO(names, counts=counts, **o), "given"
    ),
    "doremi": Method(lambda names, counts, o: DoReMi(names, **o), "given"),
    "cvar": Method(lambda names, counts, o: CVaR(**o), "none"),
    "var_dro": Method(lambda names, counts, o: VarianceDRO(**o), "none"),
    "q_balance": Method(lambda names, counts, o: QDiversity(names, form="balance", **o), "label"),
    "q_eiil": Method(lambda names, counts, o: QDiversity(names, form="eiil", **o), "label"),
    "q_adversarial": Method(
        lambda names, counts, o: QDiversity(names, form="adversarial", **o), "label"
    ),
}


def run(
    task_name: str, groups: str, name: str, decay: float, options: Options, seed: int
) -> dict[str, Any]:
    """Train once and test once, after the last epoch.

    Args:
        groups: the case's partition, `clean` or `blind`.

    Returns:
        validation accuracies (`validation`, by label `validation_label`, by true group
        `validation_group`) and the same of the test set.
    """
    task, method = task_of(task_name, seed), METHODS[name]
    names, told = _told(task, groups if method.told == "given" else method.told)
    counts = torch.bincount(told, minlength=len(names)).clamp(min=1).tolist()
    robust = None if method.make is None else method.make(names, counts, options)
    reference = reference_losses(task_name, seed) if isinstance(robust, DoReMi) else None
    model = fit(task, robust, told, decay, seed, reference)
    return {
        **_accuracies(model, task.validation, "validation"),
        **_accuracies(model, task.test, "test"),
    }


@lru_cache(maxsize=1)
def task_of(name: str, seed: int) -> Task:
    """The task; the last one is kept."""
    return make_task(name, seed)


@lru_cache(maxsize=1)
def reference_losses(task_name: str, seed: int) -> torch.Tensor:
    """(n,) training losses of plain training, DoReMi's reference."""
    task = task_of(task_name, seed)
    model = fit(task, None, task.train.groups, 0.3, seed, None)
    with torch.no_grad():
        return cross_entropy(model(task.train.x), task.train.y, reduction="none")


def fit(
    task: Task,
    method: RobustMethod | None,
    told: torch.Tensor,
    decay: float,
    seed: int,
    reference: torch.Tensor | None,
) -> nn.Module:
    """A model trained for EPOCHS epochs of AdamW."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    data = task.train
    model = _model(data.x.shape[1], task.hidden)
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=decay)
    sampler = (
        EvenGroupSampler(told, seed=seed)
        if method is not None and method.needs_even_groups
        else None
    )
    smoothing = 0.1 if isinstance(method, VarianceDRO) else 0.0
    for epoch in range(EPOCHS):
        if sampler is not None:
            sampler.set_epoch(epoch)
        order = (
            torch.randperm(len(data.y), generator=generator)
            if sampler is None
            else torch.tensor(list(sampler))
        )
        for rows in order.split(-(-len(order) // STEPS)):
            losses = cross_entropy(
                model(data.x[rows]), data.y[rows], reduction="none", label_smoothing=smoothing
            )
            if method is None:
                loss = losses.mean()
            else:
                signal = losses if reference is None else excess_losses(losses, reference[rows])
                loss = (method(signal, told[rows] if method.groups else None, rows) * losses).mean()
                if isinstance(method, QDiversity) and method.split:
                    loss = loss + 0.5 * _mixed(model, method, data, rows, generator)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        if method is not None:
            method.epoch_end()
    return model


def _mixed(
    model: nn.Module, method: QDiversity, data: Part, rows: torch.Tensor, generator: torch.Generator
) -> torch.Tensor:
    inputs, places = group_mixup(data.x[rows], method.pseudo_groups(data.y[rows], rows), generator)
    if not len(places):
        return torch.zeros(())
    return cross_entropy(model(inputs), data.y[rows][places])


def _model(inputs: int, hidden: int) -> nn.Module:
    if not hidden:
        return nn.Linear(inputs, 2)
    return nn.Sequential(nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, 2))


def _told(task: Task, which: str) -> tuple[tuple[str, ...], torch.Tensor]:
    data = task.train
    if which == "blind":
        return task.blind_names, data.blind
    if which == "label":
        return LABELS, data.y
    return TRUE, data.groups


def _accuracies(model: nn.Module, part: Part, name: str) -> dict[str, Any]:
    with torch.no_grad():
        right = (model(part.x).argmax(1) == part.y).numpy().astype(np.float64)

    def means(groups: torch.Tensor, count: int) -> list[float]:
        places = groups.numpy()
        return [
            float(right[places == g].mean()) if (places == g).any() else 1.0 for g in range(count)
        ]

    return {
        name: float(right.mean()),
        f"{name}_label": means(part.y, 2),
        f"{name}_group": means(part.groups, 4),
    }
