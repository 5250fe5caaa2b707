"""What a `model:` setting may name, and one line for whatever is broken."""

import json
import shutil

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from small_gguf import small_llama
from transformers import AutoModelForCausalLM

from gdro.core.errors import ModelError
from gdro.models.loading import load_model, plain_folder
from gdro.models.locate import locate
from gdro.runs.model_size import model_size
from gdro.tiny import base_path


@pytest.fixture
def folder(tmp_path):
    """A copy of the embedded model that may be broken."""
    shutil.copytree(base_path(), tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture
def adapters(tmp_path):
    """LoRA adapters on the embedded model that change it."""
    base = AutoModelForCausalLM.from_pretrained(base_path())
    model = get_peft_model(
        base, LoraConfig(r=2, target_modules="all-linear", task_type="CAUSAL_LM")
    )
    torch.manual_seed(0)
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.1)
    model.save_pretrained(tmp_path / "run" / "model")
    return tmp_path / "run" / "model"


def _logits(model):
    with torch.no_grad():
        return model(torch.arange(1, 9)[None]).logits


def test_a_home_folder_is_expanded(folder, monkeypatch):
    monkeypatch.setenv("HOME", str(folder.parent))
    assert locate("~/model").path == str(folder)


def test_adapters_are_merged_into_their_base(adapters):
    model, tokenizer, path = load_model(str(adapters))
    expected = PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(base_path()), adapters
    )
    torch.testing.assert_close(_logits(model), _logits(expected))
    assert not torch.allclose(
        _logits(model), _logits(AutoModelForCausalLM.from_pretrained(base_path())), atol=1e-3
    )
    assert tokenizer("1")["input_ids"]
    assert path == str(adapters)
    assert model_size(str(adapters)) == model_size("tiny")


def test_adapters_whose_base_was_on_another_machine_take_the_run_s(adapters):
    config = adapters / "adapter_config.json"
    config.write_text(
        json.dumps(json.loads(config.read_text()) | {"base_model_name_or_path": "/nowhere/model"})
    )
    with pytest.raises(ModelError, match=r"base_model_name_or_path in .*adapter_config\.json"):
        load_model(str(adapters))
    (adapters.parent / "config.yaml").write_text("name: run\nmodel: tiny\n")
    load_model(str(adapters))


def test_other_engines_get_a_plain_folder(adapters, plain_file, cache):
    for name in (str(adapters), str(plain_file)):
        path = plain_folder(name)
        assert path.startswith(str(cache))
        torch.testing.assert_close(
            _logits(AutoModelForCausalLM.from_pretrained(path)), _logits(load_model(name)[0])
        )
        assert plain_folder(name) == path
    assert plain_folder("tiny") == str(base_path())
    assert plain_folder("org/name") == "org/name"


def test_a_gguf_file_is_sized_by_its_header_alone(plain_file, cache):
    sizes, origin = model_size(str(plain_file))
    assert origin == "the .gguf file"
    assert (sizes.parameters, sizes.layers, sizes.hidden) == (small_llama().num_parameters(), 2, 64)
    assert (sizes.kv_heads, sizes.head_dim, sizes.vocabulary) == (1, 32, 101)
    assert not (cache / "models").exists()


@pytest.mark.parametrize("name", ["./nowhere", "~/nowhere", "/nowhere", "a/b/c", "nowhere/x.gguf"])
def test_a_path_that_is_not_there(name):
    with pytest.raises(ModelError, match="there is no such"):
        locate(name)


def test_a_name_that_is_nearly_one_of_ours():
    with pytest.raises(ModelError, match="did you mean smollm2"):
        load_model("smolm2")


def test_folders_that_hold_something_else(tmp_path):
    with pytest.raises(ModelError, match=r"no config\.json"):
        locate(str(tmp_path))
    (tmp_path / "x.gguf").touch()
    with pytest.raises(ModelError, match=r"name the file itself: .*x\.gguf"):
        locate(str(tmp_path))
    (tmp_path / "config.yaml").touch()
    (tmp_path / "metrics.jsonl").touch()
    with pytest.raises(ModelError, match=f"its trained model is {tmp_path / 'model'}"):
        locate(str(tmp_path))
    with pytest.raises(ModelError, match="is a file"):
        locate(str(tmp_path / "config.yaml"))


def _cut(folder, name, share=0.5):
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[: int(len(content) * share)])


def _without_a_weight(folder):
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    del weights["model.norm.weight"]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})


def _of_another_shape(folder):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(
        json.dumps(config | {"intermediate_size": config["intermediate_size"] + 32})
    )


DAMAGES = {
    "weights cut off": lambda folder: _cut(folder, "model.safetensors"),
    "weights of nothing": lambda folder: (folder / "model.safetensors").write_bytes(b""),
    "no weights": lambda folder: (folder / "model.safetensors").unlink(),
    "a weight missing": _without_a_weight,
    "another shape": _of_another_shape,
    "config cut off": lambda folder: _cut(folder, "config.json"),
    "config of a list": lambda folder: (folder / "config.json").write_text("[]"),
    "config without a type": lambda folder: (folder / "config.json").write_text("{}"),
    "config of an unknown type": lambda folder: (folder / "config.json").write_text(
        '{"model_type": "new1"}'
    ),
    "tokenizer cut off": lambda folder: _cut(folder, "tokenizer.json"),
    "tokenizer of something else": lambda folder: (folder / "tokenizer.json").write_text(
        '{"model": 1}'
    ),
    "tokenizer settings cut off": lambda folder: _cut(folder, "tokenizer_config.json"),
    "an encoder": lambda folder: (folder / "config.json").write_text('{"model_type": "vit"}'),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_broken_folder_is_one_line(damage, folder):
    DAMAGES[damage](folder)
    with pytest.raises(ModelError) as refused:
        load_model(str(folder))
    assert "\n" not in str(refused.value)
    assert str(folder) in str(refused.value)
