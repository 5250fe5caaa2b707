"""Plans: what they resolve to, and what is refused before anything is trained."""

from __future__ import annotations

from pathlib import Path

import pytest

from gdro.config import load_config
from gdro.config.base import ConfigError
from gdro.config.schema import EvaluationConfig
from gdro.core.errors import RunError
from gdro.lab.compare import main
from gdro.lab.compare_plan import jobs_of, locate_plan, narrowed, plan_names, plan_text, read_plan

PLAN = """
name: small
seeds: [0, 7]
overrides: {max_steps: 3, eval_steps: 1, learning_rate: 1e-5, data.size: 64, data.heldout_size: 52}
methods:
  plain: {controller: uniform}
  both: {controller: {name: joint, eta: 7.0}, advantage: rloo}
"""


def _plan(tmp_path, text=PLAN):
    path = tmp_path / "small.yaml"
    path.write_text(text)
    return read_plan(path)


def test_jobs_share_all_but_what_their_method_is(tmp_path):
    plan = _plan(tmp_path)
    jobs = jobs_of(plan, tmp_path)
    assert [(job.method, job.seed) for job in jobs] == [
        ("plain", 0),
        ("both", 0),
        ("plain", 7),
        ("both", 7),
    ]
    assert plan.against == "plain"
    assert [job.config.seed for job in jobs] == [0, 0, 7, 7]
    for job in jobs:
        assert (job.config.max_steps, job.config.eval_steps, job.config.learning_rate) == (
            3,
            1,
            1e-5,
        )
        assert job.config.verifier.workers == 1
    plain, both = (job.config for job in jobs[:2])
    assert (plain.controller.name, both.controller.name, both.controller.options["eta"]) == (
        "uniform",
        "joint",
        7.0,
    )
    assert plain.model_dump(exclude={"run_name", "controller", "advantage"}) == both.model_dump(
        exclude={"run_name", "controller", "advantage"}
    )


def test_a_plan_reads_back_as_it_was_written(tmp_path):
    plan = narrowed(_plan(tmp_path), ["both"], [3], ["max_steps=9"])
    again = _plan(tmp_path, plan_text(plan))
    assert again == plan
    (job,) = jobs_of(again, tmp_path)
    assert (job.method, job.seed, job.config.max_steps) == ("both", 3, 9)


def test_a_controller_by_its_name_starts_from_its_own_defaults(tmp_path):
    """Not from what the recipe says of one of that name: a row means the same whatever the recipe
    becomes."""
    assert load_config().controller.options["pace"] is not None
    text = (
        "name: a\nseeds: [1]\nmethods: {m: {controller: {name: live_gdro, eta: 2.0}}, n:"
        " {controller.eta: 2.0}}\n"
    )
    named, keyed = (
        job.config.controller.options for job in jobs_of(_plan(tmp_path, text), tmp_path)
    )
    assert (named["eta"], named["pace"]) == (2.0, None)
    assert (keyed["eta"], keyed["pace"]) == (2.0, load_config().controller.options["pace"])


def test_a_recipe_is_looked_for_beside_the_plan(tmp_path):
    (tmp_path / "mine.yaml").write_text(
        load_config().to_yaml().replace("learning_rate: 0.0002", "learning_rate: 0.5")
    )
    jobs = jobs_of(
        _plan(tmp_path, "recipe: mine.yaml\nname: a\nseeds: [1]\nmethods: {m: }\n"), tmp_path
    )
    assert jobs[0].config.learning_rate == 0.5


@pytest.mark.parametrize("name", plan_names())
def test_the_plans_of_the_package_are_usable_and_fair(name):
    path = locate_plan(name)
    plan = read_plan(path)
    assert plan.name == name
    jobs = jobs_of(narrowed(plan, [], [0], []), path.parent)
    assert len({(job.rollouts, job.moments) for job in jobs}) == 1
    alike = {
        "data": True,
        "model": True,
        "verifier": True,
        "evaluation": set(EvaluationConfig.model_fields) - {"every"},
    }
    assert len({job.config.model_dump_json(include=alike) for job in jobs}) == 1
    assert plan.against == "uniform"


def test_all_that_is_wrong_with_a_plan_is_told_at_once(tmp_path):
    text = PLAN.replace("name: small", "name: small\nbaseline: plane\nran: 3")
    with pytest.raises(ConfigError) as caught:
        _plan(tmp_path, text.replace("[0, 7]", "[0, 0]"))
    told = sorted(line.partition(" (")[0] for line in str(caught.value).splitlines())
    assert told == ["baseline = 'plane'", "ran = 3", "seeds = [0, 0]"]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("seeds:", "seads:", r"seads \(small.yaml, line 3\): unknown key; did you mean seeds\?"),
        ("[0, 7]", "[0, 0]", "seeds = .*: give at least one seed, each once"),
        ("[0, 7]", "[]", "seeds = .*: give at least one seed"),
        ("[0, 7]", "[a]", "seeds = "),
        ("max_steps: 3", "seed: 3", "seed is given to each run by the comparison"),
        (
            "name: small",
            "name: small\nbaseline: plane",
            r"baseline = 'plane'.*did you mean plain\?",
        ),
    ],
)
def test_a_wrong_plan_names_key_and_line(tmp_path, old, new, said):
    with pytest.raises(ConfigError, match=said):
        _plan(tmp_path, PLAN.replace(old, new))


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("eta: 7.0", "eat: 7.0", r"(?s)method both:.*controller.eat.*did you mean 'eta'\?"),
        (
            "advantage: rloo",
            "max_steps: 4",
            "both: 4 x 16 x 4 rollouts where plain has 3 x 16 x 4; a method",
        ),
        ("advantage: rloo", "data.size: 4", "data.size must be the same.*put it under `overrides`"),
        (
            "advantage: rloo",
            "evaluation: {num_generations: 4}",
            "evaluation.num_generations must be the same",
        ),
        ("advantage: rloo", "eval_steps: 2", "eval_steps 2 of 3 steps where plain has 1 of 3;"),
        ("advantage: rloo", "seed: 4", "the comparison gives it to each run"),
        (
            "advantage: rloo",
            "num_generations: 2",
            "both: 3 x 16 x 2 rollouts where plain has 3 x 16 x 4",
        ),
    ],
)
def test_a_wrong_method_is_named(tmp_path, old, new, said):
    with pytest.raises(ConfigError, match=said):
        jobs_of(_plan(tmp_path, PLAN.replace(old, new)), tmp_path)


