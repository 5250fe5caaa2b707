"""A toy task through slime's own function paths: a custom generate function, and the arguments of a
run."""

from __future__ import annotations

import json
from argparse import Namespace
from pathlib import Path

import numpy as np

TOKENIZER = Path(__file__).parents[2] / "src" / "gdro" / "tiny" / "base"
PROMPTS, BATCH, MEAN = 25, 10, 4


async def generate(args, sample, sampling_params):
    """slime's `--custom-generate-function-path`: prompt k succeeds in k % 10 of 9 cases, decided by
    `sample.index`."""
    number = int(sample.metadata["id"].split("/")[1])
    sample.tokens, sample.response, sample.response_length = [1, 2, 3], "x", 1
    sample.reward = float(np.random.default_rng([5, sample.index]).random() < (number % 10) / 9)
    sample.status = type(sample).Status.COMPLETED
    return sample


def write_prompts(path: Path, ids: list[object] | None = None) -> Path:
    """One row a prompt, with its id in `metadata`."""
    rows = [f"toy/{number}" for number in range(PROMPTS)] if ids is None else ids
    path.write_text(
        "".join(json.dumps({"text": f"prompt {i}", "metadata": {"id": i}}) + "\n" for i in rows)
    )
    return path


def arguments(folder: Path, **changes: object) -> Namespace:
    """The arguments that slime's data source, rollout function and rollout manager read, as its
    parser leaves them."""
    values: dict[str, object] = {
        "data_source_path": "gdro.engines.slime.source.GDRODataSource",
        "rollout_function_path": "slime.rollout.sglang_rollout.generate_rollout",
        "custom_reward_post_process_path": "gdro.engines.slime.source.post_process_rewards",
        "custom_generate_function_path": "slime_toy.generate",
        "gdro": {"controller": "joint"},
        "rollout_batch_size": BATCH,
        "over_sampling_batch_size": BATCH,
        "n_samples_per_prompt": MEAN,
        "advantage_estimator": "grpo",
        "rewards_normalization": True,
        "grpo_std_normalization": True,
        "reward_key": None,
        "rollout_global_dataset": True,
        "prompt_data": str(folder / "prompts.jsonl"),
        "hf_checkpoint": str(TOKENIZER),
        "dump_details": None,
        "rollout_max_prompt_len": None,
        "input_key": "text",
        "label_key": None,
        "metadata_key": "metadata",
        "multimodal_keys": None,
        "tool_key": None,
        "apply_chat_template": False,
        "apply_chat_template_kwargs": None,
        "rollout_seed": 42,
        "rollout_shuffle": True,
        "save": str(folder / "run"),
        "load": str(folder / "run"),
        "sglang_server_concurrency": 64,
        "sglang_dp_size": None,
        "sglang_router_ip": "127.0.0.1",
        "sglang_router_port": 0,
        "rollout_num_gpus": 1,
        "rollout_num_gpus_per_engine": 1,
        "rollout_temperature": 1.0,
        "rollout_top_p": 1.0,
        "rollout_top_k": -1,
        "rollout_max_response_len": 8,
        "rollout_stop": None,
        "rollout_stop_token_ids": None,
        "rollout_skip_special_tokens": True,
        "load_debug_rollout_data": None,
        "partial_rollout": False,
        "group_rm": False,
        "buffer_filter_path": None,
        "dynamic_sampling_filter_path": None,
        "rollout_sample_filter_path": None,
        "rollout_all_samples_process_path": None,
        "custom_convert_samples_to_train_data_path": None,
        "log_passrate": False,
        "normalize_advantages": False,
        "debug_rollout_only": False,
    }
    return Namespace(**(values | changes))
