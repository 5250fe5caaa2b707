from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

import gdro
from gdro.config import ConfigError, TrainConfig, controller_of, load_config, recipe_names
from gdro.config.explain import RENAMED
from gdro.config.keys import keys_of, nearest
from gdro.config.reference import COMMON, MARK, full_text, help_text, tables
from gdro.engines.compat import DEFAULT_CONTROLLER


def settings_file(folder: Path, text: str) -> Path:
    path = folder / "run.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_recipes_load_and_are_as_promised() -> None:
    assert recipe_names() == [
        "default",
        "guessed_tail",
        "paper/qwen3_1.7b",
        "qwen3_1.7b_dapo_math",
        "smollm2",
    ]
    config = load_config()
    assert config == load_config("default")
    assert (config.model, config.data.kind, config.verifier.kind) == (
        "tiny",
        "reasoning_gym",
        "reasoning_gym",
    )
    options = config.controller.options
    assert config.controller.name == DEFAULT_CONTROLLER
    assert (options["size_power"], config.verifier.partial_credit) == (0.25, False)


def test_qwen_recipe_has_the_papers_values() -> None:
    config = load_config("qwen3_1.7b_dapo_math")
    assert (config.max_steps, config.prompts_per_step, config.num_generations) == (1000, 256, 4)
    assert (config.min_rollouts, config.max_rollouts) == (2, 12)
    assert (config.learning_rate, config.beta, config.epsilon, config.epsilon_high) == (
        1e-6,
        1e-3,
        0.2,
        0.28,
    )
    assert (config.advantage, config.advantage_clip) == ("grpo", 5.0)
    assert (config.temperature, config.max_completion_length) == (1.0, 4096)
    drawn = config.evaluation
    assert (drawn.num_generations, drawn.temperature, drawn.top_p, drawn.top_k) == (8, 0.6, 0.8, 20)
    assert (config.data.kind, config.verifier.kind, config.controller.name) == (
        "hub",
        "math",
        "paper",
    )
    assert config.controller.options["eta"] == 0.65


@pytest.mark.parametrize("name", recipe_names())
def test_a_config_survives_its_own_yaml(name: str, tmp_path: Path) -> None:
    config = load_config(name, ["lora.r=8", "controller.reward_range=[0, 1.5]", "report_to=wandb"])
    again = load_config(settings_file(tmp_path, config.to_yaml()))
    assert again == config
    assert again.to_yaml() == config.to_yaml()


@pytest.mark.parametrize(
    "text",
    ["1e-6", "yes", "null", "010", "a: b", "#x", "'", "x\ny", " x ", "é", "2026-11-23", "~", "="],
)
def test_texts_survive_yaml_whatever_they_look_like(text: str, tmp_path: Path) -> None:
    config = TrainConfig(model=text, output_dir=text)
    assert load_config(settings_file(tmp_path, config.to_yaml())) == config


def test_config_makes_its_controller() -> None:
    config = load_config(None, ["controller.reward_range=[-1, 1]", "seed=7", "max_rollouts=9"])
    controller = controller_of(config)
    assert (controller.seed, controller.facts.max_rollouts, controller.reward_range) == (
        7,
        9,
        (-1, 1),
    )
    assert (controller.mean_rollouts, controller.facts.correct_threshold) == (4, 1.0)


def test_the_horizon_is_the_length_of_the_run() -> None:
    def horizon(*texts: str) -> object:
        exp3p = "controller={name: prompt_gdro, weigher: {adversary: exp3p}}"
        return controller_of(load_config(None, [exp3p, *texts])).parts.options()["weigher"][
            "horizon"
        ]

    assert horizon("max_steps=77") == 77
    assert horizon("max_steps=77", "num_iterations=2") == 39
    assert horizon("max_steps=77", "controller.weigher.horizon=9") == 9


