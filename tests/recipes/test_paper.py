"""The paper's recipes: they load, hold appendix A's values, and the verl script asks for keys that
exist."""

import subprocess
from importlib import resources
from pathlib import Path

import pytest

from gdro.config import controller_of, load_config, recipe_names
from gdro.engines.verl.settings import build_controller, read_settings

SCRIPT = Path(str(resources.files("gdro") / "recipes" / "paper" / "verl.sh"))
METHODS = {
    "grpo": "uniform",
    "prompt": "paper_prompt",
    "rollout": "paper_rollout",
    "joint": "paper",
}


def _overrides(*arguments: str) -> dict[str, str]:
    said = subprocess.run(
        ["bash", str(SCRIPT), "--print", *arguments], capture_output=True, text=True, check=True
    )
    return dict(line.split("=", 1) for line in said.stdout.splitlines())


def _config(overrides: dict[str, str]) -> dict:
    import yaml

    whole: dict = {}
    for key, text in overrides.items():
        *path, last = key.lstrip("+").split(".")
        node = whole
        for part in path:
            node = node.setdefault(part, {})
        node[last] = yaml.safe_load(text)
    return whole


def test_the_recipes_are_found_by_name() -> None:
    assert {"default", "qwen3_1.7b_dapo_math", "paper/qwen3_1.7b"} <= set(recipe_names())


@pytest.mark.parametrize("controller", METHODS.values())
def test_one_recipe_serves_the_four_methods(controller: str) -> None:
    config = load_config("paper/qwen3_1.7b", [f"controller={controller}"])
    assert config.controller.name == controller
    assert (config.prompts_per_step, config.num_generations, config.max_steps) == (256, 4, 1000)
    assert (config.min_rollouts, config.max_rollouts) == (2, 12)
    assert (config.learning_rate, config.beta, config.epsilon, config.epsilon_high) == (
        1e-6,
        1e-3,
        0.2,
        0.28,
    )
    assert (config.advantage, config.advantage_clip) == ("grpo", 5.0)
    assert (config.max_prompt_length, config.max_completion_length) == (3200, 4096)
    tested = config.evaluation
    assert (tested.num_generations, tested.temperature, tested.top_p, tested.top_k) == (
        8,
        0.6,
        0.8,
        20,
    )


def test_the_joint_controller_has_the_values_of_appendix_a() -> None:
    parts = controller_of(load_config("paper/qwen3_1.7b")).parts.options()
    wanted = {
        "estimator": {"bins": 10},
        "weigher": {"eta": 0.65, "beta": 0.12, "omega_max": 15.0},
        "allocator": {
            "arm_eta": 0.65,
            "arm_gamma": 0.01,
            "arm_ema": 0.4,
            "price_step": 0.05,
            "coupled": False,
        },
    }
    for slot, options in wanted.items():
        assert {key: parts[slot][key] for key in options} == options


@pytest.mark.parametrize("size", ["1.7b", "4b", "8b"])
@pytest.mark.parametrize("method", list(METHODS))
def test_the_verl_script_gives_the_plug_in_what_it_takes(size: str, method: str) -> None:
    overrides = _overrides(size, method)
    assert overrides["actor_rollout_ref.model.path"] == f"Qwen/Qwen3-{size.upper()}-Base"
    config = _config(overrides)
    settings = read_settings(config)
    controller = build_controller(settings, config)
    assert settings.controller == METHODS[method]
    assert controller.mean_rollouts == 4
    assert controller.needs_losses == (method != "grpo")


def test_only_the_controller_tells_the_methods_apart() -> None:
    one, other = _overrides("4b", "grpo"), _overrides("4b", "joint")
    assert {key for key in one if one[key] != other[key]} == {
        "+gdro.controller",
        "trainer.experiment_name",
    }


def test_further_overrides_come_last() -> None:
    assert list(_overrides("4b", "joint", "trainer.total_training_steps=3").items())[-3:]
    assert (
        _overrides("4b", "joint", "trainer.total_training_steps=3")["trainer.total_training_steps"]
        == "3"
    )


@pytest.mark.parametrize("arguments", [["4b"], ["5b", "joint"], ["4b", "gdro"]])
def test_wrong_arguments_are_refused(arguments: list[str]) -> None:
    said = subprocess.run(["bash", str(SCRIPT), *arguments], capture_output=True, text=True)
    assert said.returncode == 2
    assert "SIZE METHOD" in said.stderr
