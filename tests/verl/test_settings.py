"""The `gdro.*` keys, what is refused before anything starts, and the paper's script, whose keys are
all keys of the real verl's configuration."""

from __future__ import annotations

import copy
import subprocess
from importlib import resources
from pathlib import Path

import pytest
from hydra import compose, initialize_config_module
from omegaconf import OmegaConf

from gdro.core.errors import OptionError
from gdro.engines.compat import DEFAULT_CONTROLLER
from gdro.engines.verl.settings import build_controller, read_settings


def stock(*overrides: str) -> dict:
    with initialize_config_module("verl.trainer.config", version_base=None):
        config = compose("ppo_trainer", ["actor_rollout_ref.rollout.n=4", *overrides])
    return OmegaConf.to_container(config)


STOCK = stock("algorithm.adv_estimator=grpo")


def changed(key: str, value: object) -> dict:
    config = copy.deepcopy(STOCK)
    *path, last = key.split(".")
    node = config
    for part in path:
        node = node.setdefault(part, {})
    node[last] = value
    return config


def build(config: dict):
    return build_controller(read_settings(config), config)


def test_stock_verl_with_no_gdro_keys_has_the_default_with_verls_n() -> None:
    controller = build(STOCK)
    assert (controller.name, controller.mean_rollouts) == (DEFAULT_CONTROLLER, 4)
    assert read_settings(STOCK).weighting == "prompt"


def test_a_controller_of_ones_own_comes_through_hydra() -> None:
    example = Path(__file__).parents[2] / "examples" / "own_part.py"
    controller = build(stock(f"+gdro.controller={example}:Behind", "+gdro.boost=3"))
    assert (controller.parts.weigher.boost, controller.mean_rollouts) == (3.0, 4)


def test_weights_that_correct_for_the_advantage_are_told_verls() -> None:
    grpo = ["algorithm.adv_estimator=grpo", "+gdro.controller=maxrl"]
    told = build(stock(*grpo))
    assert (told.parts.weigher.advantage, told.parts.weigher.ddof) == ("grpo", 1)
    plain = build(stock(*grpo, "algorithm.norm_adv_by_std_in_grpo=False"))
    assert plain.parts.weigher.advantage == "dr_grpo"
    with pytest.raises(OptionError, match=r"ddof=0 of weigher 'maxrl'.*ddof=1; make them agree"):
        build(stock(*grpo, "+gdro.ddof=0"))
    with pytest.raises(OptionError, match="advantage='gae' must be one of grpo, dr_grpo"):
        build(stock("+gdro.controller=daro"))


def test_hydra_overrides_reach_the_controller() -> None:
    config = stock(
        "+gdro.controller=prompt_gdro",
        "+gdro.eta=5",
        "+gdro.reward_range=[-1,1]",
        "+gdro.weighting=row",
    )
    controller = build(config)
    found = (controller.name, controller.parts.weigher.eta, controller.reward_range)
    assert found == ("prompt_gdro", 5, (-1, 1))
    assert read_settings(config).weighting == "row"


def test_a_composition_comes_through_hydra() -> None:
    parts = (
        "+gdro.controller={selector: live, weigher: {name: adversary, eta: 3}}",
        "+gdro.allocator=sqrt_law",
    )
    controller = build(stock("algorithm.adv_estimator=grpo", *parts))
    assert (controller.selects, controller.plans_equally, controller.parts.weigher.eta) == (
        True,
        False,
        3,
    )


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("gdro.controller", "jiont", "did you mean 'joint'"),
        ("gdro.controler", "joint", "has no option 'controler'; did you mean 'controller'"),
        (
            "gdro",
            {"controller": "prompt_gdro", "candidates": 4},
            "candidates=4: controller 'prompt_gdro' does not select prompts",
        ),
        ("gdro.eta", -1.0, "eta"),
        ("gdro.weighting", "token", "must be prompt or row"),
        ("gdro.fresh", "yes", "must be true or false"),
        ("gdro", 3, "must hold keys"),
        ("gdro.mean_rollouts", 8, "set by actor_rollout_ref.rollout.n; remove it"),
        ("gdro", {"controller": "joint", "min_rollouts": 1}, "raw reward as advantage"),
        ("actor_rollout_ref.rollout.n", 1, "at least 2"),
        ("data.gen_batch_size", 3, "data.gen_batch_size=3"),
        ("algorithm.filter_groups.enable", True, "filter_groups"),
        ("trainer.v1.sampler.sync_refill_failed_groups", True, "sync_refill_failed_groups"),
        ("trainer.v1.sampler.custom_sampler.path", "x.py", "custom_sampler"),
        ("skip.rollout_tq.enable", True, "replays old rollouts"),
    ],
)
def test_what_cannot_work_is_refused_by_name(key: str, value: object, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        build(changed(key, value))


def test_a_controller_that_selects_needs_a_choice() -> None:
    chosen = ("algorithm.adv_estimator=grpo", "+gdro.controller=live_gdro")
    assert build(stock(*chosen, "+gdro.candidates=16")).selects
    for few in ("1", "many"):
        with pytest.raises(
            OptionError,
            match=f"candidates='?{few}'?: controller 'live_gdro' selects prompts and would",
        ):
            build(stock(*chosen, f"+gdro.candidates={few}"))


def test_baselines_of_the_controller_replace_grpos_advantages_and_no_others() -> None:
    for estimator in ("rloo", "gae"):
        with pytest.raises(
            OptionError,
            match=f"does not go with the advantage '{estimator}'; set algorithm.adv_est",
        ):
            build(stock(f"algorithm.adv_estimator={estimator}"))
        assert build(stock(f"algorithm.adv_estimator={estimator}", "+gdro.baseline=group")).selects
    with pytest.raises(
        OptionError, match=r"algorithm\.use_kl_in_reward=True verl's rewards have a KL term"
    ):
        build(stock("algorithm.adv_estimator=grpo", "algorithm.use_kl_in_reward=True"))
    without_std = stock("algorithm.adv_estimator=grpo", "algorithm.norm_adv_by_std_in_grpo=False")
    assert build(without_std).sets_baselines, "r - baseline, not divided by anything"


@pytest.mark.parametrize("key", ["trainer.critic_warmup", "distillation.enabled"])
def test_the_surrogate_needs_a_policy_loss_in_every_step(key: str) -> None:
    config = changed(key, 1)
    build(config)
    config["gdro"] = {"controller": "paper"}
    with pytest.raises(OptionError, match="no policy loss in every step"):
        build(config)


SCRIPT = Path(str(resources.files("gdro") / "recipes" / "paper" / "verl.sh"))


@pytest.mark.parametrize("size", ["1.7b", "4b", "8b"])
def test_verl_composes_the_script_s_overrides(size: str) -> None:
    said = subprocess.run(
        ["bash", str(SCRIPT), "--print", size, "joint"], capture_output=True, text=True, check=True
    )
    with initialize_config_module("verl.trainer.config", version_base=None):
        config = compose("ppo_trainer", overrides=said.stdout.splitlines())
    assert config.gdro.controller == "paper"
    assert config.actor_rollout_ref.actor.clip_ratio_high == 0.28
    assert config.trainer.v1.trainer_mode == "gdro"
