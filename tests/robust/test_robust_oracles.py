"""Each method against its formula by hand, a linear programme of scipy, or brute force."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from gdro.robust import (
    Balanced,
    CVaR,
    DoReMi,
    GroupConditionalDRO,
    GroupDRO,
    QDiversity,
    VarianceDRO,
    excess_losses,
    group_mixup,
    waterfill,
)
from gdro.robust.cvar import fill_largest
from gdro.robust.q_diversity import adversarial_split, eiil_split


def programme(losses, low, high, sizes):
    """The best value of the linear programme, by scipy."""
    bounds = list(
        zip(np.broadcast_to(low, len(losses)), np.broadcast_to(high, len(losses)), strict=True)
    )
    done = linprog(-sizes * losses, A_eq=[sizes], b_eq=[sizes.sum()], bounds=bounds)
    assert done.success
    return -done.fun


small = st.integers(1, 9).flatmap(
    lambda n: st.tuples(
        st.lists(st.floats(-3, 3), min_size=n, max_size=n),
        st.lists(st.floats(0, 1), min_size=n, max_size=n),
        st.lists(st.floats(1, 8), min_size=n, max_size=n),
        st.lists(st.integers(0, 5), min_size=n, max_size=n).filter(any),
    )
)


@settings(max_examples=120)
@given(small)
def test_waterfilling_solves_the_linear_programme(case):
    losses, low, high, sizes = (np.array(part, float) for part in case)
    weights = waterfill(losses, low, high, sizes)
    assert float(sizes @ weights) == pytest.approx(sizes.sum())
    assert (weights >= low - 1e-12).all()
    assert (weights <= high + 1e-12).all()
    assert float((sizes * losses) @ weights) == pytest.approx(
        programme(losses, low, high, sizes), abs=1e-6
    )


@given(
    st.lists(st.sampled_from([-1.0, 0.0, 0.5, 2.0, 3.25]), min_size=1, max_size=12),
    st.sampled_from([0.0, 0.1, 0.5, 1.0]),
    st.sampled_from([1.0, 1.5, 2.0, 10.0]),
)
def test_the_short_way_for_samples_of_one_size_is_waterfilling(losses, low, high):
    values = np.array(losses, np.float32)
    expected = waterfill(values.astype(np.float64), low, high, np.ones(len(values)))
    np.testing.assert_allclose(fill_largest(values, low, high), expected, rtol=1e-6, atol=1e-6)


def test_group_dro_is_sagawa_s_update_by_hand():
    method = GroupDRO(3, eta=0.2, adjustment=1.5, counts=[100, 25, 4])
    rng, q = np.random.default_rng(0), np.full(3, 1 / 3)
    for _ in range(50):
        groups = np.r_[np.arange(3), rng.integers(0, 3, 9)]
        losses = rng.gamma(2.0, 1.0, 12) + groups
        means = np.array([losses[groups == g].mean() for g in range(3)])
        q = q * np.exp(0.2 * (means + 1.5 / np.sqrt([100, 25, 4])))
        q /= q.sum()
        weights = method(torch.tensor(losses), torch.tensor(groups))
        expected = np.array([q[g] * 12 / (groups == g).sum() for g in groups])
        np.testing.assert_allclose(weights, expected, rtol=1e-9)
        assert float((weights * torch.tensor(losses)).mean()) == pytest.approx(float(q @ means))


def test_an_absent_group_keeps_its_q_and_the_others_share_theirs_as_sagawa_s_rule_has_it():
    method = GroupDRO(3, eta=1.0)
    method(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([0, 1, 2]))
    before = method.probabilities()
    method(torch.tensor([0.5, 4.0]), torch.tensor([0, 1]))
    after = method.probabilities()
    assert after[2] == pytest.approx(before[2], rel=1e-12)
    assert after[1] / after[0] == pytest.approx(before[1] / before[0] * math.exp(3.5))


def test_group_losses_are_means_over_tokens_where_sizes_are_given():
    method = GroupDRO(2, eta=1.0)
    weights = method(
        torch.tensor([1.0, 4.0, 2.0]), torch.tensor([0, 0, 1]), sizes=torch.tensor([3.0, 1.0, 4.0])
    )
    q = np.exp([(3 * 1 + 1 * 4) / 4, 2.0])
    q /= q.sum()
    np.testing.assert_allclose(weights, [q[0] * 8 / 4] * 2 + [q[1] * 8 / 4], rtol=1e-6)


def test_doremi_smooths_with_feedback_and_averages_over_time():
    method = DoReMi(["x", "y", "z"], eta=1.0, smoothing=0.01)
    rng, alpha, total = np.random.default_rng(1), np.full(3, 1 / 3), np.zeros(3)
    for _ in range(40):
        excess = rng.gamma(1.0, 0.5, 3) + np.array([0.0, 0.1, 0.5])
        alpha = alpha * np.exp(excess)
        alpha = 0.99 * alpha / alpha.sum() + 0.01 / 3
        total += alpha
        method(torch.tensor(excess), torch.arange(3))
    np.testing.assert_allclose(list(method.average().values()), total / 40, rtol=1e-9)
    np.testing.assert_allclose(method.probabilities(), alpha, rtol=1e-9)


def test_doremi_collapses_to_one_domain_at_eta_one_and_not_at_the_default():
    """The known complaint: a constant difference of excess, here .05, is multiplied up for ever."""
    spread = {}
    for eta in (0.1, 1.0):
        method, rng = DoReMi(4, eta=eta), np.random.default_rng(0)
        for _ in range(200):
            method(
                torch.tensor(rng.gamma(1.0, 0.2, 4) + np.array([0.0, 0.0, 0.0, 0.05])),
                torch.arange(4),
            )
        spread[eta] = method.metrics()["effective_groups"]
    assert spread[1.0] < 1.5
    assert spread[0.1] > 2.5


def test_excess_losses_are_clipped_element_by_element():
    assert excess_losses(torch.tensor([1.0, 2.0]), torch.tensor([1.5, 0.5])).tolist() == [0.0, 1.5]


def test_cvar_is_the_mean_of_the_worst():
    losses = torch.arange(10.0)
    weights = CVaR(0.3)(losses)
    assert weights.tolist() == pytest.approx([0] * 7 + [10 / 3] * 3)
    assert float((weights * losses).mean()) == pytest.approx(8.0)
    assert CVaR(1.0)(losses).tolist() == pytest.approx([1.0] * 10)
    assert CVaR(0.25)(torch.ones(4)).tolist() == pytest.approx([1.0] * 4)  # equal losses share


def test_gc_dro_keeps_mean_one_at_both_levels():
    rng = np.random.default_rng(0)
    counts = np.array([60, 30, 10])
    method = GroupConditionalDRO(3, alpha=0.3, beta=0.2, counts=counts)
    groups = np.repeat(np.arange(3), counts)
    for _ in range(3):
        method(
            torch.tensor(rng.gamma(2.0, 1.0, 100) + groups), torch.tensor(groups), torch.arange(100)
        )
        method.epoch_end()
        assert float(counts @ method.group_weights()) == pytest.approx(100)
        inner = method._samples["weight"].astype(float)
        for g in range(3):
            assert inner[method._samples["group"] == g].mean() == pytest.approx(1.0, abs=1e-6)


def test_gc_dro_counts_the_worst_share_of_a_group_fully_and_the_rest_at_the_floor():
    """The paper's k = (1 - m) n b / (1 - m b) samples at 1 / b; here k = 50 * .9 * .2 / .98 =
    9.18."""
    method = GroupConditionalDRO(1, beta=0.2)
    method(torch.arange(50.0), torch.zeros(50, dtype=torch.int64), torch.arange(50))
    method.epoch_end()
    inner = np.sort(method._samples["weight"])
    assert inner[-9:] == pytest.approx(5.0)
    assert inner[:40] == pytest.approx(0.1)
    assert 0.1 < inner[40] < 5.0


def test_gc_dro_s_group_loss_is_a_moving_average_of_the_weighted_mean():
    method = GroupConditionalDRO(2, ema=0.1)
    method(torch.tensor([1.0, 3.0]), torch.tensor([0, 1]), torch.tensor([0, 1]))
    method(torch.tensor([2.0, 3.0]), torch.tensor([0, 1]), torch.tensor([2, 1]))
    np.testing.assert_allclose(method._loss, [1.1, 3.0])


def test_var_dro_stays_within_its_budgets_and_solves_its_programme():
    rng = np.random.default_rng(0)
    method = VarianceDRO(cap=1.0, warmup=1, ramp=1)
    spread = rng.gamma(1.0, 0.5, 30)
    for _ in range(6):
        method(torch.tensor(5 + spread * rng.normal(size=30)), ids=torch.arange(30))
        method.epoch_end()
    weights = method(torch.tensor(5 + spread * rng.normal(size=30)), ids=torch.arange(30)).numpy()
    deviation = np.sqrt(method._samples["variance"].astype(float))
    budget = np.minimum(1.0, deviation / method._q90)
    mean = method._samples["loss"].astype(float)
    assert (np.abs(np.log(weights)) <= budget + 1e-9).all()
    best = programme(mean, np.exp(-budget), np.exp(budget), np.ones(30))
    assert float(mean @ weights) == pytest.approx(best, rel=1e-6)


def test_var_dro_weighs_alike_while_it_warms_up_and_then_ramps():
    method, caps = VarianceDRO(cap=0.9, warmup=2, ramp=3), []
    for epoch in range(7):
        caps.append(method.cap_now())
        weights = method(torch.tensor([1.0 + epoch % 3, 2.0 + epoch % 2]), ids=["x", "y"])
        assert (weights == 1.0).all() == (epoch < 2)
        method.epoch_end()
    assert caps == pytest.approx([0, 0, 0.3, 0.6, 0.9, 0.9, 0.9])


def test_var_dro_remembers_mean_and_variance_by_id():
    method = VarianceDRO(memory=0.5)
    method(torch.tensor([1.0, 5.0]), ids=["x", "y"])
    method(torch.tensor([3.0, 5.0]), ids=["x", "y"])
    rows = method._samples.find(np.array([gdro_key("x")], np.uint64))
    assert method._samples["loss"][rows] == pytest.approx(2.0)
    assert method._samples["variance"][rows] == pytest.approx(2.0)


def gdro_key(name: str) -> int:
    from gdro.core.hashing import prompt_key

    return prompt_key(name)


def test_balanced_gives_every_group_the_same_mass_of_the_training_set():
    method = Balanced(["a", "b"], counts={"a": 90, "b": 10})
    weights = method(torch.ones(10), torch.tensor([0] * 9 + [1]))
    assert float(weights[:9].sum()) == pytest.approx(float(weights[9:].sum()))
    seen = Balanced(["a", "b"])
    seen(torch.ones(10), torch.tensor([0] * 9 + [1]))
    assert seen.weigh(torch.tensor([0, 1]), sizes=torch.ones(2)).tolist() == pytest.approx(
        [0.2, 1.8]
    )


def penalty(losses, z):
    """EIIL's objective: squared gradients, in the scale of the logits, of the two halves of the
    mean loss."""
    margins = torch.tensor(-np.log(np.expm1(losses)))
    scale = torch.ones(1, dtype=torch.float64, requires_grad=True)
    each = torch.nn.functional.softplus(-scale * margins)
    total = 0.0
    for side in (z, 1 - z):
        (gradient,) = torch.autograd.grad(
            (each * torch.tensor(side)).mean(), scale, retain_graph=True
        )
        total += float(gradient) ** 2
    return total


def test_eiil_s_split_is_the_best_of_all():
    losses = np.random.default_rng(0).gamma(1.5, 0.6, 9) + 0.01
    found = penalty(losses, eiil_split(losses).astype(float))
    best = max(penalty(losses, np.array(z, float)) for z in itertools.product((0, 1), repeat=9))
    assert found == pytest.approx(best, rel=1e-9)


def test_the_adversarial_split_is_the_maximiser_of_its_objective():
    losses = np.random.default_rng(0).gamma(1.5, 0.6, 7)
    z = adversarial_split(losses, 0.3, 0.2)
    assert z.mean() == pytest.approx(0.3, abs=1e-9)

    def objective(z):
        return (z * losses).mean() - 0.2 * (z * np.log(z) + (1 - z) * np.log1p(-z)).mean()

    rng = np.random.default_rng(1)
    for _ in range(200):
        move = rng.normal(size=7) * 0.01
        other = z + move - move.mean()
        if ((other > 0) & (other < 1)).all():
            assert objective(other) <= objective(z) + 1e-12
    hard = adversarial_split(np.arange(10.0), 0.3, 1e-3)
    assert hard == pytest.approx([0] * 7 + [1] * 3, abs=1e-6)


def test_q_diversity_raises_the_weight_of_what_the_model_gets_wrong():
    method = QDiversity(2, form="adversarial", eta=0.5, minority=0.2)
    labels, ids = torch.arange(20) % 2, torch.arange(20)
    losses = torch.where(ids < 4, 3.0, 0.1)
    assert torch.equal(method(losses, labels, ids), torch.ones(20))
    method.epoch_end()
    for _ in range(10):
        weights = method(losses, labels, ids)
    assert weights[:4].min() > 2.0
    assert weights[4:].max() < 0.6
    assert method.pseudo_groups(labels, ids)[:4].tolist() == [1, 3, 1, 3]


def test_q_diversity_s_faithful_form_is_a_random_split():
    method = QDiversity(2, form="balance")
    groups = method.pseudo_groups(torch.arange(4000) % 2, torch.arange(4000))
    counts = torch.bincount(groups)
    assert (counts - 1000).abs().max() < 120  # 4 standard deviations of a fair coin


def test_group_mixup_mixes_the_smaller_side_of_a_label_with_the_larger():
    generator = torch.Generator().manual_seed(0)
    groups = torch.tensor([0, 0, 0, 1, 2, 3, 3, 3])  # label 0: one of z=1; label 1: one of z=0
    inputs = torch.arange(8.0).unsqueeze(1)
    mixed, places = group_mixup(inputs, groups, generator)
    assert sorted(places.tolist()) == [3, 4]
    for row, place in zip(mixed.flatten().tolist(), places.tolist(), strict=True):
        assert (0 < row < 3) if place == 3 else (4 < row < 7)
    none, _ = group_mixup(inputs[:2], groups[:2], generator)
    assert none.shape == (0, 1)
