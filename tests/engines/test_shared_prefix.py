"""Prompts read once: the log-probabilities and their gradient are those of rollouts read one by
one."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import Qwen3Config, Qwen3ForCausalLM

from gdro.engines.trl.shared_prefix import pack

PAD = 0


def _model(attention):
    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=23,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
        attn_implementation=attention,
    )
    return Qwen3ForCausalLM(config)


MODELS = {kind: _model(kind) for kind in ("sdpa", "eager")}


def _batch(groups):
    """TRL's layout: prompts padded on the left, completions on the right."""
    rows = [(prompt, completion) for prompt, completions in groups for completion in completions]
    left = max(len(prompt) for prompt, _ in rows)
    right = max(len(completion) for _, completion in rows)
    ids = [[PAD] * (left - len(p)) + p + c + [PAD] * (right - len(c)) for p, c in rows]
    mask = [
        [0] * (left - len(p)) + [1] * (len(p) + len(c)) + [0] * (right - len(c)) for p, c in rows
    ]
    return torch.tensor(ids), torch.tensor(mask), right


def _one_by_one(model, ids, mask, columns):
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    logits = (
        model(input_ids=ids, attention_mask=mask, position_ids=positions)
        .logits[:, :-1]
        .log_softmax(-1)
    )
    logps = logits.gather(-1, ids[:, 1:, None])[:, :, 0][:, -columns:]
    return torch.where(mask[:, -columns:].bool(), logps, 0.0)


def _packed(model, ids, mask, columns, attention):
    packed = pack(ids, mask, columns)
    inputs = packed.model_inputs(attention, torch.float32)
    labels = inputs.pop("shift_labels")
    logps = (
        model(**inputs).logits.log_softmax(-1).gather(-1, labels.clamp(min=0)[:, :, None])[:, :, 0]
    )
    return packed.unpack(logps)


TOKENS = st.lists(st.integers(1, 22), min_size=1, max_size=6)
GROUPS = st.lists(
    st.tuples(TOKENS, st.lists(TOKENS, min_size=1, max_size=4)), min_size=1, max_size=5
)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@settings(max_examples=25, derandomize=True)
@given(groups=GROUPS, seed=st.integers(0, 99))
def test_same_log_probabilities_in_any_order_of_rows(attention, groups, seed):
    ids, mask, columns = _batch(groups)
    order = torch.randperm(len(ids), generator=torch.Generator().manual_seed(seed))
    ids, mask = ids[order], mask[order]
    model = MODELS[attention]
    with torch.no_grad():
        expected = _one_by_one(model, ids, mask, columns)
        actual = _packed(model, ids, mask, columns, attention)
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-5)


def test_same_gradient():
    ids, mask, columns = _batch([([3, 4, 5], [[6, 7], [8], [9, 10, 11]]), ([12], [[13, 14], [15]])])
    model = MODELS["sdpa"]
    weights = torch.linspace(-1, 1, len(ids) * columns, dtype=torch.float32).reshape(
        len(ids), columns
    )
    gradients = []
    for logps in (
        _one_by_one(model, ids, mask, columns),
        _packed(model, ids, mask, columns, "sdpa"),
    ):
        model.zero_grad()
        (logps * weights).sum().backward()
        gradients.append([parameter.grad.clone() for parameter in model.parameters()])
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)


@given(groups=GROUPS)
def test_every_completion_token_is_predicted_exactly_once(groups):
    ids, mask, columns = _batch(groups)
    packed = pack(ids, mask, columns)
    completions = sum(len(completion) for _, several in groups for completion in several)
    assert packed.attention.any(-1).all()
    shared = sum(len(prompt) - 1 for prompt in {tuple(prompt) for prompt, _ in groups})
    assert completions + shared <= packed.input_ids.numel()
    assert packed.places[packed.present].unique().numel() == completions
    assert (
        packed.labels.reshape(-1)[packed.places[packed.present]]
        == ids[:, -columns:][packed.present]
    ).all()