def test_a_controller_may_be_a_composition() -> None:
    parts = {
        "selector": "live",
        "allocator": "sqrt_law",
        "weigher": {"name": "adversary", "eta": 3.0},
    }
    config = TrainConfig(controller=parts)
    made = gdro.make_controller(parts, run={"horizon": config.max_steps})
    assert controller_of(config).parts.options() == made.parts.options()
    assert TrainConfig(**config.model_dump()) == config
    with pytest.raises(ConfigError) as caught:
        TrainConfig(controller=parts | {"weigher": {"name": "adversry"}, "allocator": "sqrt"})
    told = sorted(str(caught.value).splitlines())
    assert [line.partition(" =")[0] for line in told] == [
        "controller.allocator",
        "controller.weigher",
    ]
    assert "did you mean 'adversary'?" in told[1]


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
    ({"max_stesp": 3}, "max_stesp: unknown key; did you mean max_steps?"),
    ({"max_steps": -1}, "max_steps = -1: must be whole number >= 1"),
    ({"max_steps": "4"}, "max_steps = '4': must be whole number >= 1"),
    ({"max_steps": 4.0}, "max_steps = 4.0: must be whole number >= 1"),
    ({"max_steps": True}, "max_steps = True: must be whole number >= 1"),
    (
        {"max_rollouts": 10**9},
        "max_rollouts = 1000000000: must be whole number >= 1 and <= 4096 or null",
    ),
    (
        {"run_name": "my run"},
        "run_name = 'my run': must be text that matches ^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$",
    ),
    (
        {"hub_model_id": "a b"},
        "hub_model_id = 'a b': must be text that matches ^[\\w.-]+(/[\\w.-]+)?$",
    ),
    ({"dtype": "int8"}, "dtype = 'int8': must be float32 | bfloat16"),
    ({"lora": 3}, "lora = 3: must be a section of `key: value` lines"),
    ({"learning_rate": float("nan")}, "learning_rate = nan: must be number > 0"),
    (
        {"train": {"learning_rate": 1.0}},
        "train: unknown key; `gdro train --help-all` lists all keys",
    ),
    ({"lr": 3.0}, "lr: is called learning_rate now"),
    ({"n_min": 1}, "n_min: is called min_rollouts now"),
    (
        {"evaluation": {"tempertaure": 1.0}},
        "evaluation.tempertaure: unknown key; did you mean evaluation.temperature?",
    ),
    ({"zzz": 8}, "zzz: unknown key; `gdro train --help-all` lists all keys"),
    ({"data": {"kind": "jsonl"}}, "data.path: missing; give list of text"),
    ({"data": {"kind": "csv"}}, "data.kind = 'csv': must be reasoning_gym | jsonl | parquet | hub"),
    (
        {"data": {"path": "x"}},
        "data.kind (not given): must be reasoning_gym | jsonl | parquet | hub; set it, or give a"
        " file that ends in .jsonl | .jsonl.gz | .parquet",
    ),
    (
        {"data": {"kind": "reasoning_gym", "path": "x.txt"}},
        "data.path: unknown key for data.kind reasoning_gym; it belongs to jsonl | parquet | hub;"
        " set data.kind, or give a file that ends in .jsonl | .jsonl.gz | .parquet",
    ),
    (
        {"data": {"kind": "hub", "path": "x", "heldout_path": "y"}},
        "data.heldout_path: unknown key for data.kind hub; it belongs to jsonl | parquet",
    ),
    (
        {"data": {"path": "a.jsonl", "source": "mine", "source_column": "origin"}},
        "data.source_column = 'origin': data.source names the source of every row; leave one ",
    ),
    (
        {"generation": {"backend": "transformers", "rows": 4}},
        "generation.rows = 4: only for generation.backend fast, which is transformers here",
    ),
    (
        {"data": {"chat_template_kwargs": {"documents": ["a"]}}},
        "data.chat_template_kwargs.documents = ['a']: must be a valid boolean or a valid integer"
        " or a valid number or a valid string",
    ),
    (
        {"controller": {"name": "joint", "eta": float("nan")}},
        "controller.eta = nan: must be a finite number",
    ),
    ({"data": {"cells": [{"family": 1}]}}, "data.cells = [{'family': 1}]: row 1: family "),
    ({"report_to": ["x"]}, "report_to = ['x']: must be list of tensorboard | wandb | trackio"),
    (
        {"min_rollouts": 5},
        "num_generations (not given): must be min_rollouts (5) or more; change one of the two",
    ),
    (
        {"verifier": {"kind": "python"}},
        "verifier.function (not given): kind python needs one: path/to/file.py:name",
    ),
    (
        {"verifier": {"function": "f.py:f"}},
        "verifier.function = 'f.py:f': only for verifier.kind python, which is reasoning_gym here",
    ),
    (
        {"data": {"kind": "jsonl", "path": "x"}, "verifier": {"kind": "reasoning_gym"}},
        (
            "verifier.kind = 'reasoning_gym': scores its own tasks only, and data.kind is jsonl;"
            " use math, exact or python"
        ),
    ),
    ({"controller": 3}, "controller = 3: must be a section of `key: value` lines"),
    (
        {"controller": {"name": "joint", "et": 1}},
        "controller.et = 1: controller 'joint' has no option 'et'; did you mean 'eta'?",
    ),
    (
        {"controller": {"name": "uniform", "pace": 0.1}},
        "controller.pace = 0.1: controller 'uniform' has no option 'pace'; it is an option of ",
    ),
    ({"controller": {"name": "joint", "eta": "x"}}, "controller.eta = 'x': eta='x' "),
    (
        {"controller": {"name": "joint", "seed": 3}},
        "controller.seed = 3: belongs to the run; set seed at the ",
    ),
    (
        {"controller": {"name": "joint", "mean_rollouts": 3}},
        "controller.mean_rollouts = 3: belongs to the run; set num_generations at the top level",
    ),
    ({"save_total_limit": 1}, "save_total_limit = 1: must be whole number >= 2"),
    (
        {"controller": "joint", "generation": {"rounds": "dynamic_sampling"}},
        (
            "generation.rounds = 'dynamic_sampling': rounds dynamic_sampling takes the place of a"
            " controller's choice, and controller 'joint' makes one; take controller uniform"
        ),
    ),
    (
        {
            "controller": "uniform",
            "generation": {"rounds": "reinforce_ada"},
            "advantage": "dr_grpo",
        },
        (
            "advantage = 'dr_grpo': rounds reinforce_ada has a mean and a spread of all its rounds"
            " to compare rewards with; set advantage: grpo"
        ),
    ),
    (
        {"controller": "uniform", "generation": {"rounds_within_budget": True}},
        (
            "generation.rounds_within_budget = True: needs rounds; one round never exceeds the"
            " budget"
        ),
    ),
    (
        {
            "controller": "uniform",
            "generation": {"rounds": "dynamic_sampling", "rounds_within_budget": True},
            "num_iterations": 2,
        },
        "num_iterations = 2: must be 1 with rounds_within_budget",
    ),
    ({"controller": "uniform", "candidates": 4}, "candidates = 4: candidates=4: controller "),
]


