"""Selection: the contract of `select`, and each method's own rule against a plain re-statement of
it."""

from __future__ import annotations

import math

import numpy as np
import pytest
from peer_worlds import exact, rates, rewards_for, step

import gdro
from gdro.controllers.contrib.categories import MOST_SOURCES
from gdro.controllers.contrib.mopps import beta_draws
from gdro.core.hashing import prompt_key

SELECTING = [name for name in gdro.controller_names() if gdro.make_controller(name).selects]
RATE = rates(60)
IDS = list(RATE)


def make(name: str, seed: int = 5, **options) -> gdro.Controller:
    controller = gdro.make_controller(name, seed=seed, **options)
    controller.describe(IDS, IDS)
    return controller


def trained(name: str, steps: int = 8, **options) -> gdro.Controller:
    controller, rng = make(name, **options), np.random.default_rng(2)
    for _ in range(steps):
        step(controller, controller.select(IDS[:40], 16), RATE, rng)
    return controller


def test_these_methods_select():
    live, peers = ["live_gdro", "text_gdro"], ["greso", "mopps", "sec", "dump"]
    assert [*live, *peers, "mt_grpo", "dppo", "adarft"] == SELECTING


@pytest.mark.parametrize("name", SELECTING)
def test_select_is_a_function_of_the_set_of_candidates(name):
    controller = trained(name)
    before = gdro.state_hash(controller.state_dict())
    chosen = controller.select(IDS, 20)
    assert len(chosen) == len(set(chosen)) == 20
    assert set(chosen) <= set(IDS)
    shuffled = [IDS[place] for place in np.random.default_rng(0).permutation(60)]
    assert controller.select(shuffled, 20) == chosen
    assert controller.select(IDS, 60)[:20] == chosen
    assert gdro.state_hash(controller.state_dict()) == before


@pytest.mark.parametrize("name", SELECTING)
def test_select_after_a_round_trip_is_the_same(name, tmp_path):
    controller = trained(name)
    gdro.save_state(tmp_path / "state.npz", controller.state_dict())
    other = make(name)
    other.load_state_dict(gdro.load_state(tmp_path / "state.npz"))
    rng, twin = np.random.default_rng(9), np.random.default_rng(9)
    for _ in range(4):
        assert controller.select(IDS, 20) == other.select(IDS, 20)
        step(controller, controller.select(IDS, 20), RATE, rng)
        step(other, other.select(IDS, 20), RATE, twin)
    assert gdro.state_hash(controller.state_dict()) == gdro.state_hash(other.state_dict())


@pytest.mark.parametrize("name", SELECTING)
def test_the_order_of_the_rewards_does_not_matter(name):
    controller, other = trained(name), trained(name)
    ids = controller.select(IDS, 20)
    rewards = rewards_for(controller.plan(ids), RATE, np.random.default_rng(1))
    order = np.random.default_rng(2).permutation(20)
    controller.observe(ids, rewards)
    other.plan(ids)
    other.observe([ids[place] for place in order], [rewards[place][::-1] for place in order])
    assert controller.select(IDS, 30) == other.select(IDS, 30)


@pytest.mark.parametrize("name", ["live_gdro", "text_gdro", "greso", "mopps", "sec", "dump"])
def test_another_seed_or_step_selects_others(name):
    fresh, other = make(name, seed=1), make(name, seed=2)
    chosen = fresh.select(IDS, 20)
    assert set(chosen) != set(other.select(IDS, 20))
    fresh.cancel(fresh.plan(chosen))
    assert set(chosen) != set(fresh.select(IDS, 20))


@pytest.mark.parametrize(
    "name", [name for name in gdro.controller_names() if name not in SELECTING]
)
def test_the_others_say_that_they_do_not_select(name):
    with pytest.raises(
        gdro.OptionError, match=r"does not select prompts; draw the batch and call plan"
    ):
        gdro.make_controller(name).select(IDS, 3)


@pytest.mark.parametrize("m", [0, 61, -1, 2.0, True, None, "3"])
def test_a_wrong_m_is_refused(m):
    with pytest.raises(gdro.PlanError, match="from 1 to the 60 candidates"):
        gdro.make_controller("mopps").select(IDS, m)


@pytest.mark.parametrize("ids", [[], ["a", "a"], ["a", ""], "abc", [1]])
def test_wrong_candidates_are_refused(ids):
    with pytest.raises(gdro.PromptIdError):
        gdro.make_controller("greso").select(ids, 1)


@pytest.mark.parametrize(
    ("a", "b"), [(1.0, 1.0), (0.4, 0.3), (6.5, 2.0), (30.0, 1.0), (200.0, 300.0)]
)
def test_beta_draws_have_the_distribution(a, b):
    count = 40_000
    keys = np.random.default_rng(0).integers(0, 2**64, count, dtype=np.uint64)
    draws = np.sort(beta_draws(np.full(count, a), np.full(count, b), keys))
    twin = np.sort(np.random.default_rng(1).beta(a, b, count))
    assert 0.0 <= draws[0] <= draws[-1] <= 1.0
    assert draws.mean() == pytest.approx(a / (a + b), abs=4 * twin.std() / math.sqrt(count))
    below = np.searchsorted(draws, twin) / count
    # Kolmogorov-Smirnov, 0.1 %
    assert np.abs(below - np.arange(count) / count).max() < 1.95 * math.sqrt(2 / count)


