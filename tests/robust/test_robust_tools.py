"""The sample table, the even sampler, the report and DoReMi's JSON."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from gdro.core.errors import StateError
from gdro.robust import (
    Balanced,
    CVaR,
    EvenGroupSampler,
    GroupConditionalDRO,
    GroupError,
    LossError,
    QDiversity,
    RobustError,
    VarianceDRO,
    group_report,
    read_domain_weights,
    write_domain_weights,
)
from gdro.robust import samples as samples_module
from gdro.robust.samples import SampleTable


def test_the_table_is_a_dictionary(monkeypatch):
    monkeypatch.setattr(samples_module, "RECENT", 5)
    table, truth = SampleTable({"loss": (np.float32, -1.0)}), {}
    rng = np.random.default_rng(0)
    for step in range(60):
        keys = (
            rng.integers(0, 2**63, 4).astype(np.uint64)
            if step % 3
            else np.array(list(truth) or [1], np.uint64)[:4]
        )
        keys = np.unique(keys)
        rows = table.rows(keys)
        for key, row in zip(keys.tolist(), rows, strict=True):
            assert table["loss"][row] == pytest.approx(truth.get(key, -1.0))
            truth[key] = float(step)
        table["loss"][rows] = step
        if step % 7 == 0:
            table.compact()
    assert len(table) == len(truth)
    keys = np.array(list(truth), np.uint64)
    assert table["loss"][table.find(keys)].tolist() == list(truth.values())
    assert table.find(np.array([3], np.uint64)).tolist() == [-1]


def test_a_million_ids_take_less_than_forty_bytes_each():
    tables = [made._samples for made in (GroupConditionalDRO(1), QDiversity(1), VarianceDRO())]
    table, rng = max(tables, key=row_bytes), np.random.default_rng(0)
    keys = rng.permutation(1_000_000).astype(np.uint64)
    for start in range(0, len(keys), 5_000):
        table.rows(keys[start : start + 5_000])
    waiting = 120 * len(table._recent)  # an entry of a dictionary of two large integers
    assert (table.nbytes + waiting) / len(table) < 40


def test_keys_of_a_state_must_rise():
    table = SampleTable({"loss": (np.float32, 0.0)})
    table.rows(np.array([5, 3], np.uint64))
    state = table.state_dict()
    with pytest.raises(StateError, match="do not rise"):
        table.load_state_dict(state | {"keys": state["keys"][::-1].copy()})


@pytest.mark.parametrize(
    ("groups", "ids"),
    [
        (np.array([0, 1, 1]), np.array([7, 8, 9])),
        (list(np.array([0, 1, 1])), list(np.array([7, 8, 9]))),
        (np.array(["a", "b", "b"]), torch.tensor([7, 8, 9])),
    ],
)
def test_labels_may_be_arrays_and_sizes_whole_numbers(groups, ids):
    losses, found = torch.tensor([1.0, 2.0, 4.0]), []
    for labels, own in (([0, 1, 1], [7, 8, 9]), (groups, ids)):
        method = GroupConditionalDRO(["a", "b"])
        method(losses, labels, own)
        method.epoch_end()
        found.append(method(losses, labels, own, sizes=torch.tensor([3, 1, 2])))
    assert torch.equal(*found)
    weights = Balanced(["a", "b"], counts=[3, 1]).weigh(groups, sizes=torch.tensor([2, 1, 1]))
    assert weights.dtype == torch.float32
    assert weights.tolist() == pytest.approx([0.5, 1.5, 1.5])


def test_a_loss_that_is_no_number_is_told_with_its_sample_s_id():
    with pytest.raises(LossError, match=r"losses\[1\] \(id 'x/2'\) is nan"):
        CVaR(0.5)(torch.tensor([1.0, torch.nan]), ids=["x/1", "x/2"])
    with pytest.raises(LossError, match=r"sizes\[0\] \(id 7\) is -1"):
        CVaR(0.5)(torch.ones(2), ids=torch.tensor([7, 8]), sizes=torch.tensor([-1, 2]))


def row_bytes(table):
    return sum(column.itemsize for column in table._columns.values())


def test_every_prefix_of_the_even_sampler_is_even():
    groups = ["a"] * 90 + ["b"] * 9 + ["c"]
    sampler = EvenGroupSampler(groups, seed=3)
    order = list(sampler)
    assert len(order) == 100
    drawn = np.array([[groups[place] == name for name in "abc"] for place in order]).cumsum(axis=0)
    assert (np.ptp(drawn, axis=1) <= 1).all()
    b = [place for place in order if groups[place] == "b"]
    assert sorted(b[:9]) == list(range(90, 99))
    assert sorted(b[9:18]) == list(range(90, 99))
    assert b[:9] != b[9:18]


def test_the_even_sampler_s_order_is_a_function_of_seed_and_epoch():
    def order(seed, epoch):
        sampler = EvenGroupSampler(torch.arange(40) % 3, seed=seed)
        sampler.set_epoch(epoch)
        return list(sampler)

    assert order(0, 1) == order(0, 1)
    assert order(0, 1) != order(0, 2)
    assert order(0, 1) != order(1, 1)


def test_the_sampler_draws_by_domain_weights():
    sampler = EvenGroupSampler(["x"] * 500 + ["y"] * 500, weights={"x": 0.8, "y": 0.2})
    assert sum(place < 500 for place in sampler) == pytest.approx(800, abs=1)
    with pytest.raises(RobustError, match="only one of them"):
        EvenGroupSampler(["x", "y"], weights={"x": 1, "z": 1})
    with pytest.raises(RobustError, match="finite"):
        EvenGroupSampler(["x", "y"], weights={"x": 1, "y": float("inf")})
    with pytest.raises(RobustError, match="one or more"):
        EvenGroupSampler([])


def test_the_report_has_fairlearn_s_names():
    report = group_report([1, 1, 0, 1], ["a", "a", "b", "b"], train_counts={"a": 3, "b": 1})
    assert report.by_group == {"a": 1.0, "b": 0.5}
    assert (report.overall, report.worst, report.worst_group) == (0.75, 0.5, "b")
    assert report.adjusted == pytest.approx(0.875)
    assert (report.difference(), report.ratio()) == (0.5, 0.5)
    loss = group_report([1.0, 3.0], ["a", "b"], sizes=[3, 1], higher_is_better=False)
    assert (loss.overall, loss.worst, loss.worst_group) == (1.5, 3.0, "b")
    some = group_report([0.0, 1.0, 3.0], ["c", "a", "b"], sizes=[0, 3, 1])
    assert (some.by_group, some.overall) == ({"a": 1.0, "b": 3.0}, 1.5)
    for sizes in ([0, 0], [-1, 2], [1, float("nan")], [1]):
        with pytest.raises(LossError, match="not negative and not all 0"):
            group_report([1.0, 2.0], ["a", "b"], sizes=sizes)
    with pytest.raises(GroupError, match="'c'"):
        group_report([1.0], ["a"], train_counts={"c": 1})


def test_domain_weights_go_out_and_come_back(tmp_path):
    path = tmp_path / "weights.json"
    write_domain_weights(path, {"x": 3.0, "y": 1.0}, {"x": 1.0, "y": 1.0})
    content = json.loads(path.read_text())
    assert content == {
        "train_domain_weights": {"x": 0.75, "y": 0.25},
        "eval_domain_weights": {"x": 0.5, "y": 0.5},
    }
    assert read_domain_weights(path) == {"x": 0.75, "y": 0.25}


DAMAGED = ["{", "[]", "{}", '{"train_domain_weights": {}}', '{"train_domain_weights": {"x": -1}}']


@pytest.mark.parametrize("content", DAMAGED)
def test_a_damaged_weights_file_is_a_named_error(tmp_path, content):
    path = tmp_path / "weights.json"
    path.write_text(content)
    with pytest.raises(RobustError, match=r"weights[.]json"):
        read_domain_weights(path)