@pytest.mark.parametrize(("values", "message"), PYTHON_ERRORS)
def test_wrong_settings_are_one_clear_line(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        TrainConfig(**values)
    (line,) = str(caught.value).splitlines()
    assert line == message or (message.endswith(" ") and line.startswith(message))


@pytest.mark.parametrize("old", RENAMED)
def test_a_name_that_a_setting_had_before_is_an_error_that_says_the_new_one(old: str) -> None:
    section, _, key = old.rpartition(".")
    with pytest.raises(ConfigError) as caught:
        TrainConfig(**({section: {key: 1}} if section else {key: 1}))
    assert str(caught.value) == f"{old}: is called {RENAMED[old]} now"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("optimisation.learning_rate", "learning_rate"),
        ("optimisation.advantage_clip", "advantage_clip"),
        ("generation.temperature", "temperature"),
        ("vllm_mode", "generation.vllm_mode"),
        ("vllm_server_base_url", "generation.vllm_server_base_url"),
    ],
)
def test_a_setting_that_stood_in_another_section_is_found_by_its_name(old: str, new: str) -> None:
    section, _, key = old.rpartition(".")
    with pytest.raises(ConfigError) as caught:
        TrainConfig(**({section: {key: 1}} if section else {key: 1}))
    assert str(caught.value) == f"{old}: unknown key; did you mean {new}?"


