"""What the record says of a batch's choice: counted by hand, and by the session."""

from __future__ import annotations

import json
from collections import Counter

import numpy as np
import pytest

import gdro
from gdro import state_hash
from gdro.core.belief import live_probability
from gdro.core.errors import PromptIdError
from gdro.core.prompts import IdSubset, source_of
from gdro.engines.candidates import CandidatePool
from gdro.engines.choice import OTHERS, SOURCES, what_was_offered, with_rewards
from gdro.engines.session import ControllerSession


def controller(name="live_gdro", **options):
    return gdro.make_controller(name, mean_rollouts=4, seed=0, **options)


def test_sources_are_counted_by_the_id_and_what_came_of_them_by_prompt():
    record = what_was_offered(controller("uniform"), ["a/1", "a/2", "b/1", "x"], ["a/2", "x"])
    assert (record["offered"], record["chosen"]) == (4, 2)
    assert record["sources"] == {
        "a": {"offered": 2, "chosen": 1},
        "": {"offered": 1, "chosen": 1},
        "b": {"offered": 1, "chosen": 0},
    }
    after = with_rewards(record, ["a/2", "x"], [[1.0, 0.0, 0.0], [1.0, 1.0]])
    assert after["sources"]["a"] == {
        **{"offered": 2, "chosen": 1, "rollouts": 3, "reward": pytest.approx(1 / 3), "live": 1},
    }
    assert after["sources"][""]["live"] == 0
    assert after["sources"]["b"] == {"offered": 1, "chosen": 0}
    assert "rollouts" not in record["sources"]["a"]  # the record given is left as it is


def test_many_sources_are_cut_to_the_largest_and_none_is_lost():
    ids = [f"s{n:02d}/{m}" for n in range(SOURCES + 6) for m in range(1 + (n % 3))]
    record = what_was_offered(controller("uniform"), ids, ids)
    assert len(record["sources"]) == SOURCES + 1
    assert sum(entry["offered"] for entry in record["sources"].values()) == len(ids)
    rewards = [[0.0, 1.0]] * len(ids)
    after = with_rewards(record, ids, rewards)
    assert after["sources"][OTHERS]["live"] == after["sources"][OTHERS]["chosen"]
    assert sum(entry["live"] for entry in after["sources"].values()) == len(ids)


def test_the_expected_share_and_the_bins_are_those_of_the_belief():
    session = ControllerSession(controller(), pool=None)
    rng = np.random.default_rng(0)
    ids = [f"s{n % 3}/{n}" for n in range(24)]
    for step in range(4):
        batch = {prompt_id: None for prompt_id in ids[6 * step : 6 * step + 6]}
        chosen = session.choose(batch, step)
        plan = session.plan(list(chosen))
        session.observe([rng.integers(0, 2, n).astype(float) for n in plan.rollouts])
    record = what_was_offered(session.controller, ids, ids[:5])
    belief = session.controller.belief(ids)
    assert record["live_offered"] == pytest.approx(live_probability(*belief.beta, 4).mean())
    assert sum(record["offered_bins"]) == (belief.bins >= 0).sum()
    assert sum(record["chosen_bins"]) == (belief.bins[:5] >= 0).sum()


def test_the_session_tells_the_choice_and_keeps_it_over_a_resume():
    def session():
        one = controller()
        ids = [f"s{n % 3}/{n}" for n in range(64)]
        return ControllerSession(one, pool=CandidatePool(one, ids, 4, 0, lambda p: [None] * len(p)))

    first = session()
    chosen = first.choose({f"s0/{3 * n}": None for n in range(4)}, 0)
    plan = first.plan(list(chosen))
    first.observe([[1.0, 0.0][: int(n)] + [0.0] * (int(n) - 2) for n in plan.rollouts])
    assert (first.choice["offered"], first.choice["chosen"]) == (16, 4)
    assert sum(entry["chosen"] for entry in first.choice["sources"].values()) == 4
    assert sum(e.get("rollouts", 0) for e in first.choice["sources"].values()) == plan.total
    assert first.metrics()["gdro/live_offered"] == first.choice["live_offered"]
    second = session()
    second.load_state_dict(first.state_dict())
    assert json.dumps(second.choice) == json.dumps(first.choice)


