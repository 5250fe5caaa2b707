"""Repeated batches and per-prompt variances, on the toy policy in closed form and on the embedded
model; and the oracles of gradients and rates: their inner products against explicit gradients, what
they choose, runs that a seed repeats."""

from __future__ import annotations

import shutil
import sys
from copy import deepcopy
from types import SimpleNamespace

import gradient_toy as toy
import numpy as np
import pytest
import torch
from torch.func import functional_call, jvp

from forked import CELLS, gdro
from gdro.controllers.making import make_controller
from gdro.core.advantages import ADVANTAGES
from gdro.core.errors import RunError
from gdro.core.theory import posterior_slope
from gdro.own_code import load_own
from gradient_batches import (
    FixedPlan,
    Repeats,
    adam_scale,
    adam_step,
    cosine,
    repeat_batches,
    warm_up,
)
from gradient_law import by_bin, law_figures, measure_prompts
from gradient_scores import (
    batch_gradients,
    by_source,
    open_setting,
    rate_gradient,
    rate_slopes,
    score_gram,
    trained,
)

RATES = [0.1, 0.25, 0.4, 0.7]
PATH = "research/oracle.py"
oracle = sys.modules[load_own(f"{PATH}:Insight", "controller part").__module__]
TINY_RUN = (
    "verifier.kind=exact",
    f"data.cells={CELLS}",
    "data.size=48",
    "data.heldout_size=8",
    "data.heldout_shares=equal",
    "max_steps=4",
    "prompts_per_step=4",
    "save_steps=2",
    "evaluation.num_generations=4",
    "controller=text_gdro",
)


@pytest.fixture(scope="module")
def tiny():
    with open_setting("tiny", None, ["data.size=64", "data.heldout_size=24"], 6, seed=1) as setting:
        yield setting


def test_repeated_batches_of_the_toy_have_the_variance_of_the_closed_form():
    setting = toy.ToySetting(RATES)
    plan = FixedPlan(np.array([1.0, 4.0, 9.0, 0.2]), mean_rollouts=4, low=2, high=12)
    assert plan.rollouts.sum() == 16
    assert len(set(plan.rollouts.tolist())) > 2
    measured, gradients = repeat_batches(setting, plan, ADVANTAGES, 900, seed=0)
    assert gradients.shape == (3, 900, 8)
    for number, kind in enumerate(ADVANTAGES):
        moments = [
            toy.group_moments(p, int(n), kind) for p, n in zip(RATES, plan.rollouts, strict=True)
        ]
        truth = sum(variance for _, variance in moments) / 16
        assert measured.variance(number) == pytest.approx(truth, rel=0.15)
        mean = gradients[number].mean(0).reshape(4, 2)[:, 1].numpy() * np.sqrt(2.0)  # along u / |u|
        error = np.sqrt([variance / 16 / 900 for _, variance in moments])
        assert (
            np.abs(mean - np.array([mean for mean, _ in moments]) / 4) < 4.5 * error + 1e-6
        ).all()


def test_figures_against_a_baseline_with_known_ratios():
    setting = toy.ToySetting([0.3] * 4)
    few, many = FixedPlan(np.ones(4), 4, 2, 12), FixedPlan(np.ones(4), 8, 2, 12)
    base, gradients = repeat_batches(setting, few, ["rloo"], 500, seed=0)
    other, _ = repeat_batches(setting, many, ["rloo"], 500, seed=1, base=gradients)
    found = other.figures(0, base, seed=0)
    variance = [toy.group_moments(0.3, n, "rloo")[1] for n in (4, 8)]
    assert found["variance_ratio"].low < variance[1] / variance[0] < found["variance_ratio"].high
    assert found["signal_ratio"].low < variance[0] / variance[1] < found["signal_ratio"].high
    assert found["direction"].value == pytest.approx(1.0, abs=0.02)
    assert found["shift"].value < 0.1
    few = Repeats(base.rollouts, base.weights, base.gram[:, :3, :3], base.against)
    # draws of one repeat alone are left out
    assert np.isfinite(few.figures(0, few, seed=0)["variance_ratio"].high)
    itself = base.figures(0, base, seed=0)
    assert itself["variance_ratio"].value == itself["variance_ratio"].low == 1.0
    assert np.isnan(itself["direction"].value)


