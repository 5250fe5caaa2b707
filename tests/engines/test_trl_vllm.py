"""`use_vllm=True` on a fake of vLLM's interface: rows, seeds, corrections, errors. `make test-vllm`
runs the like on the real one."""

from __future__ import annotations

import logging
import math

import numpy as np
import pytest
import torch
from trl import GRPOTrainer
from trl_bench import Ragged, character_tokenizer, config, sums, tiny_model

from fake_vllm import FakeGeneration, FakeLLM, fake_vllm, said
from gdro.core.errors import OptionError
from gdro.engines.trl import GDROTrainer
from gdro.engines.trl.generation import SamplingOptions
from gdro.engines.trl.vllm import (
    GenerationError,
    LocalEngine,
    ServerEngine,
    engine_of,
    request_seeds,
)

__all__ = ["fake_vllm"]
MODES = ("colocate", "server")
OPTIONS = SamplingOptions(8, (1,), 0, temperature=0.7, top_k=5, top_p=0.9)
pytestmark = pytest.mark.usefixtures("fake_vllm")


def trainer_of(folder, mode, kind=GDROTrainer, **changes):
    """The reward is 1 where the completion is that of the row's own prompt."""
    tokenizer = character_tokenizer()

    def own(prompts, completion_ids, **_):
        return [
            float(list(made) == said(tokenizer(prompt).input_ids, 1))
            for prompt, made in zip(prompts, completion_ids, strict=True)
        ]

    return kind(
        model=tiny_model(),
        reward_funcs=own,
        args=config(folder, **({"use_vllm": True, "vllm_mode": mode} | changes)),
        train_dataset=sums(),
        processing_class=tokenizer,
        controller=changes.pop("controller", None) or Ragged(needs_losses=True),
    )


class WrongN(GDROTrainer):
    """What TRL does by itself."""

    def _generate_single_turn(self, prompt_ids, images, fields, num_generations, **keywords):
        stock = GRPOTrainer._generate_single_turn
        return stock(self, prompt_ids, images, fields, self.num_generations, **keywords)


@pytest.mark.parametrize("mode", MODES)
def test_every_row_gets_its_own_prompt_s_completion(mode, tmp_path, caplog):
    trainer = trainer_of(tmp_path, mode)
    with caplog.at_level(logging.WARNING):
        trainer.train()
    sizes = [[len(rewards) for rewards in groups] for _, groups in trainer.controller.log]
    assert any(len(set(size)) > 1 for size in sizes)
    assert all(min(group) == 1 for _, groups in trainer.controller.log for group in groups)
    assert trainer.vllm_generation.synced == len(sizes) == 4
    assert "Fast generation" not in caplog.text


def test_a_wrong_n_is_caught(tmp_path):
    """The test above would not pass if a server were asked as TRL asks by itself."""
    trainer = trainer_of(tmp_path, "server", WrongN)
    trainer.train()
    assert any(min(group) == 0 for _, groups in trainer.controller.log for group in groups)


def test_the_seed_of_the_run_is_in_force_beside_an_engine(tmp_path):
    states = []
    for seed in (1, 1, 2):
        trainer_of(tmp_path, "colocate", seed=seed)
        states.append(torch.get_rng_state())
    assert torch.equal(states[0], states[1])
    assert not torch.equal(states[0], states[2])


def test_surrogate_losses_have_the_correction_of_the_loss(tmp_path, monkeypatch):
    """vLLM's log-probabilities are too low by `gap` a token: TRL's loss and the controller's losses
    grow by the same factor."""
    losses, logged = [], []
    for gap in (0.0, 0.3):
        monkeypatch.setattr(FakeGeneration, "gap", gap)
        trainer = trainer_of(
            tmp_path,
            "colocate",
            max_steps=1,
            vllm_importance_sampling_mode="token_truncate",
            reward_weights=[1.0],
        )
        trainer.reward_funcs = [lambda completions, **_: [float(i % 3) for i in range(16)]]
        trainer.train()
        losses.append(trainer.controller.losses[0][1])
        logged.append(trainer.state.log_history[0]["loss"])
    assert np.abs(losses[0]).max() > 0
    assert losses[1] == pytest.approx(math.exp(0.3) * losses[0], rel=1e-4, abs=1e-7)
    assert logged[1] == pytest.approx(math.exp(0.3) * logged[0], rel=1e-4, abs=1e-7)