def test_a_wrong_option_does_not_hide_the_rules_of_its_section() -> None:
    with pytest.raises(ConfigError) as caught:
        TrainConfig(verifier={"kind": "python", "timeout": -1.0}, data=3)
    assert sorted(str(caught.value).splitlines()) == [
        "data = 3: must be a section of `key: value` lines",
        "verifier.function (not given): kind python needs one: path/to/file.py:name",
        "verifier.timeout = -1.0: must be number > 0",
    ]


def test_every_name_that_errors_give_is_a_setting() -> None:
    keys = {key.path for key in keys_of(TrainConfig)}
    assert set(RENAMED.values()) <= keys
    assert not keys & RENAMED.keys()


def test_a_controllers_own_baseline_replaces_grpos_advantages_and_no_others() -> None:
    with pytest.raises(
        ConfigError, match=r"^advantage = 'rloo' .*does not go with the advantage 'rloo'; set adv"
    ):
        load_config(overrides=["advantage=rloo"])
    kept = load_config(overrides=["advantage=rloo", "controller.baseline=group"])
    assert kept.advantage == "rloo"
    assert controller_of(load_config(overrides=["advantage=dr_grpo"])).sets_baselines


def test_weights_that_correct_for_the_advantage_are_told_which_it_is() -> None:
    told = controller_of(
        TrainConfig(controller="maxrl", advantage="dr_grpo", advantage_ddof=1)
    ).parts.options()
    assert (told["weigher"]["advantage"], told["weigher"]["ddof"]) == ("dr_grpo", 1)
    with pytest.raises(
        ConfigError,
        match=r"controller.*advantage='grpo' of weigher 'daro'.*has advantage='dr_grpo'",
    ):
        TrainConfig(
            controller={"name": "daro", "weigher": {"advantage": "grpo"}}, advantage="dr_grpo"
        )
    with pytest.raises(ConfigError, match=r"controller.*rloo"):
        TrainConfig(controller="maxrl", advantage="rloo")


def test_every_option_that_a_controller_refuses_is_named_at_once() -> None:
    wrong = ["controller.eta=-1", "controller.bins=x", "controller.etta=2"]
    with pytest.raises(ConfigError) as caught:
        load_config(None, wrong)
    told = str(caught.value).splitlines()
    assert sorted(line.partition(" =")[0] for line in told) == [
        "controller.bins",
        "controller.eta",
        "controller.etta",
    ]
    assert "controller.eta = -1 (--set controller.eta=-1): eta=-1" in str(caught.value)


def test_unknown_controller_names_the_nearest() -> None:
    with pytest.raises(
        ConfigError, match=r"controller.name = 'jont' \(--set controller=jont\): .* mean 'joint'"
    ):
        load_config(None, ["controller=jont"])


def test_all_problems_are_told_at_once_each_with_its_place(tmp_path: Path) -> None:
    path = settings_file(
        tmp_path,
        "max_steps: 0\nlearning_rate: fast\nadvantag: grpo\nmin_rollouts: 5\noptimisation:\n "
        " clip_low: 0.1\n  beta_kl: 0\nverifier: {kind: python}\n",
    )
    with pytest.raises(ConfigError) as caught:
        load_config(path, ["seed=-1", "controller.eta=-3"])
    assert sorted(str(caught.value).splitlines()) == [
        "advantag (run.yaml, line 3): unknown key; did you mean advantage?",
        "learning_rate = 'fast' (run.yaml, line 2): must be number > 0",
        "max_steps = 0 (run.yaml, line 1): must be whole number >= 1",
        "num_generations (not given): must be min_rollouts (5) or more; change one of the two",
        "optimisation.beta_kl (run.yaml, line 7): is called beta now",
        "optimisation.clip_low (run.yaml, line 6): is called epsilon now",
        "seed = -1 (--set seed=-1): must be whole number >= 0 and < 4294967296",
        "verifier.function (not given): kind python needs one: path/to/file.py:name",
    ]


def test_a_rule_is_not_told_of_a_setting_that_is_wrong_by_itself() -> None:
    with pytest.raises(ConfigError) as caught:
        TrainConfig(
            min_rollouts=0,
            num_generations=1,
            data={"kind": "no"},
            verifier={"kind": "reasoning_gym"},
        )
    told = [line.partition(" =")[0] for line in str(caught.value).splitlines()]
    assert sorted(told) == ["data.kind", "min_rollouts"]


