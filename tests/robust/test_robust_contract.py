"""What every robust method keeps, whatever the losses: weights of mean one, no gradient, no harm
from bad input, a state that a step can be taken from, and no dependence on the order of a batch."""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import gdro
from gdro.core.adversaries import EmaHedge, Exp3P, TsallisInf
from gdro.robust import (
    Balanced,
    CVaR,
    DoReMi,
    GroupConditionalDRO,
    GroupDRO,
    GroupError,
    LossError,
    QDiversity,
    RobustError,
    RobustMethod,
    SampleIdError,
    VarianceDRO,
)

NAMES = ("a", "b", "c")

METHODS: dict[str, Callable[[], RobustMethod]] = {
    "balanced": lambda: Balanced(NAMES),
    "balanced_counts": lambda: Balanced(NAMES, counts=[100, 10, 1]),
    "group_dro": lambda: GroupDRO(NAMES, eta=0.5),
    "group_dro_adjusted": lambda: GroupDRO(
        NAMES, eta=0.5, adjustment=1.0, counts={"a": 9, "b": 4, "c": 1}
    ),
    "group_dro_tsallis": lambda: GroupDRO(NAMES, adversary=TsallisInf(3), loss_range=(0, 3)),
    "group_dro_exp3p": lambda: GroupDRO(NAMES, adversary=Exp3P(3), loss_range=(0, 3)),
    "group_dro_ema": lambda: GroupDRO(NAMES, adversary=EmaHedge(3), loss_range=(0, 3)),
    "doremi": lambda: DoReMi(NAMES, eta=0.5),
    "cvar": lambda: CVaR(0.3, groups=NAMES),
    "gc_dro": lambda: GroupConditionalDRO(NAMES),
    "q_balance": lambda: QDiversity(NAMES, form="balance", eta=0.5),
    "q_eiil": lambda: QDiversity(NAMES, form="eiil", eta=0.5),
    "q_adversarial": lambda: QDiversity(NAMES, form="adversarial", eta=0.5),
    "var_dro": lambda: VarianceDRO(groups=NAMES),
}
"""One of each, made afresh."""

every_method = pytest.mark.parametrize("make", METHODS.values(), ids=METHODS)


def stream(steps: int, seed: int = 0, size: int = 12):
    """(losses, groups, ids) of several steps over 40 samples; the epoch ends after every fourth."""
    rng = np.random.default_rng(seed)
    for _ in range(steps):
        ids = rng.choice(40, size, replace=False)
        yield (
            torch.tensor(rng.gamma(2.0, 0.5, size) + ids % 3),
            torch.tensor(ids % 3),
            torch.tensor(ids),
        )


def run(method, steps):
    out = []
    for step, (losses, groups, ids) in enumerate(steps):
        out.append(method(losses, groups, ids))
        if step % 4 == 3:
            method.epoch_end()
    return out


def state_of(method) -> str:
    return gdro.state_hash(copy.deepcopy(method.state_dict()))


@every_method
def test_weights_have_mean_one_and_no_gradient(make):
    method = make()
    for losses, groups, ids in stream(12):
        leaf = losses.float().requires_grad_()
        weights = method(leaf * 1.0, groups, ids)
        assert weights.shape == losses.shape
        assert weights.dtype == torch.float32
        assert not weights.requires_grad
        assert (weights >= 0).all()
        assert weights.mean().item() == pytest.approx(1.0, abs=1e-6)


@every_method
def test_weights_have_mean_one_by_size(make):
    method, rng = make(), np.random.default_rng(1)
    for losses, groups, ids in stream(8):
        sizes = torch.tensor(rng.integers(0, 9, len(losses)) + 0.0)
        weights = method(losses, groups, ids, sizes=sizes)
        assert float((weights * sizes).sum() / sizes.sum()) == pytest.approx(1.0, abs=1e-9)


