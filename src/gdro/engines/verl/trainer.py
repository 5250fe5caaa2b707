"""`trainer.v1.trainer_mode=gdro`: verl's synchronous V1 trainer with a gdro controller.

Everything runs through super(): nothing of verl is copied or patched. A step: the prompts' plan
goes out as `__rollout_n__`; the rewards come back and the advantages are multiplied by each
prompt's weight; where the controller asks for losses, the workers send them; the state lies beside
verl's own in every checkpoint.
"""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transfer_queue as tq
from omegaconf import DictConfig, OmegaConf
from tensordict import TensorDict
from transfer_queue import KVBatchMeta
from verl.trainer.ppo.v1.trainer_base import PPOTrainer, register_trainer
from verl.trainer.ppo.v1.trainer_sync import PPOTrainerSync
from verl.utils import tensordict_utils as tu
from verl.utils.config import omega_conf_to_dataclass
from verl.utils.dataset.rl_dataset import collate_fn
from verl.utils.debug import marked_timer

from gdro.core.errors import OptionError
from gdro.core.state import state_hash
from gdro.core.types import Floats
from gdro.engines.candidates import CandidatePool, tell
from gdro.engines.session import ControllerSession
from gdro.engines.states import load_session, save_session
from gdro.engines.verl.bridge import VerlBridge, candidates_of
from gdro.engines.verl.losses import FACTOR, GROUP, ppo_loss_with_sums, take_sums
from gdro.engines.verl.objective import TrainingPosition, row_rule
from gdro.engines.verl.rows import prompt_ids
from gdro.engines.verl.settings import advantage_of, build_controller, read_settings

STATE_FILE = "gdro.npz"

logger = logging.getLogger("verl.gdro")


@register_trainer("gdro")  # type: ignore[untyped-decorator, unused-ignore]
class GDROTrainer(PPOTrainerSync):  # type: ignore[misc, unused-ignore]
    """verl's sync trainer; the controller plans every batch and weighs every prompt.

    Raises:
        OptionError: a `gdro.*` key or a verl setting that does not go with it, before anything is
            started.
    """

    def __init__(self, config: DictConfig) -> None:
        plain = OmegaConf.to_container(config, resolve=True)
        self.settings = read_settings(plain)
        stated = self.settings.range_stated
        self.session: ControllerSession[Any] = ControllerSession(
            build_controller(self.settings, plain), self.settings.weighting, range_stated=stated
        )
        kind = advantage_of(plain)
        rule = row_rule(self.settings.objective, kind, self.session.controller)
        self.bridge = VerlBridge(self.session, kind, rule)
        # verl compares this string to know what kind of trainer it runs
        config.trainer.v1.trainer_mode = "sync"
        super().__init__(config)
        meaning = (
            "a prompt counts once"
            if self.settings.weighting == "prompt"
            else "a prompt counts by its rollouts"
        )
        logger.info(
            "gdro: controller %s, weighting %s (%s)",
            self.settings.controller,
            self.settings.weighting,
            meaning,
        )

    def _setup(self) -> None:
        super()._setup()
        seed = self.config.data.get("seed") or 0
        controller = self.session.controller
        self.session.pool = candidates_of(
            controller, self.train_dataset, self.settings.candidates, seed
        )
        if controller.needs_losses:
            actor = omega_conf_to_dataclass(self.config.actor_rollout_ref.actor)
            prompts = self.config.data.train_batch_size
            self.actor_rollout_wg.set_loss_fn(partial(ppo_loss_with_sums, actor, prompts))

    def _next_train_batch(self, num_prompts: int | None = None) -> TensorDict:
        batch = super()._next_train_batch(num_prompts)
        if self.session.pool is not None:
            with marked_timer("gdro_select", self.timing_raw):
                batch = self._chosen(batch, self.session.pool)
        elif self.session.controller.reads_texts:
            prompts = dict(zip(_ids(batch), _column(batch, "raw_prompt"), strict=True))
            tell(self.session.controller, prompts)
        with marked_timer("gdro_plan", self.timing_raw):
            rollouts = self.bridge.plan(_ids(batch), _column(batch, "uid"))
        batch["__rollout_n__"] = torch.from_numpy(rollouts.copy())
        return batch

    def _chosen(self, batch: TensorDict, pool: CandidatePool[Any]) -> TensorDict:
        """The prompts that the controller trains on in place of the batch, made as verl makes a
        batch of its own: all from the training set, since the batch holds no samples any more."""
        columns = collate_fn(pool.rows(pool.choose(_ids(batch), self.global_steps), {}))
        columns["uid"] = np.array(_column(batch, "uid"), dtype=object)
        chosen = tu.get_tensordict(columns)
        tu.assign_non_tensor_data(chosen, "global_steps", self.global_steps)
        return chosen

    def _compute_advantage(self, batch: KVBatchMeta, metrics: dict[str, Any]) -> KVBatchMeta:
        is_padding = [bool(tag.get("is_padding", False)) for tag in batch.tags]
        tokens_R = self._tokens(batch)
        batch = super()._compute_advantage(batch, metrics)
        with marked_timer("gdro_observe", self.timing_raw):
            fields = ["rm_scores", "advantages"]
            data = tq.kv_batch_get(
                keys=batch.keys, partition_id=batch.partition_id, select_fields=fields
            )
            scores_R = np.array([float(row.double().sum()) for row in data["rm_scores"].unbind()])
            answer = self.bridge.observe(
                batch.keys, is_padding, scores_R, self._progress(), tokens_R
            )
            metrics.update(self.session.metrics())
            metrics.update(answer.metrics)
            weighted = _scaled(data["advantages"], answer.factors_R, answer.advantages_R)
            fields_out = {"advantages": weighted}
            if self.session.controller.needs_losses:
                fields_out[GROUP] = torch.from_numpy(answer.rows.prompts_R)
                fields_out[FACTOR] = torch.from_numpy(answer.factors_R).float()
            # The meta that comes back names the new fields; the workers read only what it names.
            return tq.kv_batch_put(
                keys=batch.keys,
                partition_id=batch.partition_id,
                fields=TensorDict(fields_out, batch_size=len(batch)),
            )

    def _tokens(self, batch: KVBatchMeta) -> Floats | None:
        """(R,) tokens that the model generated in each row, for a controller that needs them; read
        before verl's rollout correction may mask some."""
        if not self.session.controller.needs_tokens:
            return None
        data = tq.kv_batch_get(
            keys=batch.keys, partition_id=batch.partition_id, select_fields=["response_mask"]
        )
        return np.array([float(row.sum()) for row in data["response_mask"].unbind()])

    def _progress(self) -> TrainingPosition:
        done = (self.global_steps - 1) / max(self.total_training_steps, 1)
        seed = self.config.data.get("seed") or 0
        return TrainingPosition(seed, self.global_steps, min(max(done, 0.0), 1.0))

    def _update_actor(self, batch: KVBatchMeta, metrics: dict[str, Any]) -> KVBatchMeta:
        batch = super()._update_actor(batch, metrics)
        if self.session.controller.needs_losses:
            self.bridge.observe_losses(*take_sums(metrics, self.config.data.train_batch_size))
        return batch

    def _save_checkpoint(self) -> None:
        folder = Path(self.config.trainer.default_local_dir) / f"global_step_{self.global_steps}"
        folder.mkdir(parents=True, exist_ok=True)
        save_session(folder / STATE_FILE, self.session, {"engine": "verl's trainer gdro"}, {})
        super()._save_checkpoint()  # names this checkpoint the latest, so it comes last

    def _load_checkpoint(self) -> None:
        super()._load_checkpoint()
        if self.global_steps == 0:
            return
        path = self._resumed_folder() / STATE_FILE
        if self.settings.fresh and not path.exists():
            logger.warning(
                "gdro: %s does not exist; the controller starts empty (gdro.fresh=true)", path
            )
            return
        load_session(path, self.session, fresh="+gdro.fresh=true")
        logger.info("gdro: restored %s, state %s", path, state_hash(self.session.state_dict()))

    def _resumed_folder(self) -> Path:
        if self.config.trainer.resume_mode == "resume_path":
            return Path(self.config.trainer.resume_from_path)
        return Path(self.config.trainer.default_local_dir) / f"global_step_{self.global_steps}"


