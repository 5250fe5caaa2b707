from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

import gdro
from gdro.runs.config import ConfigError, TrainConfig, load_config, recipe_names


def settings_file(folder: Path, text: str) -> Path:
    path = folder / "run.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_recipes_load_and_are_as_promised() -> None:
    assert recipe_names() == ["default", "guessed_tail", "paper/qwen3_1.7b", "qwen3_1.7b_dapo_math"]
    config = load_config()
    assert config == load_config("default")
    assert (config.model, config.data.kind, config.verifier.kind) == ("tiny", "reasoning_gym", "reasoning_gym")
    options = config.controller.options
    assert config.controller.name == "live_gdro"
    assert (options["signal"], options["eta"], config.verifier.partial_credit) == ("failure", 3.0, False)


def test_qwen_recipe_has_the_papers_values() -> None:
    config = load_config("qwen3_1.7b_dapo_math")
    assert (config.steps, config.prompts_per_step, config.mean_rollouts) == (1000, 256, 4)
    assert (config.min_rollouts, config.max_rollouts) == (2, 12)
    tuned = config.optimisation
    assert (tuned.learning_rate, tuned.beta_kl, tuned.clip_low, tuned.clip_high) == (1e-6, 1e-3, 0.2, 0.28)
    assert (tuned.advantage, tuned.advantage_clip) == ("grpo", 5.0)
    assert (config.generation.temperature, config.generation.max_completion_tokens) == (1.0, 4096)
    drawn = config.evaluation
    assert (drawn.samples, drawn.temperature, drawn.top_p, drawn.top_k) == (8, 0.6, 0.8, 20)
    assert (config.data.kind, config.verifier.kind, config.controller.name) == ("hub", "math", "paper")
    assert config.controller.options["eta"] == 0.65


@pytest.mark.parametrize("name", recipe_names())
def test_a_config_survives_its_own_yaml(name: str, tmp_path: Path) -> None:
    config = load_config(name, ["lora.r=8", "controller.inner_edges=[0.25, 0.5]", "report_to=wandb"])
    again = load_config(settings_file(tmp_path, config.to_yaml()))
    assert again == config
    assert again.to_yaml() == config.to_yaml()


@pytest.mark.parametrize(
    "text", ["1e-6", "yes", "null", "010", "a: b", "#x", "'", "x\ny", " x ", "é", "2026-11-23", "~", "="]
)
def test_texts_survive_yaml_whatever_they_look_like(text: str, tmp_path: Path) -> None:
    config = TrainConfig(model=text, output=text)
    assert load_config(settings_file(tmp_path, config.to_yaml())) == config


def test_config_makes_its_controller() -> None:
    config = load_config(None, ["controller.reward_range=[-1, 1]", "seed=7", "max_rollouts=9"])
    controller = gdro.make_controller(config.controller.name, **config.controller_arguments())
    assert (controller.seed, controller.max_rollouts, controller.reward_range) == (7, 9, (-1, 1))
    assert (controller.mean_rollouts, controller.correct_threshold) == (4, 1.0)


def test_the_horizon_is_the_length_of_the_run() -> None:
    assert load_config(None, ["steps=77"]).controller.options["horizon"] == 77
    assert load_config(None, ["steps=77", "controller.horizon=9"]).controller.options["horizon"] == 9
    assert TrainConfig().controller.options["horizon"] == TrainConfig().steps


@pytest.mark.parametrize("name", gdro.controller_names())
def test_every_controller_is_a_setting_with_all_options_written_out(name: str) -> None:
    config = TrainConfig(controller=name)
    run = {"mean_rollouts", "min_rollouts", "max_rollouts", "correct_threshold", "seed"}
    assert set(config.controller.options) == set(gdro.controller_options(name)) - run


def test_what_follows_from_the_data() -> None:
    assert TrainConfig().verifier.kind == "reasoning_gym"
    assert TrainConfig(data={"kind": "jsonl", "path": "x.jsonl"}).verifier.kind == "math"
    assert TrainConfig(verifier={"kind": "exact"}).verifier.kind == "exact"


