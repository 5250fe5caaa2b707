"""The fast sampler against `model.generate`, and sampling for evaluation."""

from __future__ import annotations

import pytest
import torch
from peft import LoraConfig, PrefixTuningConfig, get_peft_model
from transformers import (
    CONFIG_MAPPING,
    AutoModelForCausalLM,
    BloomConfig,
    BloomForCausalLM,
    GemmaConfig,
    GemmaForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
)
from trl_bench import tiny_model

from gdro.core.errors import OptionError
from gdro.engines.trl import SamplingOptions, evaluation, generation, sample
from gdro.engines.trl.fast_path import ORDINARY, why_not_fast, why_not_options
from gdro.engines.trl.generation import left_pad, sample_rows
from gdro.engines.trl.shared_prefix import pack

PROMPTS = [[5, 6, 7, 8], [9, 10], [11, 12, 13, 14, 15, 16, 17]]
ROWS = [0, 0, 0, 1, 2, 2, 2, 2, 2, 1, 0, 2]


def generated(model, options, rows=ROWS):
    ids, mask = left_pad([PROMPTS[place] for place in rows], options.pad_id, torch.device("cpu"))
    output = model.generate(
        input_ids=ids,
        attention_mask=mask,
        do_sample=True,
        max_new_tokens=options.max_new_tokens,
        eos_token_id=list(options.eos_ids),
        pad_token_id=options.pad_id,
        temperature=options.temperature,
        top_k=options.top_k,
        top_p=options.top_p,
        min_p=options.min_p,
    )
    rows_of_tokens = output[:, ids.shape[1] :].tolist()
    ends = [
        next((i + 1 for i, t in enumerate(r) if t in options.eos_ids), len(r))
        for r in rows_of_tokens
    ]
    return [row[:end] for row, end in zip(rows_of_tokens, ends, strict=True)]


def small(config_class, model_class, **changes):
    torch.manual_seed(0)
    sizes = {"vocab_size": 40, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2}
    sizes |= {"num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 8}
    return model_class(config_class(**(sizes | changes)))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"temperature": 0.6},
        {"top_k": 5},
        {"top_p": 0.7},
        {"min_p": 0.2},
        {"temperature": 0.8, "top_p": 0.8, "top_k": 9},
    ],
    ids=str,
)
def test_same_seed_same_tokens_as_generate(changes):
    """Same random numbers as generate, rows leaving the batch or not, and the generator left in the
    same state."""
    model = tiny_model()
    options = SamplingOptions(
        max_new_tokens=12, eos_ids=tuple(range(1, 42, 5)), pad_id=0, **changes
    )
    torch.manual_seed(5)
    expected, state = generated(model, options), torch.get_rng_state()
    torch.manual_seed(5)
    found = sample_rows(model, PROMPTS, ROWS, options)
    assert found == expected
    assert torch.equal(torch.get_rng_state(), state)
    assert len({len(row) for row in found}) > 1, "rows should end at different steps"


ROUNDS_UP = 1 - 2.0**-53
"""The largest number below 1 that is drawn: times a sum it may round to the sum."""


@pytest.mark.parametrize(
    ("probs", "uniform", "token"),
    [
        ([0.5, 0.5, 0.0], 0.0, 0),
        ([0.0, 0.5, 0.5], 0.0, 1),
        ([0.25, 0.5, 0.25], 0.25, 1),
        ([0.25, 0.5, 0.25], 0.7499, 1),
        ([0.25, 0.5, 0.25, 0.0, 0.0], ROUNDS_UP, 2),
        ([0.1] * 3 + [0.0], ROUNDS_UP, 2),
    ],
)
def test_the_token_of_a_share(probs, uniform, token):
    found = generation._inverse_cdf(
        torch.tensor([probs]), torch.tensor([[uniform]], dtype=torch.float64)
    )
    assert found.tolist() == [token]


def test_one_number_a_row_draws_by_the_same_probabilities(monkeypatch):
    """Where the vocabulary is large; and a row's tokens do not hang on which others have ended."""
    monkeypatch.setattr(generation, "LARGE_VOCABULARY", 0)
    model = tiny_model()
    options = SamplingOptions(max_new_tokens=1, eos_ids=(41,), pad_id=0, top_k=5)
    rows = [1] * 4000
    torch.manual_seed(3)
    first = [row[0] for row in sample_rows(model, PROMPTS, rows, options)]
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([PROMPTS[1]])).logits[0, -1:]
    probs = torch.softmax(options.warpers()(None, logits.float()), -1)[0].double()
    counts = torch.bincount(torch.tensor(first), minlength=len(probs)).double()
    assert not counts[probs == 0].any()
    kept = probs > 0
    chi_square = ((counts - 4000 * probs)[kept] ** 2 / (4000 * probs[kept])).sum()
    assert chi_square < 18.5  # its .999 quantile for four degrees of freedom

    ends = tuple(range(1, 42, 5))
    long = SamplingOptions(max_new_tokens=12, eos_ids=ends, pad_id=0)
    torch.manual_seed(5)
    compacted = sample_rows(model, PROMPTS, ROWS, long)
    monkeypatch.setattr(generation, "COMPACT_BELOW", 0.0)
    torch.manual_seed(5)
    assert sample_rows(model, PROMPTS, ROWS, long) == compacted