def test_mopps_takes_what_lies_near_the_target():
    controller = gdro.make_controller("mopps", decay=1.0, mean_rollouts=8, max_rollouts=12)
    world = {"easy": 1.0, "hard": 0.0} | {f"half{k}": 0.5 for k in range(3)}
    half = [1.0, 0.0] * 4
    for _ in range(40):
        exact(controller, {i: half if p == 0.5 else [p] * 8 for i, p in world.items()})
    assert set(controller.select(list(world), 3)) == {"half0", "half1", "half2"}


def test_mopps_tries_unseen_prompts():
    controller = gdro.make_controller("mopps", decay=1.0)
    for _ in range(50):
        exact(controller, {"solved": [1.0] * 4})
    assert controller.select(["solved", "new"], 1) == ["new"]


def rates_of(controller: gdro.Controller) -> tuple[float, float]:
    return tuple(controller.parts.selector.state.values())


def test_greso_counts_dead_visits_in_a_row():
    controller = gdro.make_controller("greso", rate_step=0.0)
    for _ in range(3):
        exact(controller, {"easy": [1.0] * 4, "hard": [0.0] * 4, "live": [1.0, 0.0, 0.0, 0.0]})
    rows = controller.table.look_up(["easy", "hard", "live", "new"]).rows
    greso = controller.parts.selector
    assert greso.keep_probability(rows).tolist() == [0.125, 0.125, 1.0, 1.0]
    exact(controller, {"easy": [0.0] * 4, "hard": [1.0, 0.0, 0.0, 0.0], "live": [1.0] * 4})
    assert greso.keep_probability(rows).tolist() == [0.5, 1.0, 0.5, 1.0]
    for _ in range(20):
        exact(controller, {"easy": [0.0] * 4})
    assert greso.keep_probability(rows)[0] == 0.01


def test_greso_rates_move_towards_their_targets():
    controller = gdro.make_controller("greso")
    batch = {"easy": [1.0] * 4, "hard": [0.0] * 4} | {
        f"live{k}": [1.0, 0.0, 0.0, 0.0] for k in range(6)
    }
    exact(controller, batch)
    assert rates_of(controller) == (0.5, 0.5)  # every prompt was new
    exact(controller, batch)  # 1/8 easy >= .25/3, 1/8 hard < .5/3
    assert rates_of(controller) == pytest.approx((0.49, 0.51))
    for _ in range(100):
        exact(controller, batch)
    assert rates_of(controller) == pytest.approx((0.05, 0.95))


def test_greso_skips_at_its_rate_and_fills_up():
    controller = gdro.make_controller("greso", rate_step=0.0)
    dead = {f"dead{k}": [0.0] * 4 for k in range(300)}
    live = {f"live{k}": [0.0, 1.0, 0.0, 0.0] for k in range(300)}
    for _ in range(2):
        exact(controller, dead | live)
    chosen = controller.select(list(dead | live), 600)
    kept = [prompt_id for prompt_id in chosen[:375] if prompt_id.startswith("dead")]
    assert len(kept) == pytest.approx(75, abs=25)
    assert set(chosen) == set(dead | live)  # nothing left but the skipped: they fill up


def test_adarft_follows_its_rule():
    controller, target, rng = gdro.make_controller("adarft"), 0.0, np.random.default_rng(0)
    for _ in range(30):
        correct = int(rng.integers(0, 5))
        exact(controller, {"a": [1.0] * correct + [0.0] * (4 - correct)})
        target = min(max(target + 50 * math.tanh(2 * (correct / 4 - 0.5)), 0.0), 100.0)
        assert controller.parts.selector.state["target"] == pytest.approx(target)
    assert controller.metrics()["target_difficulty"] == controller.parts.selector.state["target"]


def test_adarft_takes_the_nearest():
    controller = trained("adarft")
    rate = controller.belief(IDS).rate
    difficulty = 100.0 * (1.0 - np.where(np.isnan(rate), 0.5, rate))
    distance = np.abs(difficulty - controller.parts.selector.state["target"])
    chosen = {IDS.index(prompt_id) for prompt_id in controller.select(IDS, 15)}
    assert max(distance[list(chosen)]) <= min(np.delete(distance, list(chosen))) + 1e-6


