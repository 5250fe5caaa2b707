"""What verl's trainer keeps and writes back: the state beside verl's checkpoint (where it lies, and
what happens when it is missing or damaged), and advantages, verl's own times a factor or the
controller's."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from verl.trainer.ppo.v1.trainer_sync import PPOTrainerSync

import gdro
import gdro.engines.verl.trainer as module
from gdro.core.errors import StateError
from gdro.engines.section import EngineSection
from gdro.engines.session import ControllerSession
from gdro.engines.verl.bridge import VerlBridge
from gdro.engines.verl.trainer import GDROTrainer, _scaled


@pytest.fixture
def trainer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Makes trainers at step 7 without a cluster: verl's own saving and loading do nothing."""
    monkeypatch.setattr(PPOTrainerSync, "_save_checkpoint", lambda self: None)
    monkeypatch.setattr(PPOTrainerSync, "_load_checkpoint", lambda self: None)

    def make(step: int = 7, fresh: bool = False, **trainer_config: object) -> GDROTrainer:
        one = object.__new__(GDROTrainer)
        one.settings = EngineSection(fresh=fresh)
        one.session = ControllerSession(gdro.make_controller("joint", mean_rollouts=4))
        one.bridge = VerlBridge(one.session)
        keys = {"default_local_dir": str(tmp_path), "resume_mode": "auto", "resume_from_path": None}
        one.config = OmegaConf.create({"trainer": keys | trainer_config})
        one.global_steps = step
        return one

    return make


def used(one: GDROTrainer) -> GDROTrainer:
    ids = ["toy/0", "toy/1"]
    rollouts = one.bridge.plan(ids, "ab")
    keys = [
        f"{uid}_{session}_0" for uid, n in zip("ab", rollouts, strict=True) for session in range(n)
    ]
    one.bridge.observe(keys, [False] * 8, np.array([0.0, 1.0] * 4))
    return one


def test_a_state_comes_back(trainer, tmp_path: Path) -> None:
    first = used(trainer())
    first._save_checkpoint()
    assert (tmp_path / "global_step_7" / "gdro.npz").exists()
    second = trainer()
    second._load_checkpoint()
    assert gdro.state_hash(second.session.state_dict()) == gdro.state_hash(
        first.session.state_dict()
    )
    third = trainer(resume_mode="resume_path", resume_from_path=str(tmp_path / "global_step_7"))
    third._load_checkpoint()
    assert third.session.controller.steps_seen == 1


def test_training_from_scratch_looks_for_nothing(trainer) -> None:
    trainer(step=0)._load_checkpoint()


def test_a_stock_checkpoint_is_refused_unless_told(trainer) -> None:
    with pytest.raises(StateError, match=r"written without gdro.*or set \+gdro.fresh=true"):
        trainer()._load_checkpoint()
    trainer(fresh=True)._load_checkpoint()


def test_another_controllers_state_names_who_wrote_it(trainer) -> None:
    used(trainer())._save_checkpoint()
    other = trainer()
    other.session = ControllerSession(gdro.make_controller("sqrt_law", mean_rollouts=4))
    with pytest.raises(
        StateError, match=r"written by verl's trainer gdro with controller 'joint' .*'sqrt_law'"
    ):
        other._load_checkpoint()


def test_a_damaged_state_is_refused(trainer, tmp_path: Path) -> None:
    used(trainer())._save_checkpoint()
    path = tmp_path / "global_step_7" / "gdro.npz"
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(StateError, match=r"gdro.npz"):
        trainer(fresh=True)._load_checkpoint()


def test_the_models_own_tokens_are_read_where_a_controller_needs_them(trainer, monkeypatch) -> None:
    """A tool's tokens, 0 in the mask, are not generated."""
    rows = [torch.tensor([1, 1, 1]), torch.tensor([1, 0, 0, 1]), torch.tensor([1])]
    stored = {"response_mask": torch.nested.as_nested_tensor(rows, layout=torch.jagged)}
    asked: list[object] = []
    store = SimpleNamespace(kv_batch_get=lambda **given: asked.append(given) or stored)
    monkeypatch.setattr(module, "tq", store)
    batch = SimpleNamespace(keys=["a_0_0", "a_1_0", "b_0_0"], partition_id="train")
    one = trainer()
    assert one._tokens(batch) is None
    assert not asked
    one.session = ControllerSession(
        gdro.make_controller("live_gdro", selector={"token_power": 1.0})
    )
    assert one._tokens(batch).tolist() == [3.0, 2.0, 1.0]
    assert asked == [
        {"keys": batch.keys, "partition_id": "train", "select_fields": ["response_mask"]}
    ]


def test_verl_advantages_are_multiplied_row_by_row() -> None:
    rows = [torch.tensor([1.0, 1.0]), torch.tensor([-2.0, -2.0, -2.0])]
    nested = torch.nested.as_nested_tensor(rows, layout=torch.jagged)
    first, second = _scaled(nested, np.array([3.0, 0.5]), None).unbind()
    assert first.tolist() == [3.0, 3.0]
    assert second.tolist() == [-1.0, -1.0, -1.0]


def test_given_advantages_stand_for_verls() -> None:
    # a group that agrees: verl has no gradient
    rows = [torch.tensor([0.0, 0.0]), torch.tensor([0.0, 0.0, 0.0])]
    nested = torch.nested.as_nested_tensor(rows, layout=torch.jagged)
    first, second = _scaled(nested, np.array([2.0, 1.0]), np.array([-0.25, 0.5])).unbind()
    assert first.tolist() == [-0.5, -0.5]
    assert second.tolist() == [0.5, 0.5, 0.5]
