"""A run in which the method cannot act is told so once, before it starts; few keys are printed."""

from __future__ import annotations

import pytest

import gdro
from gdro.engines.idle import acts_on_new, why_idle
from gdro.engines.trl.loop import few

IDS = [f"s{n % 4}/{n}" for n in range(100)]


def controller(name):
    return gdro.make_controller(name, mean_rollouts=4, seed=0)


@pytest.mark.parametrize(
    ("name", "acts"),
    [
        ("uniform", False),
        ("prompt_gdro", False),
        ("rollout_gdro", False),
        ("joint", False),
        ("paper", False),
        ("maxrl", True),  # weighs by the batch's own outcome
    ],
)
def test_what_a_controller_does_with_prompts_it_never_saw(name, acts):
    one = controller(name)
    before = one.state_dict()["plans_made"]
    assert acts_on_new(one, IDS) == acts
    assert one.state_dict()["plans_made"] == before  # tried on a copy


def test_no_prompt_comes_twice():
    said = why_idle(controller("joint"), IDS, 10, 100)
    assert said is not None
    assert "100 draws from 100 prompts" in said
    assert why_idle(controller("joint"), IDS, 10, 110) is None
    assert why_idle(controller("uniform"), IDS, 10, 100) is None


def test_one_that_reads_texts_knows_a_prompt_before_its_first_visit():
    reads = gdro.make_controller(
        {"estimator": "text_posterior", "allocator": "shadow_price"}, mean_rollouts=4, seed=0
    )
    assert reads.reads_texts
    assert why_idle(reads, IDS, 10, 100) is None


def test_all_prompts_carry_one_source_name():
    ids = [f"mine/{n}" for n in range(2000)]
    said = why_idle(controller("live_gdro"), ids, 16, 1600)
    assert said is not None
    assert "estimator: text_posterior" in said
    reads = gdro.make_controller("live_gdro", estimator="text_posterior", mean_rollouts=4, seed=0)
    assert why_idle(reads, ids, 16, 1600) is None
    assert why_idle(controller("live_gdro"), [*ids, "other/1"], 16, 1600) is None
    assert why_idle(controller("mopps"), ids, 16, 1600) is None  # asks for no sources


def test_few_prompts_for_many_candidates():
    ids = IDS[:46]
    said = why_idle(controller("live_gdro"), ids, 16, 1600)
    assert said is not None
    assert said.startswith("46 training prompts for 1,024 candidates a step")
    assert why_idle(controller("live_gdro"), IDS, 16, 1600) is None
    assert why_idle(controller("live_gdro"), ids, 16, 1600, factor=2) is None  # as asked for


def test_more_candidates_than_there_are_prompts_are_told_where_they_were_asked_for():
    said = why_idle(controller("live_gdro"), IDS, 16, 1600, factor=8)
    assert said is not None
    assert "candidates=8 asks for 128 candidates a step" in said
    assert "the training set has 100 prompts" in said
    assert "Set candidates to at most 6" in said
    assert why_idle(controller("live_gdro"), IDS, 16, 1600, factor=6) is None


def test_of_gdros_own_keys_few_are_printed_and_all_of_trls():
    logs = {"loss": 1.0, "gdro/any_correct": 0.5, "gdro/weight/bin_0": 1.0, "gdro/regret": 2.0}
    assert few(logs) == {"loss": 1.0, "gdro/any_correct": 0.5}
    assert "gdro/regret" in logs  # what trackers get is left as it is
