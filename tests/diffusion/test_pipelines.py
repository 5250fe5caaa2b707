"""Stable Diffusion 3 and FLUX.1: random small pipelines through the whole run; the sampler against
the stock one."""

import pytest
import torch
from tiny_pipelines import save_flux, save_sd3

from gdro.diffusion.config import load_config
from gdro.diffusion.families import rows
from gdro.diffusion.flow import generator
from gdro.diffusion.record import read_record
from gdro.diffusion.run import load_family, start

PROMPTS = ["a red cube", "a blue ball"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("pipelines")
    return {"sd3": save_sd3(root / "sd3"), "flux": save_flux(root / "flux")}


def settings(folders, family, **overrides):
    values = {
        "pretrained_model_name_or_path": folders[family],
        "mixed_precision": '"no"',
        "prompts": PROMPTS,
        "resolution": 32,
        "num_images_per_prompt": 3,
        "num_inference_steps": 2,
        "group_size": 3,
        "gradient_accumulation_steps": 2,
        "max_train_steps": 2,
        "validation_steps": 2,
        "num_validation_images": 2,
        "rank": 2,
    } | overrides
    return load_config(family, [f"{key}={value}" for key, value in values.items()])


@pytest.mark.parametrize(("family", "precision"), [("sd3", '"no"'), ("flux", "bf16")])
def test_the_whole_run(folders, family, precision, tmp_path):
    reward = tmp_path / "reward.py"
    reward.write_text(
        "import numpy\n\ndef score(images, prompts):\n    return [numpy.mean(i) / 255 for i in"
        " images]\n"
    )
    config = settings(
        folders,
        family,
        mixed_precision=precision,
        output_dir=tmp_path / "run",
        reward=f"{reward}:score",
    )
    run = start(config).path
    steps = [event for event in read_record(run / "metrics.jsonl") if event["event"] == "step"]
    assert [event["stating"] for event in steps] == [2, 2]
    assert (run / "report.html").is_file()
    pipe = load_family(config, print).pipe
    before = {name: part.clone() for name, part in pipe.transformer.named_parameters()}
    pipe.load_lora_weights(str(run))  # the stock way to use what was trained
    after = dict(pipe.transformer.named_parameters())
    lora = [name for name in after if "lora_B" in name]
    assert lora
    assert any(after[name].abs().sum() > 0 for name in lora)
    assert all(
        torch.equal(part, after[name.replace(".weight", ".base_layer.weight")])
        for name, part in before.items()
        if name not in after and "bias" not in name
    )


@pytest.mark.parametrize("family", ["sd3", "flux"])
def test_our_velocity_is_the_one_that_the_stock_sampler_follows(folders, family):
    """One Euler step of ours, from the same noise, is one step of the pipeline."""
    config = settings(folders, family, guidance_scale=1.0, reward="x.py:f")
    loaded = load_family(config, print)
    conditions = rows(loaded.encode(PROMPTS), torch.tensor([0, 1]))
    theirs = loaded.sample(conditions, [5, 6], 1, 1.0)
    shape = (4, 16, 16)
    noise = torch.stack([torch.randn((1, *shape), generator=generator(seed))[0] for seed in (5, 6)])
    if family == "flux":
        noise = loaded.pipeline._pack_latents(noise, 2, *shape)
    with torch.no_grad():
        # sigma falls from 1 to 0
        ours = noise - loaded.velocity(noise, torch.full((2,), 1000.0), conditions)
    assert torch.allclose(ours, theirs, atol=1e-5)


def test_a_base_that_cannot_be_loaded_is_named(folders, tmp_path):
    from gdro.core.errors import DiffusionError

    config = settings(
        folders, "sd3", pretrained_model_name_or_path=tmp_path / "nothing", reward="x.py:f"
    )
    with pytest.raises(
        DiffusionError, match=r"nothing.*cannot be loaded as a StableDiffusion3Pipeline"
    ):
        load_family(config, print)