PYTHON_ERRORS: list[tuple[dict[str, Any], str]] = [
    ({"stesp": 3}, "stesp: unknown key; did you mean steps?"),
    ({"steps": -1}, "steps = -1: must be whole number >= 1"),
    ({"steps": "4"}, "steps = '4': must be whole number >= 1"),
    ({"steps": 4.0}, "steps = 4.0: must be whole number >= 1"),
    ({"steps": True}, "steps = True: must be whole number >= 1"),
    ({"max_rollouts": 10**9}, "max_rollouts = 1000000000: must be whole number >= 1 and <= 4096"),
    ({"name": "a/b"}, "name = 'a/b': must be text"),
    ({"dtype": "int8"}, "dtype = 'int8': must be float32 | bfloat16"),
    ({"lora": 3}, "lora = 3: must be a section of `key: value` lines"),
    ({"optimisation": {"lr": 3.0}}, "optimisation.lr: unknown key; did you mean optimisation.learning_rate?"),
    ({"optimisation": {"learning_rate": float("nan")}}, "optimisation.learning_rate = nan: must be number > 0"),
    ({"learning_rate": 1.0}, "learning_rate: unknown key; did you mean optimisation.learning_rate?"),
    ({"num_generations": 8}, "num_generations: unknown key; did you mean mean_rollouts?"),
    ({"zzz": 8}, "zzz: unknown key; `gdro train --help` lists all keys"),
    ({"data": {"kind": "jsonl"}}, "data.path: missing; give list of text"),
    ({"data": {"kind": "csv"}}, "data.kind = 'csv': must be reasoning_gym | parquet | jsonl | hub"),
    ({"data": {"path": "x"}}, "data.kind (not given): must be reasoning_gym | parquet | jsonl | hub"),
    (
        {"data": {"kind": "hub", "path": "x", "heldout_path": "y"}},
        "data.heldout_path: unknown key for data.kind hub; it belongs to parquet | jsonl",
    ),
    ({"report_to": ["x"]}, "report_to = ['x']: must be list of tensorboard | wandb | trackio"),
    (
        {"min_rollouts": 5},
        "mean_rollouts (not given): must be from min_rollouts (5) to max_rollouts (12); change one of the three",
    ),
    ({"verifier": {"kind": "python"}}, "verifier.function (not given): kind python needs one: path/to/file.py:name"),
    (
        {"verifier": {"function": "f.py:f"}},
        "verifier.function = 'f.py:f': only for verifier.kind python, which is reasoning_gym here",
    ),
    (
        {"data": {"kind": "jsonl", "path": "x"}, "verifier": {"kind": "reasoning_gym"}},
        "verifier.kind = 'reasoning_gym': scores its own tasks only, and data.kind is jsonl; use math, exact or python",
    ),
    ({"controller": 3}, "controller = 3: must be a section of `key: value` lines"),
    (
        {"controller": {"name": "joint", "et": 1}},
        "controller.et = 1: unknown option of joint; did you mean controller.eta?",
    ),
    (
        {"controller": {"name": "uniform", "target": 1}},  # like none of its options
        "controller.target = 1: unknown option of uniform; it has bins, inner_edges, statistic, window, discount, k, "
        "hysteresis, reward_range, max_outstanding",
    ),
    ({"controller": {"name": "joint", "eta": "x"}}, "controller.eta = 'x': must be number"),
    (
        {"controller": {"name": "joint", "reward_range": [0.0, 1.0, 2.0]}},
        "controller.reward_range = [0.0, 1.0, 2.0]: must be list of 2 numbers",
    ),
    ({"checkpoint": {"keep": 1}}, "checkpoint.keep = 1: must be whole number >= 2"),
    (
        {"controller": "joint", "generation": {"rounds": "dynamic_sampling"}},
        "generation.rounds = 'dynamic_sampling': takes the place of a controller's choice; set controller: uniform",
    ),
    (
        {
            "controller": "uniform",
            "generation": {"rounds": "reinforce_ada"},
            "optimisation": {"advantage": "dr_grpo"},
        },
        "optimisation.advantage = 'dr_grpo': must be grpo with generation.rounds reinforce_ada, which has a mean and a "
        "spread of all its rounds",
    ),
    (
        {"controller": "uniform", "generation": {"rounds_within_budget": True}},
        "generation.rounds_within_budget = True: needs generation.rounds; one round never exceeds it",
    ),
    (
        {
            "controller": "uniform",
            "generation": {"rounds": "dynamic_sampling", "rounds_within_budget": True},
            "optimisation": {"num_iterations": 2},
        },
        "optimisation.num_iterations = 2: must be 1 with generation.rounds_within_budget",
    ),
    (
        {"controller": "uniform", "candidates": 4},
        "candidates = 4: candidates=4: controller Uniform does not select prompts; leave candidates out, or take a "
        "controller that selects (see docs/peers.md)",
    ),
    (
        {"controller": {"name": "joint", "signal": "x"}},
        "controller.signal = 'x': must be failure | variance | surrogate",
    ),
    (
        {"controller": {"name": "joint", "seed": 3}},
        "controller.seed = 3: belongs to the run; set seed at the top level",
    ),
]


