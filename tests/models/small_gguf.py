"""A small .gguf file with known weights, written from a transformers model by llama.cpp's rules."""

from pathlib import Path

import gguf
import numpy as np
import torch
from transformers import LlamaConfig, LlamaForCausalLM

WIDTH, LAYERS, HEADS = 64, 2, 2
SPECIAL = ["<unk>", "<s>", "</s>"]
TEMPLATE = (
    "{% for m in messages %}[{{ m['role'] }}]{{ m['content'] }}{% endfor %}{% if"
    " add_generation_prompt %}[a]{% endif %}"
)
PLACES = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
}


def small_llama(seed: int = 0) -> LlamaForCausalLM:
    """Random weights; every token of the file's vocabulary has a row."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(_tokens()),
        hidden_size=WIDTH,
        intermediate_size=2 * WIDTH,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        num_key_value_heads=1,
        max_position_embeddings=128,
        tie_word_embeddings=True,
    )
    return LlamaForCausalLM(config).eval()


def write(
    path: Path,
    model: LlamaForCausalLM,
    kind: gguf.GGMLQuantizationType = gguf.GGMLQuantizationType.F32,
    architecture: str = "llama",
    left_out: str = "",
) -> Path:
    """Write the model; `kind` is the type of its matrices, `left_out` a tensor that the file
    lacks."""
    out = gguf.GGUFWriter(path, architecture)
    out.add_block_count(LAYERS)
    out.add_context_length(128)
    out.add_embedding_length(WIDTH)
    out.add_feed_forward_length(2 * WIDTH)
    out.add_head_count(HEADS)
    out.add_head_count_kv(1)
    out.add_layer_norm_rms_eps(1e-6)
    out.add_rope_freq_base(10000.0)
    out.add_vocab_size(len(_tokens()))
    out.add_tokenizer_model("gpt2")
    out.add_token_list(_tokens())
    out.add_token_types([3] * len(SPECIAL) + [1] * (len(_tokens()) - len(SPECIAL)))
    out.add_token_merges(["1 2", "a b"])
    out.add_unk_token_id(0)
    out.add_bos_token_id(1)
    out.add_eos_token_id(2)
    out.add_add_bos_token(False)
    out.add_chat_template(TEMPLATE)
    for name, values in _tensors(model):
        if name == left_out:
            continue
        if values.ndim == 1 or kind == gguf.GGMLQuantizationType.F32:
            out.add_tensor(name, values)
        else:
            out.add_tensor(name, gguf.quantize(values, kind), raw_dtype=kind)
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()
    return path


def _tokens() -> list[str]:
    return [*SPECIAL, *(chr(code) for code in range(33, 127)), "Ġ", "Ċ", "12", "ab"]


def _tensors(model: LlamaForCausalLM) -> list[tuple[str, np.ndarray]]:
    state = {name: value.numpy() for name, value in model.state_dict().items()}
    found = [
        ("token_embd.weight", state["model.embed_tokens.weight"]),
        ("output_norm.weight", state["model.norm.weight"]),
    ]
    for layer in range(LAYERS):
        for ours, theirs in PLACES.items():
            values = state[f"model.layers.{layer}.{theirs}.weight"]
            if ours in ("attn_q", "attn_k"):
                values = _interleaved(values, HEADS if ours == "attn_q" else 1)
            found.append((f"blk.{layer}.{ours}.weight", values))
    return found


def _interleaved(values: np.ndarray, heads: int) -> np.ndarray:
    """llama.cpp keeps the two halves of a rotated pair side by side."""
    rows, columns = values.shape
    return (
        values.reshape(heads, 2, rows // heads // 2, columns)
        .swapaxes(1, 2)
        .reshape(rows, columns)
        .copy()
    )