def test_variances_of_the_toy_by_prompt_and_bin():
    setting = toy.ToySetting([*RATES, 1.0 - 1e-9])
    found = measure_prompts(setting, ADVANTAGES, [2, 4], screen=3000, pool=2000, seed=2)
    p = np.array(RATES)
    assert found.single[:4] == pytest.approx(2 * p * (1 - p) * (1 - 4 * p * (1 - p)), rel=0.35)
    truth = [
        [[toy.group_moments(q, n, kind)[1] for q in RATES] for n in (2, 4)] for kind in ADVANTAGES
    ]
    assert found.groups[:, :, :4] == pytest.approx(np.array(truth), rel=0.35)
    assert found.single[4] == 0.0
    assert found.mixed.tolist() == [True] * 4 + [False]
    rows = by_bin(found, 10, seed=0)
    assert [row.number for row in rows] == sorted(
        {int(rate * 10 + 1e-9) for rate in found.rate[:4]}
    )
    assert sum(row.prompts for row in rows) == 4
    figures = law_figures(found, seed=0)
    # here p (1 - p) is a bad model: v is 0 at p = 1/2
    assert figures["law"].value > figures["best"].value
    weights, rollouts = np.array([1.0, 2.0, 1.0, 1.0]), np.array([2, 4, 4, 2])
    expected = (
        sum(
            w**2 * found.groups[2, (n == 4) * 1, i]
            for i, (w, n) in enumerate(zip(weights, rollouts, strict=True))
        )
        / 16
    )
    assert found.of_plan("rloo", rollouts, weights) == pytest.approx(expected)


def test_scores_of_the_embedded_model_are_those_of_plain_autograd(tiny):
    model = tiny.policy.model
    groups = tiny.draw(3, seed=4)
    weights = list(model.parameters())
    plain = []
    for row in groups.tokens[0]:
        ids = torch.tensor([[*tiny.encoded[0], *row]])
        logp = torch.log_softmax(model(input_ids=ids).logits[0, :-1] / 0.7, -1)
        start = len(tiny.encoded[0]) - 1
        total = logp[torch.arange(start, ids.shape[1] - 1), ids[0, start + 1 :]].sum()
        plain.append(
            torch.cat([part.flatten() for part in torch.autograd.grad(total, weights)]).double()
        )
    rows = torch.stack(plain)
    before = model.config._attn_implementation
    gram = score_gram(model, tiny.encoded[0], groups.tokens[0], 0.7, rows=2)
    assert model.config._attn_implementation == before
    np.testing.assert_allclose(gram, (rows @ rows.T).numpy(), rtol=2e-4, atol=1e-3)
    scale = torch.linspace(0.5, 2.0, rows.shape[1])
    scaled = score_gram(model, tiny.encoded[0], groups.tokens[0], 0.7, scale=scale)
    np.testing.assert_allclose(
        scaled, ((rows * scale) @ (rows * scale).T).numpy(), rtol=2e-4, atol=1e-3
    )
    coefficients = np.array([[1.0, -2.0, 0.0], [0.5, 0.0, 0.0]])
    found = batch_gradients(model, tiny.encoded[:1], groups.tokens[:1], coefficients, 0.7, rows=1)
    expected = torch.tensor(coefficients) @ rows
    assert float((found - expected).norm() / expected.norm()) < 1e-4


def test_a_seed_gives_the_same_figures_and_the_controller_stays_as_it_was(tiny):
    controller = make_controller("joint", seed=0)
    warm_up(tiny, controller, 2, seed=5)
    before = deepcopy(controller)
    first, gradients = repeat_batches(tiny, controller, ["grpo"], 2, seed=6)
    again, _ = repeat_batches(tiny, controller, ["grpo"], 2, seed=6, base=gradients)
    other, _ = repeat_batches(tiny, controller, ["grpo"], 2, seed=7)
    assert (first.gram == again.gram).all()
    np.testing.assert_allclose(again.against, first.gram, rtol=1e-12)
    assert (first.gram != other.gram).any()
    assert first.rollouts.sum() == 24
    assert controller.plans_made == before.plans_made == 2
    assert (controller.plan(tiny.ids).rollouts == before.plan(tiny.ids).rollouts).all()