class _Refused(PPOTrainer):  # type: ignore[misc, unused-ignore]
    """An asynchronous mode, which the plug-in does not have: says why."""

    def __init__(self, config: DictConfig) -> None:
        raise OptionError(
            f"trainer.v1.trainer_mode={config.trainer.v1.trainer_mode} is not supported: verl's"
            " asynchronous trainers send prompts out one by one and train on whichever groups"
            " finish first, so no batch answers a plan and no total is exact. Use"
            " trainer.v1.trainer_mode=gdro (synchronous)"
        )

    def on_step_end(self) -> None:
        """Never reached."""

    def on_sample_end(self) -> None:
        """Never reached."""


register_trainer("gdro_colocate_async")(type("GDROColocateAsync", (_Refused,), {}))
register_trainer("gdro_separate_async")(type("GDROSeparateAsync", (_Refused,), {}))


def _ids(batch: TensorDict) -> list[str]:
    return prompt_ids(_column(batch, "data_source"), _column(batch, "extra_info"))


def _column(batch: TensorDict, name: str) -> list[Any]:
    """A column of a batch as plain Python values, one a row."""
    if name not in batch.keys():  # noqa: SIM118 - a TensorDict
        raise OptionError(
            f"the training data has no column {name!r}; gdro names prompts by data_source and"
            " extra_info, and a controller that reads texts takes them from raw_prompt"
        )
    return list(batch[name])


def _scaled(advantages: torch.Tensor, factors_R: Floats, given_R: Floats | None) -> torch.Tensor:
    """The nested advantages, or those given in their place (R,), with each row times its factor."""
    rows = [row * float(factor) for row, factor in zip(advantages.unbind(), factors_R, strict=True)]
    if given_R is not None:
        rows = [
            torch.full_like(row, float(a * f))
            for row, a, f in zip(rows, given_R, factors_R, strict=True)
        ]
    return torch.nested.as_nested_tensor(rows, layout=torch.jagged)