@pytest.mark.parametrize("fixed", ["seed", "n"])
def test_parameters_that_would_spoil_a_plan_are_refused(fixed, tmp_path):
    with pytest.raises(OptionError, match=fixed):
        config(tmp_path, use_vllm=True, generation_kwargs={fixed: 2})
    config(tmp_path, use_vllm=True, generation_kwargs={"frequency_penalty": 0.1})


def test_errors_are_told_with_the_step(tmp_path, monkeypatch):
    def fail(self, **_):
        raise ConnectionError("http://gpu2:8000 is gone\nand more")

    monkeypatch.setattr(FakeGeneration, "generate", fail)
    with pytest.raises(GenerationError, match=r"failed at step 0: ConnectionError: http://gpu2"):
        trainer_of(tmp_path, "server").train()


def test_an_error_in_a_reward_function_is_no_error_of_vllm(tmp_path):
    trainer = trainer_of(tmp_path, "server")
    trainer.reward_funcs = [lambda **_: 1 / 0]
    with pytest.raises(ZeroDivisionError):
        trainer.train()


def test_seeds_go_by_id_and_not_by_place_or_text():
    assert len(set(request_seeds(["a", "b", "c"], 0) + request_seeds(["a"], 1))) == 4
    assert request_seeds(["b", "a"], 0) == request_seeds(["a", "b"], 0)[::-1]
    assert all(0 <= seed < 2**62 for seed in request_seeds([f"p{i}" for i in range(99)], 3))


def test_an_engine_in_the_process_is_asked_a_request_a_prompt():
    llm, before = FakeLLM(), torch.get_rng_state()
    found = LocalEngine(llm)([[5, 6, 7], [8, 9, 10], [5, 6, 7]], 3, OPTIONS, [11, 12, 13])
    assert [[made[2] for made in group] for group in found] == [[0, 1, 2]] * 3, "by number"
    assert [group[0][:2] for group in found] == [[6, 6], [9, 9], [6, 6]]
    _, params = llm.asked[0]
    assert [one["seed"] for one in params] == [11, 12, 13]
    wanted = {"n": 3, "temperature": 0.7, "top_p": 0.9, "top_k": 5, "max_tokens": 8}
    assert params[0].items() >= wanted.items()
    assert params[0]["stop_token_ids"] == [1]
    assert torch.equal(before, torch.get_rng_state())
    llm.generate = lambda prompts, **_: FakeLLM().generate(prompts[::-1], **_)
    with pytest.raises(GenerationError, match="order"):
        LocalEngine(llm)([[5, 6, 7], [8, 9, 10]], 3, OPTIONS, [11, 12])


def test_a_server_is_asked_a_request_a_prompt():
    class Client:
        def generate(self, prompts, n, generation_kwargs, **how):
            assert how.keys() >= {"temperature", "top_p", "top_k", "max_tokens"}
            [prompt] = prompts
            seed = generation_kwargs["seed"]
            return {"completion_ids": [[prompt[0], seed, i] for i in range(n)]}

    prompts = [[place, 6, 7] for place in range(70)]
    found = ServerEngine(Client())(prompts, 2, OPTIONS, list(range(100, 170)))
    assert found == [[[place, 100 + place, i] for i in range(2)] for place in range(70)]
    Client.generate = lambda self, **_: {"completion_ids": [[1]]}
    with pytest.raises(GenerationError, match="1 completions of a prompt, not 2"):
        ServerEngine(Client())(prompts, 2, OPTIONS, list(range(70)))


@pytest.mark.parametrize("mode", MODES)
def test_evaluation_uses_the_trainer_s_engine_with_the_weights_of_now(mode, tmp_path):
    trainer = trainer_of(tmp_path, mode)
    engine = engine_of(trainer)
    assert trainer.vllm_generation.synced == 1
    assert isinstance(engine, LocalEngine if mode == "colocate" else ServerEngine)
    assert not engine.collective
