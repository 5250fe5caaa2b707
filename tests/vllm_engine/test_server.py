"""GDROTrainer and `gdro` with a real vLLM server."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import cpu_client
import pytest
import torch
from traced import TINY, TOKENS, Traced, check, make
from trl import GRPOTrainer

from gdro.engines.trl.generation import SamplingOptions
from gdro.engines.trl.vllm import GenerationError, engine_of, request_seeds

HERE = Path(__file__).parent
START = 400
"""Seconds that a server may take to start on a busy machine; 50 s on a free one."""


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    """The address of a server of the embedded model, started as docs/growing.md says."""
    cpu_client.install()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = tmp_path_factory.mktemp("server") / "log"
    command = [str(Path(sys.executable).with_name("vllm")), "serve", TINY]
    command += ["--host", "127.0.0.1", "--port", str(port), "--max-model-len", str(TOKENS)]
    command += ["--weight-transfer-config", '{"backend": "file"}']  # nccl on a GPU
    command += ["--logprobs-mode", "processed_logprobs", "--max-logprobs", "-1"]
    command += ["--dtype", "float32", "--enforce-eager"]
    environment = os.environ | {"VLLM_SERVER_DEV_MODE": "1", "PYTHONPATH": str(HERE / "plugin")}
    environment.pop("VLLM_ENABLE_V1_MULTIPROCESSING")
    with log.open("w") as out:
        server = subprocess.Popen(command, env=environment, stdout=out, stderr=out)
    try:
        _wait(f"http://127.0.0.1:{port}", server, log)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        try:
            server.wait(timeout=30)
        except subprocess.TimeoutExpired:
            server.kill()


def _wait(url, server, log):
    for _ in range(START):
        try:
            with urlopen(f"{url}/health", timeout=1):
                return
        except (URLError, TimeoutError):
            assert server.poll() is None, log.read_text()[-3000:]
            try:
                server.wait(timeout=1)
            except subprocess.TimeoutExpired:
                continue
    raise AssertionError(log.read_text()[-3000:])


def serving(folder, url, **changes):
    return make(folder, vllm_mode="server", vllm_server_base_url=url, **changes)


class WrongN(Traced):
    """What TRL does by itself: every num_generations-th row is asked for, so many times."""

    def _generate_single_turn(self, prompt_ids, images, fields, num_generations, **keywords):
        stock = GRPOTrainer._generate_single_turn
        return stock(self, prompt_ids, images, fields, self.num_generations, **keywords)


def test_ragged_plans_are_traced_to_their_prompts(url, tmp_path):
    trainer = serving(tmp_path, url)
    trainer.train()
    sizes = check(trainer)
    assert any(len(set(size)) > 1 for size in sizes)
    assert all(sum(size) == 16 for size in sizes)
    name = "sampling/importance_sampling_ratio/mean"
    ratios = [entry[name] for entry in trainer.state.log_history if name in entry]
    assert ratios == pytest.approx([1.0] * 6, abs=1e-3), "weights are sent each step"


def test_a_wrong_n_is_caught(url, tmp_path):
    trainer = serving(tmp_path, url, trainer=WrongN)
    trainer.train()
    with pytest.raises(AssertionError):
        check(trainer)


def test_a_resume_goes_on_with_the_same_prompts_and_weights(url, tmp_path):
    """The server's random state is not in a checkpoint: plans and everything but its samples are
    those of the run that never stopped."""
    saving = {"save_strategy": "steps", "save_steps": 3}
    whole = serving(tmp_path, url, **saving)
    whole.train()
    part = serving(tmp_path, url, **saving)
    part.train(resume_from_checkpoint=str(tmp_path / "checkpoint-3"))
    check_from = len(whole.controller.log) - len(part.controller.log)
    planned = [ids for ids, _ in whole.controller.log[check_from:]]
    assert [ids for ids, _ in part.controller.log] == planned
    assert part.place.rollouts_total == whole.place.rollouts_total == 96
    assert check(part)


def test_evaluation_has_a_seed_a_request(url, tmp_path):
    trainer = serving(tmp_path, url, max_steps=2)
    trainer.train()
    engine, tokenizer = engine_of(trainer), trainer.processing_class
    prompts = [tokenizer(text).input_ids for text in ("1+1=", "2+12=", "1+1=")]
    ends, pad = (tokenizer.eos_token_id,), tokenizer.pad_token_id
    options, seeds = SamplingOptions(8, ends, pad, temperature=2.0), request_seeds("abc", 0)
    found = engine(prompts, 6, options, seeds)
    assert found == engine(prompts, 6, options, seeds)
    assert found[0] != found[2], "equal texts, two prompts"
    said = engine(prompts, 1, SamplingOptions(8, ends, pad, temperature=0), seeds)
    for prompt, [made] in zip(prompts, said, strict=True):
        own = trainer.model.generate(
            torch.tensor([prompt]), max_new_tokens=8, do_sample=False, pad_token_id=pad
        )
        assert own[0, len(prompt) :].tolist() == made, "the weights of now"


def test_a_server_that_is_gone_is_named(url, tmp_path):
    trainer = serving(tmp_path, url)
    client = trainer.vllm_generation.vllm_client
    client.session.mount("http://", type(client.session.get_adapter("http://"))(max_retries=0))
    client.base_url = "http://127.0.0.1:9"
    with pytest.raises(GenerationError, match=r"vLLM \(server\) failed at step 0: ConnectionError"):
        trainer.train()