def test_sec_value_follows_its_recursion():
    controller = gdro.make_controller("sec", category="source")
    for _ in range(3):
        exact(
            controller, {"x/1": [1.0, 0.0, 0.0, 0.0], "x/2": [0.0] * 4, "y/1": [1.0, 1.0, 0.0, 0.0]}
        )
    # |A| averages 2 sqrt(p (1-p)); half of x's rollouts have none
    mean_x = 2 * math.sqrt(0.25 * 0.75) / 2
    assert controller.parts.selector.state["value"][:2] == pytest.approx(
        [mean_x * (1 - 0.5**3), 1.0 - 0.5**3]
    )
    assert controller.metrics()["categories"] == 2


def test_sec_draws_categories_by_softmax():
    controller = gdro.make_controller("sec", category="source", temperature=0.5)
    exact(controller, {"x/0": [1.0, 1.0, 0.0, 0.0], "y/0": [0.0] * 4})
    candidates = [f"x/{k}" for k in range(3)] + [f"y/{k}" for k in range(30)]
    first = 0
    for _ in range(2000):
        first += controller.select(candidates, 1)[0].startswith("x")
        controller.cancel(controller.plan(["x/0"]))  # the next step
    # whatever the number of candidates
    expected = math.exp(0.5 / 0.5) / (math.exp(0.5 / 0.5) + 1.0)
    assert first / 2000 == pytest.approx(expected, abs=0.04)


def test_dump_score_is_window_mean_plus_bonus():
    controller = gdro.make_controller("dump", category="source", span=6)
    exact(controller, {"x/1": [1.0, 1.0, 0.0, 0.0], "y/1": [0.0] * 4})
    exact(controller, {"x/1": [0.0] * 4})
    # x: four |A| of 1, then four of 0, of which six are kept; y: four of 0
    bonus = [math.sqrt(2 * math.log(13) / 9), math.sqrt(2 * math.log(13) / 5)]
    assert controller.parts.selector.scores()[:2] == pytest.approx([2 / 6 + bonus[0], bonus[1]])


def test_dump_window_takes_more_than_it_holds():
    controller = gdro.make_controller("dump", category="source", span=3)
    for _ in range(5):
        exact(controller, {"x/1": [1.0, 1.0, 0.0, 0.0], "x/2": [1.0, 1.0, 0.0, 0.0]})
    assert controller.parts.selector.state["recent"][0].tolist() == [1.0, 1.0, 1.0]
    assert controller.parts.selector.state["tried"][0] == 40


@pytest.mark.parametrize("span", [1, 7, 30, 5000])
def test_dump_window_is_the_newest_of_a_queue_by_category(span):
    """The queue of each category, entered one prompt at a time in the order of the keys."""
    controller, rng = (
        gdro.make_controller("dump", category="source", span=span),
        np.random.default_rng(span),
    )
    queues: dict[str, list[float]] = {}
    for _ in range(12):
        batch = {IDS[place]: rng.random(4).tolist() for place in rng.choice(60, 20, replace=False)}
        exact(controller, batch)
        for prompt_id in sorted(batch, key=prompt_key):
            group = np.array(batch[prompt_id])
            sizes = np.sort(np.abs(group - group.mean()) / group.std())
            queues.setdefault(prompt_id.partition("/")[0], []).extend(sizes.tolist())
    for index, name in enumerate(controller.table.sources):
        newest = queues[name][-span:]
        places = np.arange(len(queues[name]) - len(newest), len(queues[name])) % span
        assert controller.parts.selector.state["recent"][index, places] == pytest.approx(
            newest, rel=1e-12
        )
        assert controller.parts.selector.state["tried"][index] == len(queues[name])


def test_bins_are_categories_and_unseen_prompts_one_more():
    controller = trained("sec")
    scores = controller.metrics()["category_score"]
    assert len(scores) == controller.bins
    assert (
        controller.metrics()["category_score_unseen"]
        == controller.parts.selector.state["value"][-1]
        > 0.0
    )
    assert scores == controller.parts.selector.state["value"][:-1].tolist()


def test_too_many_sources_are_an_error_that_changes_nothing():
    controller = gdro.make_controller("sec", category="source")
    ids = [f"{place}/1" for place in range(MOST_SOURCES + 1)]
    for call in (lambda: controller.select(ids, 1), lambda: controller.plan(ids)):
        before = gdro.state_hash(controller.state_dict())
        with pytest.raises(gdro.OptionError, match=r"at most 256 sources apart, the ids have 257"):
            call()
        assert gdro.state_hash(controller.state_dict()) == before


@pytest.mark.parametrize(
    ("name", "option", "value"),
    [
        ("greso", "keep_easy", 0.0),
        ("greso", "rate_step", 1.0),
        ("mopps", "target", 1.5),
        ("mopps", "prior", 0.0),
        ("mopps", "decay", 1.1),
        ("sec", "value_step", 0.0),
        ("sec", "temperature", 0.0),
        ("sec", "category", "family"),
        ("dump", "span", 0),
    ],
)
def test_options_out_of_range_are_refused(name, option, value):
    with pytest.raises(gdro.OptionError, match=option):
        gdro.make_controller(name, **{option: value})
