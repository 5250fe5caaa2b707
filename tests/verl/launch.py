"""Runs verl's own entry point on the toy task in a session of its own, so that a test can kill it
whole."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
from toy_task import REWARD_LOG

HERE = Path(__file__).parent
# What cpu_shim.ENVIRONMENT says, without importing verl here.
SHIM = {
    "VERL_PLATFORM": "testcpu",
    "VERL_ENGINE_DEVICE": "cuda",
    "VERL_USE_EXTERNAL_MODULES": "cpu_shim",
}

PROMPTS, BATCH, MEAN_ROLLOUTS, MINI_BATCH, DEVICES = 8, 4, 4, 3, 2


def overrides(folder: Path, steps: int) -> list[str]:
    """verl's settings for the toy task. 16 rows a step do not divide by 12 (3 prompts x 4), so verl
    pads to 24."""
    return [
        "trainer.v1.trainer_mode=gdro",
        "+gdro.controller=joint",
        "+gdro.bins=4",
        "+gdro.allocator.utility=surrogate",
        "algorithm.adv_estimator=grpo",
        f"data.train_files={folder}/train.parquet",
        f"data.val_files={folder}/train.parquet",
        f"data.train_batch_size={BATCH}",
        "data.max_prompt_length=16",
        "data.max_response_length=4",
        "data.shuffle=false",
        "data.dataloader_num_workers=0",
        f"actor_rollout_ref.model.path={folder}/model",
        "actor_rollout_ref.model.use_remove_padding=false",
        "actor_rollout_ref.model.enable_gradient_checkpointing=false",
        "+actor_rollout_ref.model.override_config.attn_implementation=eager",
        "actor_rollout_ref.actor.strategy=fsdp2",
        "actor_rollout_ref.actor.fsdp_config.strategy=fsdp2",
        "actor_rollout_ref.actor.fsdp_config.model_dtype=fp32",
        "actor_rollout_ref.actor.fsdp_config.dtype=float32",
        "actor_rollout_ref.actor.fsdp_config.use_torch_compile=false",
        "actor_rollout_ref.actor.use_torch_compile=false",
        "actor_rollout_ref.actor.optim.lr=0.01",
        f"actor_rollout_ref.actor.ppo_mini_batch_size={MINI_BATCH}",
        "actor_rollout_ref.actor.ppo_micro_batch_size_per_gpu=2",
        "actor_rollout_ref.rollout.name=testcpu",
        f"actor_rollout_ref.rollout.n={MEAN_ROLLOUTS}",
        "actor_rollout_ref.rollout.tensor_model_parallel_size=1",
        "actor_rollout_ref.rollout.log_prob_micro_batch_size_per_gpu=4",
        "actor_rollout_ref.rollout.agent.num_workers=1",
        "reward.num_workers=1",
        f"reward.custom_reward_function.path={HERE}/toy_task.py",
        "reward.custom_reward_function.name=compute_score",
        "transfer_queue.backend.SimpleStorage.num_data_storage_units=1",
        "trainer.device=cpu",
        f"trainer.n_gpus_per_node={DEVICES}",
        "trainer.val_before_train=false",
        "trainer.test_freq=-1",
        "trainer.save_freq=1",
        f"trainer.total_training_steps={steps}",
        "trainer.total_epochs=99",
        f"trainer.default_local_dir={folder}/checkpoints",
        "trainer.logger=[console,file]",
        "trainer.project_name=toy",
        "trainer.experiment_name=gdro",
        "ray_kwargs.ray_init.num_cpus=32",
        f"+ray_kwargs.ray_init.num_gpus={DEVICES}",
        "+ray_kwargs.ray_init.include_dashboard=false",
        "hydra.run.dir=" + str(folder / "hydra"),
    ]


@contextmanager
def running(
    folder: Path, steps: int, name: str, extra: tuple[str, ...] = ()
) -> Iterator[subprocess.Popen[bytes]]:
    """`python -m verl.trainer.main_ppo`, with its output in `<folder>/<name>.log`.

    At the end of the block, however it ends, none of its processes and none of Ray's files are
    left. Ray gets a folder and a token of its own: it shares nothing with a cluster of the user's
    and writes nothing into the home folder.
    """
    # short: Ray's sockets lie in it
    with tempfile.TemporaryDirectory(prefix="gdro-") as ray_folder:
        environment = (
            os.environ
            | SHIM
            | {
                "PYTHONPATH": f"{HERE}{os.pathsep}{os.environ.get('PYTHONPATH', '')}",
                REWARD_LOG: str(folder / f"{name}-rewards.jsonl"),
                "GDRO_TEST_LOSS_LOG": str(folder / f"{name}-losses.jsonl"),
                "VERL_FILE_LOGGER_PATH": str(folder / f"{name}-metrics.jsonl"),
                "OMP_NUM_THREADS": "1",
                "HF_HUB_OFFLINE": "1",
                "RAY_TMPDIR": ray_folder,
                "RAY_AUTH_MODE": "token",
                "RAY_AUTH_TOKEN": secrets.token_hex(32),
                "RAY_USAGE_STATS_ENABLED": "0",
                # 15 by default: on a busy machine the workers would starve
                "RAY_worker_niceness": "0",
                "TOKENIZERS_PARALLELISM": "false",
                "PYTHONUNBUFFERED": "1",
            }
        )
        command = [sys.executable, "-m", "verl.trainer.main_ppo", *overrides(folder, steps), *extra]
        with (folder / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(
                command, cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True
            )
        try:
            yield process
        finally:
            kill(process)


def kill(process: subprocess.Popen[bytes]) -> None:
    """SIGKILL to the driver and to its whole session: Ray's daemons, and its workers in process
    groups of their own."""
    process.kill()
    process.wait()
    stop = time.monotonic() + 30
    while left := session(process.pid):
        assert time.monotonic() < stop, f"processes that do not die: {left}"
        for one in left:
            with suppress(psutil.NoSuchProcess):
                one.kill()
        psutil.wait_procs(left, timeout=1)


def session(leader: int) -> list[psutil.Process]:
    """The processes of a session that are not dead yet."""
    found = []
    for one in psutil.process_iter(["status"]):
        with suppress(ProcessLookupError):
            if os.getsid(one.pid) == leader and one.info["status"] != psutil.STATUS_ZOMBIE:
                found.append(one)
    return found
