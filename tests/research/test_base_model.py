"""The shipped base model: a small ordinary folder, and a real spread of difficulty."""

import json

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from difficulty import PassCounts, count_correct, describe, encode, measure, sample
from gdro.data.reasoning_gym import load_mixture
from gdro.tiny import base_path
from gdro.tiny.mixture import DEFAULT_MIXTURE


@pytest.fixture(scope="module")
def base():
    return AutoModelForCausalLM.from_pretrained(base_path()).eval(), AutoTokenizer.from_pretrained(
        base_path()
    )


def test_folder_is_small_and_complete(base):
    names = {path.name for path in base_path().iterdir()}
    assert {"config.json", "generation_config.json", "tokenizer.json", "model.safetensors"} <= names
    assert (base_path() / "model.safetensors").stat().st_size <= 4_000_000
    model, tokenizer = base
    assert 800_000 < model.num_parameters() < 1_000_000
    assert json.loads((base_path() / "config.json").read_text())["architectures"] == [
        "Qwen3ForCausalLM"
    ]
    assert model.config.vocab_size == len(tokenizer)
    assert model.dtype == torch.float32


def test_generation_settings_sample_plainly_and_stop_at_the_end(base):
    model, tokenizer = base
    settings = model.generation_config
    assert (settings.do_sample, settings.temperature, settings.top_p, settings.top_k) == (
        True,
        1.0,
        1.0,
        0,
    )
    assert settings.eos_token_id == tokenizer.eos_token_id
    assert settings.pad_token_id == tokenizer.pad_token_id


def test_greedy_sampling_agrees_with_generate(base):
    model, tokenizer = base
    prompts = load_mixture(DEFAULT_MIXTURE, 25, seed=0)
    ours = sample(model, tokenizer, prompts, samples=2, seed=0, temperature=1e-4)
    for prompt, texts in zip(prompts, ours, strict=True):
        ids = torch.tensor([encode(tokenizer, prompt)])
        theirs = model.generate(
            ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=24
        )
        expected = tokenizer.decode(theirs[0, ids.shape[1] :], skip_special_tokens=True)
        assert texts == [expected, expected]


def test_sampling_repeats_with_its_seed(base):
    prompts = load_mixture(DEFAULT_MIXTURE, 25, seed=0)
    assert sample(*base, prompts, samples=4, seed=1) == sample(*base, prompts, samples=4, seed=1)
    assert sample(*base, prompts, samples=4, seed=1) != sample(*base, prompts, samples=4, seed=2)


def test_every_bin_of_difficulty_holds_prompts():
    prompts = load_mixture(DEFAULT_MIXTURE, 1024, seed=0)
    spread = measure(base_path(), prompts, samples=20, seed=0)
    shares = spread.bins() / len(prompts)
    assert shares.min() >= 0.025, shares
    assert np.mean((spread.rates > 0) & (spread.rates <= 0.05)) >= 0.03
    assert spread.pass_at(8).mean() < 0.85
    assert spread.rates.mean() < 0.6


def test_spread_counts_and_pass_at_k():
    prompts = load_mixture(DEFAULT_MIXTURE, 25, seed=0)[:3]
    completions = [
        [p.answer] * right + ["?"] * (8 - right)
        for p, right in zip(prompts, (0, 4, 8), strict=True)
    ]
    spread = PassCounts(prompts, count_correct(prompts, completions), samples=8)
    assert spread.correct.tolist() == [0, 4, 8]
    assert spread.bins().tolist() == [1, 0, 0, 0, 0, 1, 0, 0, 0, 1]
    assert spread.pass_at(8).tolist() == [0, 1, 1]
    assert spread.pass_at(2)[1] == pytest.approx(1 - (4 * 3) / (8 * 7))
    with pytest.raises(ValueError, match="needs 1 <= k <= 8"):
        spread.pass_at(9)
    assert "mean@8 0.500  pass@8 0.667" in describe(spread)
