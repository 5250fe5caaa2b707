"""The recipe `smollm2` in two small steps, on the model itself, which `make test` fetches
before."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from gdro.cli import main
from gdro.config import load_config
from gdro.models.fetch import fault
from gdro.models.loading import load_model
from gdro.runs.model_size import model_size
from gdro.runs.prompts import load_prompts

SMALL = [
    "max_steps=2",
    "prompts_per_step=4",
    "num_generations=2",
    "max_rollouts=4",
    "max_completion_length=8",
]
SMALL += [
    "data.size=40",
    "data.heldout_size=10",
    "evaluation.num_generations=2",
    "eval_steps=1",
    "candidates=2",
]
SMALL += ["controller.baseline=posterior"]  # every rollout has a gradient, whatever the rewards are


@pytest.fixture(scope="module")
def smollm2():
    return load_model("smollm2")


def test_the_unpacked_weights_are_a_language_model(smollm2):
    """A wrong order of heads or blocks gives noise; the capital of France needs them all."""
    model, tokenizer, path = smollm2
    ids = tokenizer("The capital of France is", return_tensors="pt")["input_ids"]
    with torch.no_grad():
        assert tokenizer.decode(model(ids).logits[0, -1].argmax()) == " Paris"
    assert tokenizer.tokenize("1234") == ["1", "2", "3", "4"]
    assert tokenizer.eos_token == "<|im_end|>"
    assert fault(Path(path)) is None
    assert model_size("smollm2")[0].parameters == model.num_parameters() == 134_515_008


def test_its_prompts_are_chats_with_short_answers():
    prompts = load_prompts(load_config("smollm2").data)
    assert len({prompt.source for prompt in prompts.train}) == 10
    for prompt in [*prompts.train, *prompts.heldout]:
        assert [turn["role"] for turn in prompt.messages] == ["user"]
        assert float(prompt.answer) == int(prompt.answer)


@pytest.fixture
def run(tmp_path):
    """A run's folder; its checkpoint is of 1.6 GB, which pytest would keep."""
    yield tmp_path / "run"
    shutil.rmtree(tmp_path / "run")


def test_two_steps_move_the_model_and_are_recorded(smollm2, run):
    sets = [part for setting in (*SMALL, f"output_dir={run}") for part in ("--set", setting)]
    assert main(["train", "smollm2", *sets]) == 0
    events = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    steps = [event for event in events if event["event"] == "step"]
    assert [event["rollouts_total"] for event in steps] == [8, 16]
    assert [event["step"] for event in events if event["event"] == "evaluation"] == [0, 1, 2]
    trained, tokenizer, _ = load_model(str(run / "model"))
    assert tokenizer.chat_template == smollm2[1].chat_template
    pairs = zip(trained.named_parameters(), smollm2[0].parameters(), strict=True)
    assert all(not torch.equal(new, old) for (_, new), old in pairs)
    assert "HuggingFaceTB/SmolLM2-135M-Instruct" in (run / "model" / "README.md").read_text()
