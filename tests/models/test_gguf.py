"""A .gguf file: a whole one gives the weights it was written with, any other one clear line."""

import contextlib

import gguf
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_gguf import small_llama, write

from gdro.core.errors import ModelError
from gdro.models.gguf import read_header
from gdro.models.loading import load_model
from gdro.models.locate import locate


def test_the_header_has_the_sizes(plain_file):
    header = read_header(plain_file)
    model = small_llama()
    assert header.architecture == "llama"
    assert header.parameters == sum(p.numel() for p in model.parameters())
    assert (header.number("block_count"), header.number("embedding_length")) == (2, 64)
    assert header.number("no_such_key") is None


def test_float32_weights_come_back_to_the_bit(plain_file, cache):
    told = []
    model, tokenizer, path = load_model(str(plain_file), told.append)
    expected = small_llama().state_dict()
    assert {
        name: torch.equal(value, expected[name]) for name, value in model.state_dict().items()
    } == dict.fromkeys(expected, True)
    assert tokenizer("12")["input_ids"] == [99]
    assert tokenizer.decode(tokenizer("ab 1\n")["input_ids"]) == "ab 1\n"
    assert tokenizer.eos_token == "</s>"
    chat = tokenizer.apply_chat_template(
        [{"role": "user", "content": "1"}], tokenize=False, add_generation_prompt=True
    )
    assert chat == "[user]1[a]"
    assert path.startswith(str(cache))
    assert "unpacking" in told[0]
    again = []
    load_model(str(plain_file), again.append)
    assert again == []


@pytest.mark.parametrize("kind", [gguf.GGMLQuantizationType.Q8_0, gguf.GGMLQuantizationType.Q4_1])
def test_quantised_weights_are_those_that_gguf_reads(kind, tmp_path):
    file = write(tmp_path / "small.gguf", small_llama(), kind)
    model, _, _ = load_model(str(file))
    for name, ours in (("blk.1.ffn_down.weight", "model.layers.1.mlp.down_proj.weight"),):
        tensor = next(t for t in gguf.GGUFReader(file).tensors if t.name == name)
        stored = gguf.dequantize(tensor.data, tensor.tensor_type)
        assert torch.equal(model.state_dict()[ours], torch.tensor(stored))
    assert not torch.equal(model.state_dict()[ours], small_llama().state_dict()[ours])


def test_another_file_of_the_same_name_is_another_model(tmp_path):
    file = tmp_path / "small.gguf"
    write(file, small_llama(seed=0))
    _, _, first = load_model(str(file))
    write(file, small_llama(seed=1))
    _, _, second = load_model(str(file))
    assert first != second


def test_a_missing_tensor_is_named_and_nothing_is_kept(tmp_path, cache):
    file = write(tmp_path / "small.gguf", small_llama(), left_out="blk.1.ffn_up.weight")
    with pytest.raises(ModelError, match=r"1 weights are missing.*layers\.1\.mlp\.up_proj"):
        load_model(str(file))
    assert not [path for path in cache.rglob("*") if path.is_file() and path.suffix != ".lock"]


def test_an_architecture_that_transformers_does_not_read(tmp_path):
    file = write(tmp_path / "odd.gguf", small_llama(), architecture="rwkv7")
    with pytest.raises(ModelError, match="architecture rwkv7"):
        load_model(str(file))


@pytest.mark.parametrize("share", [0.0, 0.001, 0.01, 0.3, 0.5, 0.99])
def test_a_file_that_is_cut_off(plain_file, tmp_path, share):
    whole = plain_file.read_bytes()
    file = tmp_path / "cut.gguf"
    file.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(ModelError, match=r"cut off|damaged|no \.gguf"):
        locate(str(file))


@pytest.mark.parametrize(
    "content", [b"", b"GG", b"PK\x03\x04" * 99, b"GGUF" + b"\xff" * 99, b"<html>" * 50]
)
def test_a_file_that_is_something_else(tmp_path, content):
    file = tmp_path / "odd.gguf"
    file.write_bytes(content)
    with pytest.raises(ModelError):
        locate(str(file))


@settings(max_examples=300)
@given(place=st.integers(0, 4000), byte=st.integers(0, 255), cut=st.integers(0, 3))
def test_a_garbled_header_is_read_or_refused(plain_file, tmp_path_factory, place, byte, cut):
    """Never another error, and never more memory or time than the file is worth."""
    garbled = bytearray(plain_file.read_bytes())
    garbled[place] = byte
    file = tmp_path_factory.getbasetemp() / "garbled.gguf"
    file.write_bytes(garbled[: len(garbled) - cut * 1000])
    with contextlib.suppress(ModelError):
        assert read_header(file).tensors