@every_method
def test_the_order_of_a_batch_does_not_matter(make):
    one, other = make(), make()
    rng = np.random.default_rng(3)
    for losses, groups, ids in stream(10):
        order = torch.tensor(rng.permutation(len(losses)))
        straight, shuffled = (
            one(losses, groups, ids),
            other(losses[order], groups[order], ids[order]),
        )
        assert torch.allclose(straight[order], shuffled, atol=1e-9)


@every_method
def test_names_and_numbers_are_the_same_groups(make):
    one, other = make(), make()
    for losses, groups, ids in stream(6):
        assert torch.equal(one(losses, groups, ids), other(losses, [NAMES[g] for g in groups], ids))


@every_method
def test_a_loaded_state_goes_on_as_if_nothing_had_happened(make, tmp_path):
    straight, steps = make(), list(stream(14))
    run(straight, steps[:8])
    gdro.save_state(tmp_path / "state.npz", straight.state_dict())
    resumed = make()
    resumed.load_state_dict(gdro.load_state(tmp_path / "state.npz"))
    for step, (losses, groups, ids) in enumerate(steps[8:]):
        assert torch.equal(straight(losses, groups, ids), resumed(losses, groups, ids))
        if step == 3:
            straight.epoch_end()
            resumed.epoch_end()
    assert state_of(straight) == state_of(resumed)
    assert straight.metrics() == resumed.metrics()


@every_method
def test_asking_for_the_state_changes_nothing(make):
    asked, left = make(), make()
    for losses, groups, ids in stream(9):
        assert torch.equal(asked(losses, groups, ids), left(losses, groups, ids))
        asked.state_dict()
        asked.metrics()


BAD = {
    "nan": (
        LossError,
        lambda: (torch.tensor([1.0, float("nan")]), torch.tensor([0, 1]), torch.tensor([0, 1])),
    ),
    "inf": (
        LossError,
        lambda: (torch.tensor([1.0, float("inf")]), torch.tensor([0, 1]), torch.tensor([0, 1])),
    ),
    "two_dimensions": (
        LossError,
        lambda: (torch.ones(2, 2), torch.tensor([0, 1]), torch.tensor([0, 1])),
    ),
    "whole_numbers": (
        LossError,
        lambda: (torch.tensor([1, 2]), torch.tensor([0, 1]), torch.tensor([0, 1])),
    ),
    "unknown_number": (
        GroupError,
        lambda: (torch.ones(2), torch.tensor([0, 3]), torch.tensor([0, 1])),
    ),
    "negative_group": (
        GroupError,
        lambda: (torch.ones(2), torch.tensor([0, -1]), torch.tensor([0, 1])),
    ),
    "unknown_name": (GroupError, lambda: (torch.ones(2), ["a", "z"], torch.tensor([0, 1]))),
    "too_few_groups": (
        GroupError,
        lambda: (torch.ones(2), torch.tensor([0]), torch.tensor([0, 1])),
    ),
    "too_few_ids": (
        SampleIdError,
        lambda: (torch.ones(2), torch.tensor([0, 1]), torch.tensor([0])),
    ),
    "one_group_for_all": (
        GroupError,
        lambda: (torch.ones(1), torch.tensor([0]).squeeze(), torch.tensor([0])),
    ),
    "one_id_for_all": (
        SampleIdError,
        lambda: (torch.ones(1), torch.tensor([0]), torch.tensor([0]).squeeze()),
    ),
    "one_id_in_two_groups": (
        SampleIdError,
        lambda: (torch.ones(3), torch.tensor([0, 1, 2]), torch.tensor([5, 4, 5])),
    ),
    "ids_of_another_kind": (
        SampleIdError,
        lambda: (torch.ones(2), torch.tensor([0, 1]), [0.5, True]),
    ),
}


@every_method
@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_a_named_error_and_changes_no_state(make, case):
    method = make()
    run(method, stream(6))
    before, (error, arguments) = state_of(method), BAD[case]
    with pytest.raises(error):
        method(*arguments())
    assert state_of(method) == before