def test_scale_of_adam_makes_every_coordinate_alike():
    setting = toy.ToySetting(RATES)
    scale = adam_scale(setting, 400, seed=0)
    _, gradients = repeat_batches(
        setting, FixedPlan(np.ones(4), 4, 2, 12), ["grpo"], 400, seed=1, scale=scale
    )
    assert (gradients[0] ** 2).mean(0).numpy() == pytest.approx(np.ones(8), rel=0.2)


def test_the_drawn_prompts_and_rollouts_follow_the_seed(tiny):
    with open_setting("tiny", None, ["data.size=64", "data.heldout_size=24"], 6, seed=1) as again:
        assert again.ids == tiny.ids
        assert again.draw(2, seed=3).tokens == tiny.draw(2, seed=3).tokens
        assert again.draw(2, seed=3).tokens != tiny.draw(2, seed=8).tokens
        assert tiny.part(0, 2).ids == tiny.ids[:2]


def test_more_prompts_than_there_are_is_refused():
    with (
        pytest.raises(RunError, match="65 prompts asked for, there are 64"),
        open_setting("tiny", None, ["data.size=64", "data.heldout_size=24"], 65, seed=1),
    ):
        pass


@pytest.fixture(scope="module")
def direction(tiny):
    """A direction of the model's weights, and its length."""
    random = torch.Generator().manual_seed(0)
    weights = trained(tiny.policy.model)
    parts = [torch.randn(weight.shape, generator=random) * weight.detach() for weight in weights]
    return parts, float(torch.cat([part.flatten() for part in parts]).norm())


def by_covariance(groups, halves):
    """(K, R) coefficients of the rollouts in the slopes of one prompt each, of one half of its
    rollouts each."""
    found = np.zeros((2 * len(groups.rewards), sum(map(len, groups.rewards))))
    row = 0
    for place, rewards in enumerate(groups.rewards):
        middle = len(rewards) // 2
        for half, part in enumerate((rewards[:middle], rewards[middle:])):
            found[2 * place + half, row : row + len(part)] = (part - part.mean()) / (len(part) - 1)
            row += len(part)
    return found.reshape(-1, 2, found.shape[1]).transpose(1, 0, 2)[list(halves)]


def test_slopes_are_inner_products_with_the_explicit_gradients_of_each_prompt(tiny, direction):
    along, length = direction
    groups, model = tiny.draw(16, seed=3), tiny.policy.model
    before = [weight.detach().clone() for weight in trained(model)]
    found = rate_slopes(tiny, groups, along)
    assert all(map(torch.equal, before, trained(model)))
    flat = torch.cat([part.flatten() for part in along]) / length
    explicit = np.stack(
        [
            (batch_gradients(model, tiny.encoded, groups.tokens, rows) @ flat).numpy()
            for rows in by_covariance(groups, (0, 1))
        ]
    )
    assert np.abs(explicit).max() > 0.01
    np.testing.assert_allclose(found, explicit, rtol=0.01, atol=1e-3 * np.abs(explicit).max())
    agreed = [np.ptp(rewards) == 0.0 for rewards in groups.rewards]
    assert (found[:, agreed] == 0.0).all()


def test_a_slope_is_the_forward_derivative(tiny, direction):
    along, length = direction
    groups, model = tiny.draw(16, seed=3), tiny.policy.model
    place = int(np.argmax([rewards.var() for rewards in groups.rewards]))
    names = [name for name, weight in model.named_parameters() if weight.requires_grad]
    start, rows = len(tiny.encoded[place]), groups.tokens[place]

    def scores(*weights):
        named, found = dict(zip(names, weights, strict=True)), []
        for row in rows:
            ids = torch.tensor([[*tiny.encoded[place], *row]])
            output = functional_call(model, named, (), {"input_ids": ids, "use_cache": False})
            logp = torch.log_softmax(output.logits[0, start - 1 : -1], -1)
            found.append(logp.gather(1, ids[0, start:, None]).sum())
        return torch.stack(found)

    kept = model.config._attn_implementation
    model.set_attn_implementation("eager")
    weights = tuple(weight.detach() for weight in trained(model))
    _, slope = jvp(scores, weights, tuple(part / length for part in along))
    model.set_attn_implementation(kept)
    rewards, middle = groups.rewards[place], len(rows) // 2
    expected = [
        np.cov(rewards[part], slope.detach().double().numpy()[part])[0, 1]
        for part in (slice(0, middle), slice(middle, None))
    ]
    assert rate_slopes(tiny, groups, along)[:, place] == pytest.approx(expected, rel=0.01)


