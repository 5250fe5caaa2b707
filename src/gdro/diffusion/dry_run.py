"""`gdro diffusion RECIPE --dry-run`: settings checked, work and memory told; no weights are loaded.

Parameters and adapters are counted on the architecture itself, built without memory (torch's meta
device). Memory is an estimate: the sum of what must be held at once, with the activation rule of a
transformer block below.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import FluxTransformer2DModel, SD3Transformer2DModel
from peft import LoraConfig

from gdro.core.errors import DiffusionError
from gdro.diffusion.config import DiffusionConfig
from gdro.diffusion.digits_base import BASE, small_transformer
from gdro.diffusion.families import Digits

GB = 1e9
BLOCK_VALUES = 34
"""Values a token and channel that one transformer block keeps for its backward pass (arXiv
2205.05198, eq. 2, without the attention matrix, which is not kept)."""
LATENT_STRIDE = 8
TOKEN_STRIDE = 2
"""Pixels a latent cell, and latent cells a token, along a side: of both families."""
DECODER_VALUES = 512
"""Values a pixel that the VAE's decoder holds at its widest: 128 channels, four at a time."""
ENCODERS_GB = {"sd3": 11.0, "flux": 9.8, "digits": 0.0}
"""Text encoders and VAE in bfloat16: T5-XXL's encoder (4.76e9 parameters) and one or two CLIP
models."""
TEXT_TOKENS = {"sd3": 333, "flux": 512, "digits": 1}
KNOWN: dict[str, dict[str, Any]] = {
    "stabilityai/stable-diffusion-3.5-medium": {
        "num_layers": 24,
        "num_attention_heads": 24,
        "caption_projection_dim": 1536,
        "pos_embed_max_size": 384,
        "dual_attention_layers": tuple(range(13)),
        "qk_norm": "rms_norm",
    },
    "stabilityai/stable-diffusion-3.5-large": {
        "num_layers": 38,
        "num_attention_heads": 38,
        "caption_projection_dim": 2432,
        "pos_embed_max_size": 192,
        "qk_norm": "rms_norm",
    },
    "stabilityai/stable-diffusion-3-medium-diffusers": {
        "num_layers": 24,
        "num_attention_heads": 24,
        "caption_projection_dim": 1536,
        "pos_embed_max_size": 192,
    },
    "black-forest-labs/FLUX.1-dev": {"guidance_embeds": True},
    "black-forest-labs/FLUX.1-schnell": {},
}
"""Architectures of well-known bases, where they differ from the defaults of diffusers' class."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """What a run holds and does.

    Attributes:
        parameters, adapters: numbers of weights of the transformer and of its adapters.
        width, blocks: channels and transformer blocks.
        tokens: tokens of an image and its prompt.
        latent: values of an image's latent.
        source: where the architecture comes from.
    """

    parameters: int
    adapters: int
    width: int
    blocks: int
    tokens: int
    latent: int
    source: str

    def frozen_bytes(self, config: DiffusionConfig) -> float:
        """The base's weights."""
        return self.parameters * (2.0 if config.mixed_precision == "bf16" else 4.0)

    def update_bytes(self, config: DiffusionConfig) -> float:
        """Base, adapters with gradients, two moments and the average, and the activations of one
        pass."""
        number = 2.0 if config.mixed_precision == "bf16" else 4.0
        images = config.train_batch_size * config.group_size
        cell = images * self.tokens * self.width * number
        kept = self.blocks * cell + BLOCK_VALUES * cell if config.gradient_checkpointing else (
            self.blocks * BLOCK_VALUES * cell
        )  # fmt: skip
        states = self.adapters * 4.0 * (5.0 if config.ema_decay else 4.0)
        return self.frozen_bytes(config) + states + kept

    def encoding_bytes(self, config: DiffusionConfig) -> float:
        """Base, text encoders and VAE, as a pipeline is loaded; the encoders go once the prompts
        are encoded."""
        return self.frozen_bytes(config) + ENCODERS_GB[config.family] * GB

    def sampling_bytes(self, config: DiffusionConfig) -> float:
        """Base, adapters, and of the images sampled together one block's values or, afterwards, the
        decoder's."""
        number = 2.0 if config.mixed_precision == "bf16" else 4.0
        guided = 2 if config.family == "sd3" and config.guidance_scale > 1.0 else 1
        cell = guided * config.sample_batch_size * self.tokens * self.width * number
        decoder = 0.0 if config.family == "digits" else (
            config.sample_batch_size * config.resolution**2 * DECODER_VALUES * number
        )  # fmt: skip
        return self.frozen_bytes(config) + self.adapters * 4.0 + max(BLOCK_VALUES * cell, decoder)


