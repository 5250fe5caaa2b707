"""Every key that the paper's script sets is a key of the real verl's configuration."""

import subprocess
from importlib import resources
from pathlib import Path

import pytest
from hydra import compose, initialize_config_module

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