def test_the_targets_gradient_is_that_of_the_mean_rate(tiny):
    groups = tiny.draw(8, seed=5)
    found = rate_gradient(tiny, groups, [0, 2, 4])
    rows = np.zeros((1, 48))
    for place in (0, 2, 4):
        rewards = groups.rewards[place]
        rows[0, 8 * place : 8 * place + 8] = (rewards - rewards.mean()) / 7 / 3
    explicit = batch_gradients(tiny.policy.model, tiny.encoded, groups.tokens, rows)[0]
    flat = torch.cat([part.flatten() for part in found])
    assert float((flat - explicit).norm() / explicit.norm()) < 1e-3


def test_the_direction_is_the_step_that_adam_takes():
    random = torch.Generator().manual_seed(0)
    model = torch.nn.Linear(4, 3)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=0.01, betas=(0.0, 0.9), eps=1e-6, weight_decay=0.0
    )
    for number in range(4):
        gradient = [torch.randn(w.shape, generator=random) for w in trained(model)]
        step = adam_step(optimizer, gradient, model)
        if number == 0:
            assert cosine(step, [g.sign() for g in gradient]) == pytest.approx(1.0)
        before = [weight.detach().clone() for weight in trained(model)]
        for weight, g in zip(trained(model), gradient, strict=True):
            weight.grad = g
        optimizer.step()
        for weight, old, part in zip(trained(model), before, step, strict=True):
            torch.testing.assert_close(old - weight.detach(), 0.01 * part, rtol=1e-4, atol=1e-7)


@pytest.fixture
def insight(tiny, monkeypatch):
    """A run of the embedded model with six prompts to choose from, which are its target too."""
    run = oracle.Insight()
    run.model, run.tokenizer = tiny.policy.model, tiny.policy.tokenizer
    run.optimizer = torch.optim.AdamW(run.model.parameters())
    for weight in run.model.parameters():  # late in a run: no coordinate is without a past
        run.optimizer.state[weight] = {"step": 1000.0, "exp_avg_sq": torch.ones_like(weight)}
    prompts = by_source(tiny.prompts)
    vars(run).update(config=tiny.config, verifier=tiny.verifier, train=prompts, target=prompts)
    monkeypatch.setattr(oracle.Insight, "now", run)
    monkeypatch.setattr(oracle, "TARGET_PROMPTS", 6)
    monkeypatch.setattr(oracle, "TARGET_ROLLOUTS", 64)
    return run


def looked(tiny, selector):
    """A controller with the selector after its first look, which saw all six prompts."""
    controller = make_controller(
        {"name": "text_gdro", "selector": selector}, mean_rollouts=4, seed=3
    )
    controller.describe(tiny.ids, [str(prompt.messages) for prompt in tiny.prompts])
    ids = list(tiny.ids)
    assert sorted(controller.select(ids, 6)) == sorted(ids)
    controller.plan(ids)
    controller.observe(ids, [[0.0, 1.0, 0.0, 1.0]] * 6)
    return controller


def test_with_many_rollouts_the_oracle_chooses_the_best_prompt(tiny, insight):
    options = {"pool": 12, "rollouts": 64, "power": 60.0, "explore": 0.0}
    controller = looked(tiny, {"name": f"{PATH}:GradientOracle"} | options)
    selector = controller.parts.selector
    seen, _ = selector.seen(controller.table.look_up(tiny.ids).keys)
    assert len(seen) == 6
    draws = [tiny.draw(64, seed=seed) for seed in (77, 78, 79)]  # what the prompts are truly worth
    gradients = [rate_gradient(tiny, groups, range(6)) for groups in draws]
    gradient = [torch.stack(parts).mean(0) for parts in zip(*gradients, strict=True)]
    step = adam_step(insight.optimizer, gradient, insight.model)
    slopes = np.mean([rate_slopes(tiny, groups, step).mean(0) for groups in draws], axis=0)
    rates = np.mean([[rewards.mean() for rewards in groups.rewards] for groups in draws], axis=0)
    belief = controller.belief(tiny.ids)
    gains = [
        slope * posterior_slope([rate], 4, a, b)[0]
        for slope, rate, a, b in zip(slopes, rates, belief.a, belief.b, strict=True)
    ]
    best = tiny.ids[int(np.argmax(gains))]
    assert sorted(gains)[-1] > 1.5 * sorted(gains)[-2]
    assert controller.select(list(tiny.ids), 1) == [best]
    assert controller.select(list(reversed(tiny.ids)), 1) == [best]
    assert controller.select([i for i in tiny.ids if i != best], 5) != [best]