def dry_run(config: DiffusionConfig) -> str:
    """The page that the command prints.

    Raises:
        DiffusionError: the prompts or the architecture are not there.
    """
    prompts, sizes = config.prompt_list, sizes_of(config)
    stored = len(prompts) * config.num_images_per_prompt
    groups = config.train_batch_size * config.gradient_accumulation_steps
    seen = config.max_train_steps * groups * config.group_size
    disk = (
        stored
        * (4.0 * sizes.latent + config.resolution**2 * (1 if config.family == "digits" else 3))
        / GB
    )
    sampler = stored * config.num_inference_steps
    encoding = sizes.encoding_bytes(config) / GB
    update, sampling = sizes.update_bytes(config) / GB, sizes.sampling_bytes(config) / GB
    return (
        f"settings  ok: {config.name}, {config.loss_type}, reward {config.reward},"
        f" judge {config.judge or 'none'}\n"
        f"model     {config.pretrained_model_name_or_path}: {sizes.parameters:,} parameters,"
        f" from {sizes.source}\n"
        f"adapters  rank {config.rank}: {sizes.adapters:,} parameters\n"
        f"groups    {len(prompts)} prompts x {config.num_images_per_prompt} images = {stored:,}, "
        f"{sampler:,} sampler steps, {disk:.2f} GB on disk\n"
        f"training  {config.max_train_steps} updates x {groups} groups x {config.group_size}"
        f" images = {seen:,},"
        " "
        f"each forward twice and backward once\n"
        f"beta        {config.beta:g} on the mean over {sizes.latent:,} latent values "
        f"= {config.beta / sizes.latent:.3g} on their sum\n"
        f"memory      estimate, of the {'GPU' if config.family != 'digits' else 'process'}, in GB\n"
        f"            loading   {encoding:.2f}  (text encoders and all; they go once the"
        " prompts are encoded)\n"
        f"            updating  {update:.2f}" + ("" if config.gradient_checkpointing else
        "  (gradient_checkpointing true lowers it)") + "\n"
        f"            sampling   {sampling:.2f}  (sample_batch_size {config.sample_batch_size})\n"
        f"            peak       {max(encoding, update, sampling):.2f}"
    )  # fmt: skip


def sizes_of(config: DiffusionConfig) -> Sizes:
    """Count on the architecture.

    Raises:
        DiffusionError: nothing says what the architecture is.
    """
    with torch.device("meta"):
        model, source = _architecture(config)
        parameters = sum(part.numel() for part in model.parameters())
        targets = _targets(config)
        model.add_adapter(LoraConfig(r=config.rank, target_modules=list(targets)))
    adapters = sum(part.numel() for part in model.parameters()) - parameters
    stride = 4 if config.family == "digits" else LATENT_STRIDE * TOKEN_STRIDE
    tokens = (config.resolution // stride) ** 2 + TEXT_TOKENS[config.family]
    cells = 256 if config.family == "digits" else 16 * (config.resolution // LATENT_STRIDE) ** 2
    blocks = model.config.num_layers + model.config.get("num_single_layers", 0)
    return Sizes(parameters, adapters, model.inner_dim, blocks, tokens, cells, source)


def _targets(config: DiffusionConfig) -> tuple[str, ...]:
    if config.family == "digits":
        return Digits.lora_targets
    from gdro.diffusion.pipelines import FAMILIES

    return FAMILIES[config.family].lora_targets


def _architecture(config: DiffusionConfig) -> tuple[Any, str]:
    path = Path(config.pretrained_model_name_or_path)
    if config.family == "digits":
        return small_transformer(), (
            f"{path / BASE}" if (path / BASE).is_file() else "its recipe; it is not trained yet"
        )
    kind = SD3Transformer2DModel if config.family == "sd3" else FluxTransformer2DModel
    file = path / "transformer" / "config.json"
    if file.is_file():
        return kind.from_config(json.loads(file.read_text(encoding="utf-8"))), str(file)
    if config.pretrained_model_name_or_path in KNOWN:
        return (
            kind(**KNOWN[config.pretrained_model_name_or_path]),
            "the architecture that gdro knows by this name",
        )
    raise DiffusionError(
        f"pretrained_model_name_or_path {str(path)!r}: no {file}, and no base that gdro knows by"
        f" name ({', '.join(KNOWN)}); give a local folder for a dry run"
    )