@pytest.mark.parametrize(("values", "message"), PYTHON_ERRORS)
def test_wrong_settings_are_one_clear_line(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        TrainConfig(**values)
    assert str(caught.value) == message


def test_a_controllers_own_baseline_replaces_grpos_advantages_and_no_others() -> None:
    with pytest.raises(ConfigError, match=r"^optimisation.advantage = 'dr_grpo' .*with live_gdro's own baseline"):
        load_config(overrides=["optimisation.advantage=dr_grpo"])
    kept = load_config(overrides=["optimisation.advantage=dr_grpo", "controller.baseline=group"])
    assert kept.optimisation.advantage == "dr_grpo"


def test_weights_that_correct_for_the_advantage_are_told_which_it_is() -> None:
    told = TrainConfig(controller="maxrl", optimisation={"advantage": "dr_grpo", "advantage_ddof": 1})
    assert (told.controller.options["advantage"], told.controller.options["ddof"]) == ("dr_grpo", 1)
    with pytest.raises(ConfigError, match=r"advantage='grpo' of controller 'daro'.*has advantage='dr_grpo'"):
        TrainConfig(controller={"name": "daro", "advantage": "grpo"}, optimisation={"advantage": "dr_grpo"})
    with pytest.raises(ConfigError, match=r"controller.advantage .*must be grpo \| dr_grpo"):
        TrainConfig(controller="maxrl", optimisation={"advantage": "rloo"})


def test_a_value_that_the_controller_refuses_names_its_option() -> None:
    with pytest.raises(ConfigError, match=r"^controller.eta = -1 \(--set controller.eta=-1\): eta=-1.* must be "):
        load_config(None, ["controller.eta=-1"])


def test_unknown_controller_names_all_and_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"controller.name = 'jont' .* uniform \| .*; did you mean joint\?"):
        load_config(None, ["controller=jont"])


def test_all_problems_are_told_at_once_each_with_its_place(tmp_path: Path) -> None:
    path = settings_file(tmp_path, "steps: 0\noptimisation:\n  learning_rate: fast\n  advantag: grpo\n")
    with pytest.raises(ConfigError) as caught:
        load_config(path, ["seed=-1"])
    assert sorted(str(caught.value).splitlines()) == [
        "optimisation.advantag (run.yaml, line 4): unknown key; did you mean optimisation.advantage?",
        "optimisation.learning_rate = 'fast' (run.yaml, line 3): must be number > 0",
        "seed = -1 (--set seed=-1): must be whole number >= 0 and < 4294967296",
        "steps = 0 (run.yaml, line 1): must be whole number >= 1",
    ]


def test_a_config_cannot_be_changed() -> None:
    config = TrainConfig()
    with pytest.raises(ValidationError, match="frozen"):
        config.steps = 3  # type: ignore[misc]


def test_files_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError,
        match=r"nope: no recipe of that name \(default, guessed_tail, paper/qwen3.*and as a file it does not exist",
    ):
        load_config("nope")
    with pytest.raises(ConfigError, match="is a folder"):
        load_config(tmp_path)
