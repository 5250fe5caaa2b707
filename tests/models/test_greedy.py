"""Greedy evaluation: the likeliest token each time, by the fast sampler and by transformers'
own."""

import pytest
import torch
from small_gguf import small_llama

from gdro.core.errors import OptionError
from gdro.engines.trl import evaluation
from gdro.engines.trl.generation import SamplingOptions

PROMPTS = [[5, 6, 7, 8], [9, 10], [11, 12, 13, 14, 15]]
GREEDY = SamplingOptions(max_new_tokens=10, eos_ids=(2,), pad_id=0, temperature=0)


def _step_by_step(model, prompt):
    """The definition, without a cache or padding."""
    tokens = list(prompt)
    for _ in range(GREEDY.max_new_tokens):
        with torch.no_grad():
            tokens.append(int(model(torch.tensor([tokens])).logits[0, -1].argmax()))
        if tokens[-1] in GREEDY.eos_ids:
            break
    return tokens[len(prompt) :]


@pytest.mark.parametrize("fast", [True, False])
def test_greedy_is_the_likeliest_token_whatever_the_seed(fast, monkeypatch):
    model = small_llama()
    if not fast:
        monkeypatch.setattr(evaluation, "why_not_sampled", lambda model: "told so")
    torch.manual_seed(1)
    before = torch.get_rng_state()
    found = evaluation.sample(model, PROMPTS, 1, GREEDY, seed=0)
    assert torch.equal(torch.get_rng_state(), before)
    assert found == evaluation.sample(model, PROMPTS, 1, GREEDY, seed=1, rows_per_batch=2)
    assert found == [[_step_by_step(model, prompt)] for prompt in PROMPTS]


def test_a_negative_temperature_is_refused():
    with pytest.raises(OptionError, match="greedy"):
        SamplingOptions(max_new_tokens=1, eos_ids=(2,), pad_id=0, temperature=-1)