def test_the_oracle_of_rates_adds_its_rollouts_to_the_posterior(tiny, insight):
    controller = looked(tiny, {"name": f"{PATH}:RateOracle", "pool": 12, "rollouts": 64})
    selector = controller.parts.selector
    prompts = controller.table.look_up(tiny.ids)
    at, known = selector.seen(prompts.keys)
    belief = controller.belief(tiny.ids)
    batch = SimpleNamespace(belief=belief)
    a, b = selector.known_beta(batch, at, known)
    truth = np.array([rewards.mean() for rewards in tiny.draw(192, seed=78).rewards])
    assert a + b == pytest.approx(belief.a + belief.b + 64.0)
    assert np.abs(a / (a + b) - truth).max() < 0.2


def test_a_saved_oracle_goes_on_as_if_nothing_had_happened(tiny, insight):
    section = {"name": f"{PATH}:GradientOracle", "pool": 5, "rollouts": 8}
    controller = looked(tiny, section)
    again = make_controller({"name": "text_gdro", "selector": section}, mean_rollouts=4, seed=3)
    again.describe(tiny.ids, [str(prompt.messages) for prompt in tiny.prompts])
    again.load_state_dict(controller.state_dict())
    assert again.select(list(tiny.ids), 4) == controller.select(list(tiny.ids), 4)


def test_trust_is_the_share_of_the_variance_that_is_no_noise():
    random = np.random.default_rng(0)
    sources = np.repeat([0, 1], 4000)
    true = random.normal(size=8000) + 5.0 * sources
    halves = true + 2.0 * random.normal(size=(2, 8000))
    assert oracle.trust(halves, sources) == pytest.approx(1.0 / 3.0, abs=0.05)
    assert oracle.trust(np.zeros((2, 8000)), sources) == 0.0


def test_an_oracle_outside_of_a_run_says_so(tiny, monkeypatch):
    monkeypatch.setattr(oracle.Insight, "now", None)
    with pytest.raises(RunError, match="looks into a run of gdro train"):
        looked(tiny, {"name": f"{PATH}:RateOracle", "pool": 6})


@pytest.mark.parametrize("kind", ["GradientOracle", "RateOracle"])
def test_a_run_repeats_and_a_resumed_run_is_the_run_that_never_stopped(tmp_path, kind, capsys):
    selector = f"controller.selector={{name: {PATH}:{kind}, pool: 12, refresh: 3, rollouts: 4}}"
    files = []
    for name in ("first", "again"):
        run = tmp_path / name
        words = [word for text in (*TINY_RUN, selector) for word in ("--set", text)]
        done = gdro("train", *words, "--set", f"output_dir={run}")
        assert done.returncode == 0, done.stderr
        files.append(sorted(run.glob("evaluations/*")))
    texts = [[file.read_text() for file in found] for found in files]
    assert texts[0] == texts[1]
    assert (first := (tmp_path / "first" / "model" / "model.safetensors").read_bytes()) == (
        tmp_path / "again" / "model" / "model.safetensors"
    ).read_bytes()
    shutil.rmtree(tmp_path / "again" / "checkpoints" / "checkpoint-4")
    shutil.rmtree(tmp_path / "again" / "model")
    assert gdro("train", "--resume", str(tmp_path / "again")).returncode == 0
    assert (tmp_path / "again" / "model" / "model.safetensors").read_bytes() == first
    if kind == "GradientOracle":
        assert oracle.main([str(tmp_path / "again")]) == 0
        assert "by prompt" in capsys.readouterr().out