@every_method
def test_missing_groups_and_ids_are_named_where_they_are_needed(make):
    method = make()
    if method.needs_groups:
        with pytest.raises(GroupError, match="group"):
            method(torch.ones(2), None, torch.tensor([1, 2]))
    if method.needs_ids:
        with pytest.raises(SampleIdError, match="ids"):
            method(torch.ones(2), torch.tensor([0, 1]))
    assert method.steps == 0


@every_method
def test_an_empty_batch_and_a_batch_of_no_size_change_nothing(make):
    method = make()
    run(method, stream(6))
    before = state_of(method)
    assert method(
        torch.empty(0), torch.empty(0, dtype=torch.int64), torch.empty(0, dtype=torch.int64)
    ).shape == (0,)
    ones = method(torch.ones(2), torch.tensor([0, 1]), torch.tensor([0, 1]), sizes=torch.zeros(2))
    assert torch.equal(ones, torch.ones(2))
    assert state_of(method) == before


@every_method
def test_an_id_that_comes_twice_is_remembered_once_with_the_mean_of_its_losses(make):
    """As one sample of twice the size, as far as the next step can tell."""
    twice, once = make(), make()
    run(twice, stream(6))
    run(once, stream(6))
    losses, groups, ids = [1.0, 3.0, 0.5], torch.tensor([1, 1, 0]), torch.tensor([7, 7, 6])
    weights = twice(torch.tensor(losses, dtype=torch.float64), groups, ids)
    if twice.needs_ids:
        assert weights[0] == weights[1]
    once(
        torch.tensor([2.0, 0.5], dtype=torch.float64),
        groups[1:],
        ids[1:],
        sizes=torch.tensor([2.0, 1.0]),
    )
    for losses, groups, ids in stream(6, seed=4):
        np.testing.assert_allclose(twice(losses, groups, ids), once(losses, groups, ids), rtol=1e-6)
        twice.epoch_end()
        once.epoch_end()


@every_method
def test_a_step_of_one_group_is_weighed_and_absent_groups_keep_their_weight(make):
    """But for DoReMi's smoothing, which pulls at every weight, and adversaries of the caller's."""
    method = make()
    run(method, stream(8))
    before = method.metrics().get("q", {})
    weights = method(torch.ones(3), torch.tensor([1, 1, 1]), torch.tensor([1, 4, 7]))
    assert weights.mean().item() == pytest.approx(1.0, abs=1e-6)
    after, moves = method.metrics().get("q", {}), getattr(method, "smoothing", 0.0)
    for name in before:
        if not name.startswith("b") and getattr(method, "_range", None) is None:
            assert after[name] == pytest.approx(before[name], rel=1e-9, abs=moves)


@every_method
def test_weights_before_the_losses_change_no_state(make):
    method = make()
    run(method, stream(8))
    losses, groups, ids = next(iter(stream(1, seed=5)))
    before = state_of(method)
    if method.needs_losses_first:
        with pytest.raises(LossError, match="own losses"):
            method.weigh(groups, ids, sizes=torch.ones(12))
        return
    weights = method.weigh(groups, ids, sizes=torch.ones(12))
    assert weights.mean().item() == pytest.approx(1.0, abs=1e-6)
    assert state_of(method) == before
    after = copy.deepcopy(method)
    method.observe(losses, groups, ids)
    answered = after(losses, groups, ids)
    assert state_of(method) == state_of(after)
    assert torch.allclose(
        method.weigh(groups, ids, sizes=torch.ones(12)), answered.float(), atol=1e-6
    )


@every_method
def test_metrics_are_the_means_of_the_step_by_group(make):
    method = make()
    for losses, groups, ids in stream(5):
        weights = method(losses, groups, ids)
    found = method.metrics()
    for place, name in enumerate(NAMES):
        own = groups == place
        assert found["loss"][name] == pytest.approx(losses[own].mean().item())
        assert found["weight"][name] == pytest.approx(weights[own].mean().item())
        assert found["share"][name] == pytest.approx(own.float().mean().item())


@every_method
def test_a_state_of_another_method_is_refused(make):
    method = make()
    state = {**method.state_dict(), "method": "another"}
    with pytest.raises(gdro.StateError):
        method.load_state_dict(state)
    if method.groups is not None:
        with pytest.raises(gdro.StateError):
            method.load_state_dict({**method.state_dict(), "groups": ["x"]})