def test_the_candidates_are_offered_and_believed_once_a_batch(monkeypatch):
    one = controller("text_gdro")
    ids = [f"s{n % 3}/{n}" for n in range(64)]
    texts = {n: f"add {n} and {n * n}" for n in range(64)}
    one.describe(ids, list(texts.values()))
    pool = CandidatePool(one, ids, 4, 0, lambda places: [None] * len(places))
    session = ControllerSession(one, pool=pool)
    asked, offers = [], []
    predict, offer = one.parts.estimator.predict, pool.offer
    monkeypatch.setattr(
        one.parts.estimator, "predict", lambda p, now: asked.append(len(p)) or predict(p, now)
    )
    monkeypatch.setattr(pool, "offer", lambda *batch: offers.append(batch) or offer(*batch))
    for step in range(3):
        drawn = {f"s{n % 3}/{n}": None for n in range(4 * step, 4 * step + 4)}
        plan = session.plan(list(session.choose(drawn, step)))
        session.observe([[1.0] * int(n) for n in plan.rollouts])
    assert asked == 3 * [16, 4, 4]  # to choose and record, to record and plan, to learn
    assert len(offers) == 3


@pytest.mark.parametrize("name", ["live_gdro", "text_gdro", "sec"])
def test_a_subset_is_chosen_from_as_its_ids_are(name):
    """Batch after batch, of one whole and then of another, and after a resume."""
    ids = tuple(f"s{n % 3}/{n}" for n in range(60))
    texts = [f"add {n} and {n * n}" for n in range(60)]
    by_subset, by_ids = controller(name), controller(name)
    for each in (by_subset, by_ids):
        each.describe(ids, texts)
    rng = np.random.default_rng(0)
    for step in range(6):
        whole = ids if step < 4 else ids[::-1]
        subset = IdSubset(whole, rng.permutation(60)[:24])
        chosen = by_subset.select(subset, 4)
        assert chosen == by_ids.select(list(subset), 4)
        rates = [by_subset.belief(subset).rate, by_ids.belief(list(subset)).rate]
        np.testing.assert_array_equal(*rates)
        assert by_subset.count_sources(subset) == Counter(map(source_of, subset))
        records = [what_was_offered(by_subset, subset, chosen)]
        records.append(what_was_offered(by_ids, list(subset), chosen))
        assert json.dumps(records[0]) == json.dumps(records[1])  # NaN for one without a posterior
        for each in (by_subset, by_ids):
            plan = each.plan(chosen)
            each.observe(chosen, [[1.0] + [0.0] * (int(n) - 1) for n in plan.rollouts])
        if step == 2:
            resumed = controller(name)
            resumed.describe(ids, texts)
            resumed.load_state_dict(by_subset.state_dict())
            by_subset.load_state_dict(by_subset.state_dict())
            assert resumed.select(subset, 4) == by_subset.select(subset, 4)
    assert state_hash(by_subset.state_dict()) == state_hash(by_ids.state_dict())


def test_a_subset_that_is_none_is_refused_as_its_ids_are():
    one, ids = controller("live_gdro"), ("a/1", "a/2", "")
    with pytest.raises(PromptIdError, match="'a/1' is in the batch twice"):
        one.select(IdSubset(ids, np.array([0, 1, 0])), 1)
    with pytest.raises(PromptIdError, match="number 1 is ''"):
        one.select(IdSubset(ids, np.array([1, 2])), 1)
    with pytest.raises(PromptIdError, match="holds no prompt id"):
        one.select(IdSubset(ids, np.array([], np.int64)), 1)


def test_a_belief_is_that_of_the_last_lesson():
    one, other = controller("text_gdro"), controller("text_gdro")
    ids = [f"s/{n}" for n in range(8)]
    for each in (one, other):
        each.describe(ids, [f"add {n} and 3" for n in range(8)])
    for step in range(3):
        before = one.belief(ids).rate
        for each in (one, other):
            plan = each.plan(ids)
            each.observe(ids, [[1.0] * int(n) for n in plan.rollouts])
        assert (one.belief(ids).rate > before).all(), step
        np.testing.assert_array_equal(one.belief(ids).rate, other.belief(ids[::-1]).rate[::-1])
    fresh = controller("text_gdro")
    fresh.describe(ids, [f"add {n} and 3" for n in range(8)])
    fresh.belief(ids)
    fresh.load_state_dict(one.state_dict())
    np.testing.assert_array_equal(fresh.belief(ids).rate, one.belief(ids).rate)