def test_a_method_may_spread_the_same_rollouts_over_more_prompts(tmp_path):
    spread = "prompts_per_step: 32, num_generations: 2"
    jobs = jobs_of(_plan(tmp_path, PLAN.replace("advantage: rloo", spread)), tmp_path)
    assert [job.shape for job in jobs] == ["3 x 16 x 4", "3 x 32 x 2"] * 2
    assert {job.rollouts for job in jobs} == {192}


def test_a_method_may_make_more_and_smaller_steps_of_the_same_rollouts(tmp_path):
    smaller = "max_steps: 12, prompts_per_step: 4, eval_steps: 4"
    jobs = jobs_of(_plan(tmp_path, PLAN.replace("advantage: rloo", smaller)), tmp_path)
    assert [job.shape for job in jobs] == ["3 x 16 x 4", "12 x 4 x 4"] * 2
    assert {(job.rollouts, job.moments) for job in jobs} == {(192, 3.0)}


def test_updates_on_the_same_rollouts_are_not_more_rollouts(tmp_path):
    text = (
        PLAN[: PLAN.index("  both:")]
        + "  twice: {controller: joint, num_iterations: 2, max_steps: 6, eval_steps: 2}\n"
    )
    plain, both = jobs_of(_plan(tmp_path, text), tmp_path)[:2]
    assert plain.rollouts == both.rollouts
    assert both.shape == plain.shape
    with pytest.raises(ConfigError, match="twice: 2 x 16 x 4 rollouts where plain has 3 x 16 x 4"):
        jobs_of(
            _plan(tmp_path, text.replace("max_steps: 6, eval_steps: 2", "max_steps: 3")), tmp_path
        )


def test_check_names_the_methods_that_spend_more(tmp_path, capsys):
    rounds = "controller: uniform, generation.rounds: dynamic_sampling"
    text = (
        PLAN[: PLAN.index("  both:")]
        + f"  more: {{{rounds}}}\n  within: {{{rounds}, generation.rounds_within_budget: true}}\n"
    )
    (tmp_path / "small.yaml").write_text(text)
    assert main([str(tmp_path / "small.yaml"), "--check"]) == 0
    assert "rollouts of a prompt); more by rounds: more\n" in capsys.readouterr().out


def test_check_says_what_would_run_and_trains_nothing(tmp_path, capsys):
    (tmp_path / "small.yaml").write_text(PLAN)
    assert main([str(tmp_path / "small.yaml"), "--check"]) == 0
    said = capsys.readouterr().out
    assert "small: 2 methods x 2 seeds = 4 runs" in said
    assert "each 192 rollouts (steps x prompts of a step x rollouts of a prompt)\n" in said
    assert "plain" in said
    assert "(baseline)" in said
    assert said.count("64 prompts to train on, 52 held out\n") == 1, "seeds share their data"
    assert [path.name for path in tmp_path.iterdir()] == ["small.yaml"]


def test_check_names_the_run_whose_data_cannot_be_made(tmp_path):
    cell = '{family: chain_sum, level: "1", config: {min_terms: 2, max_terms: 2, max_digits: 1}}'
    short = f"{{seed: 7, data.size: 400, data.heldout_size: 8, data.cells: [{cell}]}}"
    text = PLAN + f"by_seed:\n- {{seed: 0}}\n- {short}\n"
    (tmp_path / "small.yaml").write_text(text)
    with pytest.raises(RunError, match=r"plain seed 7: .*chain_sum/1: only .* 400 wanted"):
        main([str(tmp_path / "small.yaml"), "--check"])


RESEARCH = sorted((Path(__file__).parents[2] / "research" / "plans").glob("*.yaml"))


@pytest.mark.parametrize("path", RESEARCH, ids=lambda path: path.stem)
def test_the_plans_of_research_say_before_they_run_what_will_be_said(path):
    plan = read_plan(path)
    assert plan.name == path.stem
    assert bool(plan.claims) != plan.name.endswith("_pilot"), "a pilot claims nothing"
    jobs = jobs_of(narrowed(plan, [], plan.seeds[:2], []), path.parent)
    assert len({(job.rollouts, job.moments) for job in jobs}) == 1
    seeds = {(job.seed, job.config.data.seed) for job in jobs}
    assert len(seeds) == 2, "each seed has data of its own"
    assert all(seed == data for seed, data in seeds)
    assert {claim.method for claim in plan.claims} <= set(plan.methods)


def test_a_method_may_hide_the_names_of_the_sources(tmp_path):
    hidden = PLAN.replace(
        "plain: {controller: uniform}", "plain: {controller: uniform, data.source_labels: false}"
    )
    plain, both = jobs_of(_plan(tmp_path, hidden), tmp_path)[:2]
    assert (plain.config.data.source_labels, both.config.data.source_labels) == (False, True)
    assert plain.config.data.model_copy(update={"source_labels": True}) == both.config.data