def keys_of(state, path=()):
    for key, value in state.items():
        yield (*path, key)
        yield from keys_of(value, (*path, key)) if isinstance(value, dict) else ()


@every_method
def test_a_state_that_lacks_something_is_refused_and_changes_nothing(make):
    method, other = make(), make()
    run(method, stream(6))
    run(other, stream(9, seed=1))
    before, whole = state_of(method), other.state_dict()
    for *path, key in keys_of(whole):
        state = copy.deepcopy(whole)
        part = state
        for name in path:
            part = part[name]
        del part[key]
        with pytest.raises(gdro.StateError):
            method.load_state_dict(state)
        assert state_of(method) == before, key
    method.load_state_dict(whole)
    assert (state_of(method), method.metrics().get("loss")) == (state_of(other), None)


@every_method
@settings(max_examples=15)
@given(st.lists(st.floats(0.0, 1e12), min_size=1, max_size=8))
def test_any_finite_losses_give_finite_weights(make, values):
    method, count = make(), len(values)
    for _ in range(3):
        groups, ids = torch.arange(count) % 3, torch.arange(count)
        weights = method(torch.tensor(values, dtype=torch.float64), groups, ids)
        assert torch.isfinite(weights).all()
        assert weights.mean().item() == pytest.approx(1.0, abs=1e-6)
        method.epoch_end()


@pytest.mark.parametrize(
    "made",
    [Balanced, GroupDRO, DoReMi, GroupConditionalDRO, QDiversity, CVaR, VarianceDRO],
    ids=lambda made: made.name,
)
def test_with_one_group_only_what_weighs_groups_alone_is_plain_training(made):
    method = made(1) if made.needs_groups else made(groups=1)
    for _ in range(3):
        losses = torch.tensor([0.1, 5.0, 0.4])
        weights = method(losses, torch.zeros(3, dtype=torch.int64), torch.arange(3))
        assert weights.mean().item() == pytest.approx(1.0, abs=1e-6)
        if made in (Balanced, GroupDRO, DoReMi):
            assert torch.allclose(weights, torch.ones(3))
        method.epoch_end()


@pytest.mark.parametrize("made", [CVaR, VarianceDRO], ids=lambda made: made.name)
def test_groups_for_a_method_made_without_any_are_an_error(made):
    method = made()
    with pytest.raises(GroupError, match="made without groups"):
        method(torch.ones(2), torch.tensor([0, 1]), torch.tensor([0, 1]))
    assert method(torch.ones(2), None, torch.tensor([0, 1])).tolist() == [1.0, 1.0]
    assert method.metrics() == {}


@pytest.mark.parametrize(
    "make",
    [
        lambda r: r.GroupDRO([]),
        lambda r: r.GroupDRO(["a", "a"]),
        lambda r: r.GroupDRO("ab"),
        lambda r: r.GroupDRO(2, eta=0.0),
        lambda r: r.GroupDRO(2, adjustment=1.0),
        lambda r: r.GroupDRO(2, counts=[1, 0]),
        lambda r: r.GroupDRO(2, loss_range=(0, 1)),
        lambda r: r.GroupDRO(2, eta=0.1, adversary=TsallisInf(2), loss_range=(0, 1)),
        lambda r: r.DoReMi(2, smoothing=1.0),
        lambda r: r.CVaR(0.0),
        lambda r: r.CVaR(1.5),
        lambda r: r.GroupConditionalDRO(2, beta=0.0),
        lambda r: r.GroupConditionalDRO(2, floor=1.0),
        lambda r: r.VarianceDRO(cap=0.0),
        lambda r: r.VarianceDRO(warmup=0),
        lambda r: r.QDiversity(2, form="true"),
        lambda r: r.QDiversity(2, minority=1.0),
    ],
)
def test_an_option_out_of_range_is_a_named_error(make):
    import gdro.robust

    with pytest.raises(RobustError):
        make(gdro.robust)
