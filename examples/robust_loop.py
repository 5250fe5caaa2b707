"""A robust method in a plain torch loop, torch alone: python examples/robust_loop.py

A shortcut agrees with the class in 95 % of the samples; a model that leans on it is wrong in the
two small groups where it does not. One line more makes the worst group count.
"""

import torch
from torch.nn.functional import cross_entropy

from gdro.robust import EvenGroupSampler, GroupDRO, group_report

NAMES = ["agrees 0", "agrees 1", "differs 0", "differs 1"]


def draw(count, agree):
    """(count, 2) a weak true feature and a strong shortcut, both with noise; labels; groups."""
    labels, differs = torch.randint(2, (count,)), (torch.rand(count) > agree).long()
    centres = torch.stack([0.7 * (2.0 * labels - 1), 1.5 * (2.0 * (labels ^ differs) - 1)], dim=1)
    return centres + torch.randn(count, 2), labels, 2 * differs + labels


torch.manual_seed(0)
inputs, labels, groups = draw(2000, agree=0.95)
test_inputs, test_labels, test_groups = draw(4000, agree=0.5)
sampler = EvenGroupSampler(groups)  # group DRO wants groups drawn evenly
for robust in (False, True):
    model, method = torch.nn.Linear(2, 2), GroupDRO(NAMES, eta=0.05)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    for epoch in range(8):
        sampler.set_epoch(epoch)
        for rows in torch.tensor(list(sampler) if robust else range(2000)).split(50):
            losses = cross_entropy(model(inputs[rows]), labels[rows], reduction="none")
            weights = method(losses, groups[rows]) if robust else torch.ones(50)  # the one line
            optimizer.zero_grad()
            (weights * losses).mean().backward()
            optimizer.step()
    right = (model(test_inputs).argmax(1) == test_labels).float()
    report = group_report(right, [NAMES[g] for g in test_groups])
    name = "group DRO" if robust else "plain"
    print(f"{name:10} average {report.overall:.3f}   worst group {report.worst:.3f}")