def test_lengths_come_from_the_model() -> None:
    def lengths(positions: int | None, **given: int) -> tuple[int, int]:
        config = TrainConfig(**given).for_model(positions)
        return config.lengths.prompt, config.lengths.completion

    assert lengths(None) == lengths(40960) == (1024, 1024)
    assert lengths(512) == (256, 256)
    assert lengths(512, max_completion_length=100) == (412, 100)
    assert lengths(512, max_prompt_length=100) == (100, 412)
    assert lengths(512, max_prompt_length=300, max_completion_length=300) == (
        300,
        300,
    ), "told by check_context"


def test_bounds_that_are_not_given_follow_the_number_of_rollouts() -> None:
    for mean, low, high in ((1, 1, 12), (4, 2, 12), (16, 2, 48)):
        facts = controller_of(TrainConfig(num_generations=mean)).facts
        assert (facts.mean_rollouts, facts.min_rollouts, facts.max_rollouts) == (mean, low, high)


def test_paths_may_begin_with_the_home_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    config = TrainConfig(
        output_dir="~/run",
        model="~/model",
        data={"kind": "jsonl", "path": ["~/a.jsonl", "b.jsonl"], "heldout_path": "~/c.jsonl"},
        verifier={"kind": "python", "function": "~/f.py:f"},
    )
    assert (config.output_dir, config.model, config.verifier.function) == (
        "/home/me/run",
        "/home/me/model",
        "/home/me/f.py:f",
    )
    assert config.data.model_dump()["path"] == ("/home/me/a.jsonl", "b.jsonl")
    assert config.data.model_dump()["heldout_path"] == ("/home/me/c.jsonl",)


def test_a_config_cannot_be_changed() -> None:
    config = TrainConfig()
    with pytest.raises(ValidationError, match="frozen"):
        config.max_steps = 3  # type: ignore[misc]


def test_files_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError,
        match=(
            r"nope: no recipe of that name \(default, guessed_tail, paper/qwen3.*and as a file it"
            r" does not exist"
        ),
    ):
        load_config("nope")
    with pytest.raises(ConfigError, match="is a folder"):
        load_config(tmp_path)


PAGE = Path(__file__).parents[2] / "docs" / "configuration.md"


def test_the_page_is_up_to_date() -> None:
    page = PAGE.read_text(encoding="utf-8").partition(MARK)[2]
    assert page == tables(), "run: python -m gdro.config.reference"


def test_every_key_is_explained() -> None:
    text, page = full_text(), tables()
    for key in keys_of(TrainConfig):
        assert len(key.meaning) > 10, key.path
        assert f"\n- {key.path}" in text
        assert f"\n- `{key.path}`" in page


def test_the_common_settings_fit_one_screen() -> None:
    lines = help_text().splitlines()
    assert len(lines) <= 32
    assert max(map(len, lines)) <= 120
    assert set(COMMON) <= {key.path for key in keys_of(TrainConfig)}


def test_keys_are_few_and_their_names_are_unique() -> None:
    names = [(key.path, key.kind) for key in keys_of(TrainConfig)]
    assert len(names) == len(set(names))
    assert len([name for name, kind in names if not kind]) <= 65


def test_defaults_shown_are_the_defaults() -> None:
    follow = {"verifier.kind", "controller.name", "max_rollouts"}
    config = TrainConfig(lora={}).model_dump(mode="json")
    for key in keys_of(TrainConfig):
        if not key.kind and key.path not in follow:
            value = config
            for part in key.path.split("."):
                value = value[part]
            texts = {None: "null", True: "true", False: "false"}
            plain = "[" + ", ".join(value) + "]" if isinstance(value, list) else value
            expected = texts[plain] if plain is None or isinstance(plain, bool) else str(plain)
            assert key.default == expected, key.path


def test_nearest() -> None:
    known = ["steps", "seed", "a.every", "b.every", "b.prompts"]
    assert nearest("stesp", known) == "steps"
    assert nearest("b.evry", known) == "b.every"
    assert nearest("c.prompt", known) == "b.prompts"
    assert nearest("qqq", known) is None