@pytest.mark.parametrize(
    "model",
    [
        tiny_model(attn_implementation="eager"),
        small(LlamaConfig, LlamaForCausalLM),
        small(GemmaConfig, GemmaForCausalLM),
        get_peft_model(
            tiny_model(),
            LoraConfig(r=2, target_modules=["q_proj", "v_proj"], init_lora_weights=False),
        ),
    ],
    ids=["eager", "llama", "gemma", "lora"],
)
def test_other_models(model):
    assert why_not_fast(model) is None
    options = SamplingOptions(max_new_tokens=8, eos_ids=(1, 4), pad_id=0)
    torch.manual_seed(2)
    expected = generated(model, options)
    torch.manual_seed(2)
    assert sample_rows(model, PROMPTS, ROWS, options) == expected


SIZES = {
    "vocab_size": 42,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "moe_intermediate_size": 16,
    "num_experts": 4,
    "num_experts_per_tok": 2,
    "num_local_experts": 4,
    "max_position_embeddings": 128,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 1,
    "sliding_window": None,
}


def of_kind(kind):
    """A small model of a kind, with random weights."""
    torch.manual_seed(0)
    config = CONFIG_MAPPING[kind]()
    config.update({name: value for name, value in SIZES.items() if name in config.to_dict()})
    config._attn_implementation = "sdpa"
    return AutoModelForCausalLM.from_config(type(config).from_dict(config.to_dict())).eval()


@pytest.mark.parametrize("kind", sorted(ORDINARY))
def test_every_kind_that_is_taken_for_ordinary_is(kind):
    """The tokens of `generate` and the log-probabilities of plain rows, for kinds that declare no
    layer types."""
    model = of_kind(kind)
    assert why_not_fast(model) is None
    options = SamplingOptions(max_new_tokens=6, eos_ids=(1, 4), pad_id=0)
    torch.manual_seed(2)
    expected = generated(model, options)
    torch.manual_seed(2)
    assert sample_rows(model, PROMPTS, ROWS, options) == expected
    prompts, mask = left_pad([PROMPTS[place] for place in ROWS], 0, torch.device("cpu"))
    random = torch.Generator().manual_seed(0)
    completions = torch.randint(3, 40, (len(ROWS), 5), generator=random)
    ids, mask = (
        torch.cat([prompts, completions], 1),
        torch.cat([mask, torch.ones_like(completions)], 1),
    )
    packed = pack(ids, mask, 5)
    inputs = packed.model_inputs("sdpa", model.dtype)
    labels = inputs.pop("shift_labels")
    with torch.no_grad():
        shared = torch.log_softmax(model(**inputs).logits, -1)
        positions = (mask.cumsum(1) - 1).clamp(min=0)
        plain = torch.log_softmax(
            model(input_ids=ids, attention_mask=mask, position_ids=positions).logits, -1
        )
    plain = plain[:, -6:-1].gather(2, completions[:, :, None])[:, :, 0]
    shared = packed.unpack(shared.gather(2, labels.clamp(min=0)[:, :, None])[:, :, 0])
    torch.testing.assert_close(shared, plain, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("falcon_h1", "recurrent state"),
        ("nemotron_h", "recurrent state"),
        ("bamba", "recurrent state"),
        ("recurrent_gemma", "recurrent state"),
        ("gpt_neo", "models of the kind 'gpt_neo' do not declare"),
        ("lfm2", "conv layers"),
        ("gemma2", "sliding_attention layers"),
        ("minimax", "linear_attention layers"),
    ],
)
def test_what_does_not_declare_full_attention_takes_trls_own_path(kind, reason):
    """By the class and the config alone: nothing of these models is built."""
    config = CONFIG_MAPPING[kind]()
    if kind == "lfm2":
        config.layer_types = ["conv", "full_attention"]
    config._attn_implementation = "sdpa"
    model = AutoModelForCausalLM._model_mapping[type(config)].__new__(
        AutoModelForCausalLM._model_mapping[type(config)]
    )
    model.__dict__["config"] = config
    assert reason in str(why_not_fast(model))


def test_reasons():
    plain = {
        "do_sample": True,
        "repetition_penalty": 1.0,
        "cache_implementation": None,
        "temperature": 0.7,
    }
    assert why_not_options(plain, {"eos_token_id": 1, "output_scores": False}) is None
    assert "no_repeat_ngram_size=3" in str(why_not_options(plain | {"no_repeat_ngram_size": 3}, {}))
    assert "suppress_tokens" in str(why_not_options(plain, {"suppress_tokens": [4]}))
    assert "repetition_penalty" in str(why_not_options(plain | {"repetition_penalty": 1.2}, {}))
    assert "cache_implementation" in str(
        why_not_options(plain | {"cache_implementation": "static"}, {})
    )
    assert "do_sample" in str(why_not_options(plain | {"do_sample": False}, {}))
    assert "sliding" in str(
        why_not_fast(tiny_model(use_sliding_window=True, sliding_window=4, max_window_layers=0))
    )
    assert "'bloom' do not declare" in str(
        why_not_fast(
            BloomForCausalLM(BloomConfig(vocab_size=40, hidden_size=16, n_layer=1, n_head=2))
        )
    )
    prefix = get_peft_model(
        tiny_model(), PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=2)
    )
    assert "virtual tokens" in str(why_not_fast(prefix))


def test_evaluation_samples():
    """Ragged counts in the order of the prompts, whatever the batches; the global generator is left
    alone."""
    model = tiny_model().train()
    options = SamplingOptions(max_new_tokens=6, eos_ids=(1,), pad_id=0)
    before = torch.get_rng_state()
    found = sample(model, PROMPTS, [3, 1, 4], options, seed=7, rows_per_batch=3)
    assert [len(group) for group in found] == [3, 1, 4]
    assert found == sample(model, PROMPTS, [3, 1, 4], options, seed=7, rows_per_batch=3)
    assert found != sample(model, PROMPTS, [3, 1, 4], options, seed=8, rows_per_batch=3)
    assert torch.equal(torch.get_rng_state(), before)
    assert model.training
    sharp = SamplingOptions(max_new_tokens=6, eos_ids=(1,), pad_id=0, top_k=1)
    greedy = sample(model, PROMPTS, 2, sharp, seed=0, rows_per_batch=2)
    alone = [sample(model, [prompt], 1, sharp, seed=1)[0][0] for prompt in PROMPTS]
    assert greedy == [[row, row] for row in alone]


def test_evaluation_of_a_model_without_fast_path():
    torch.manual_seed(0)
    model = BloomForCausalLM(BloomConfig(vocab_size=40, hidden_size=16, n_layer=1, n_head=2))
    options = SamplingOptions(max_new_tokens=5, eos_ids=(1, 3, 7), pad_id=0)
    found = sample(model, PROMPTS, 2, options, seed=7)
    model.generation_config.repetition_penalty = 5.0
    assert found == sample(model, PROMPTS, 2, options, seed=7)
    assert all(
        1 <= len(row) <= 5 and not set(row[:-1]) & {1, 3, 7} for group in found for row in group
    )


def test_evaluation_bad_input():
    options = SamplingOptions(max_new_tokens=5, eos_ids=(1,), pad_id=0)
    with pytest.raises(OptionError, match="2 counts for 3 prompts"):
        sample(tiny_model(), PROMPTS, [1, 2], options, seed=0)
    with pytest.raises(OptionError, match="prompt 1 has 0 tokens"):
        sample(tiny_model(), [[3], []], 1, options, seed=0)
    with pytest.raises(OptionError, match="temperature"):
        SamplingOptions(max_new_tokens=5, eos_ids=(1,), pad_id=0, temperature=-1.0)


GREEDY = SamplingOptions(max_new_tokens=10, eos_ids=(2,), pad_id=0, temperature=0)


def likeliest(model, prompt):
    """The definition of greedy, without a cache or padding."""
    tokens = list(prompt)
    for _ in range(GREEDY.max_new_tokens):
        with torch.no_grad():
            tokens.append(int(model(torch.tensor([tokens])).logits[0, -1].argmax()))
        if tokens[-1] in GREEDY.eos_ids:
            break
    return tokens[len(prompt) :]


@pytest.mark.parametrize("fast", [True, False])
def test_greedy_is_the_likeliest_token_whatever_the_seed(fast, monkeypatch):
    model = small(LlamaConfig, LlamaForCausalLM)
    if not fast:
        monkeypatch.setattr(evaluation, "why_not_sampled", lambda model: "told so")
    torch.manual_seed(1)
    before = torch.get_rng_state()
    found = sample(model, PROMPTS, 1, GREEDY, seed=0)
    assert torch.equal(torch.get_rng_state(), before)
    assert found == sample(model, PROMPTS, 1, GREEDY, seed=1, rows_per_batch=2)
    assert found == [[likeliest(model, prompt)] for prompt in PROMPTS]


def test_a_negative_temperature_is_refused():
    with pytest.raises(OptionError, match="greedy"):
        SamplingOptions(max_new_tokens=1, eos_ids=(2,), pad_id=0, temperature=-1)
