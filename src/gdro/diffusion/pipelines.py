"""Stable Diffusion 3 and FLUX.1 through their stock diffusers pipelines, which also sample and
decode.

Prompts are encoded once, then the text encoders are let go; latents are kept as the pipeline's
sampler leaves them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from diffusers import FluxPipeline, StableDiffusion3Pipeline

from gdro.core.errors import DiffusionError
from gdro.diffusion.config import DiffusionConfig
from gdro.diffusion.families import Conditions, Family, Images
from gdro.diffusion.flow import generator

ATTENTION = (
    "attn.to_q",
    "attn.to_k",
    "attn.to_v",
    "attn.to_out.0",
    "attn.add_q_proj",
    "attn.add_k_proj",
    "attn.add_v_proj",
    "attn.to_add_out",
)
ENCODE_BATCH = 8


def load_pipeline(config: DiffusionConfig) -> Family:
    """The pipeline of a run's family.

    Raises:
        DiffusionError: it cannot be loaded.
    """
    return FAMILIES[config.family](config)


class StockPipeline:
    """What both have in common: loading, encoding once, and the pipeline's own sampler and
    decoder."""

    pipeline: Any
    lora_targets: tuple[str, ...]
    encoders: tuple[str, ...]

    def __init__(self, config: DiffusionConfig) -> None:
        self.config = config
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.dtype = torch.bfloat16 if config.mixed_precision == "bf16" else torch.float32
        try:
            self.pipe = self.pipeline.from_pretrained(
                config.pretrained_model_name_or_path,
                revision=config.revision,
                variant=config.variant,
                dtype=self.dtype,
            )
        except (OSError, ValueError) as error:
            raise DiffusionError(
                f"pretrained_model_name_or_path {config.pretrained_model_name_or_path!r} cannot be"
                f" loaded as a {self.pipeline.__name__}: {' '.join(str(error).split())}"
            ) from error
        self.pipe.set_progress_bar_config(disable=True)
        self.pipe.to(self.device)
        self.transformer: Any = self.pipe.transformer
        self.scheduler: Any = self.pipe.scheduler

    def encode(self, prompts: Sequence[str]) -> Conditions:
        """Embeddings of the prompts, kept on the CPU; afterwards the text encoders are gone."""
        parts = []
        with torch.no_grad():
            for first in range(0, len(prompts), ENCODE_BATCH):
                parts.append(self._encoded(list(prompts[first : first + ENCODE_BATCH])))
            self._before_encoders_go()
        for name in self.encoders:
            setattr(self.pipe, name, None)
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        return {name: torch.cat([part[name] for part in parts]).cpu() for name in parts[0]}

    @torch.no_grad()
    def sample(
        self, conditions: Conditions, seeds: Sequence[int], steps: int, guidance: float
    ) -> torch.Tensor:
        """See Family."""
        found: torch.Tensor = self.pipe(
            **self._sampler_arguments(conditions, len(seeds)),
            height=self.config.resolution,
            width=self.config.resolution,
            num_inference_steps=steps,
            guidance_scale=guidance,
            generator=[generator(seed) for seed in seeds],
            output_type="latent",
        ).images
        return found

    @torch.no_grad()
    def decode(self, latents: torch.Tensor) -> Images:
        """See Family."""
        vae = self.pipe.vae
        scaled = self._unpacked(latents) / vae.config.scaling_factor + vae.config.shift_factor
        pixels = vae.decode(scaled.to(self.device, vae.dtype), return_dict=False)[0]
        found: Images = (
            (self.pipe.image_processor.postprocess(pixels, output_type="np") * 255.0)
            .round()
            .astype("uint8")
        )
        return found

    def _encoded(self, prompts: list[str]) -> dict[str, torch.Tensor]:
        raise NotImplementedError

    def _before_encoders_go(self) -> None:
        """Whatever else must be encoded."""

    def _sampler_arguments(self, conditions: Conditions, count: int) -> dict[str, Any]:
        return {
            "prompt_embeds": conditions["prompt"].to(self.device),
            "pooled_prompt_embeds": conditions["pooled"].to(self.device),
        }

    def _unpacked(self, latents: torch.Tensor) -> torch.Tensor:
        return latents


class StableDiffusion3(StockPipeline):
    """Trained without guidance on images sampled with it, as DGPO's authors do by default."""

    pipeline: Any = StableDiffusion3Pipeline
    lora_targets: tuple[str, ...] = ATTENTION
    encoders = ("text_encoder", "text_encoder_2", "text_encoder_3")

    def velocity(
        self, x: torch.Tensor, timestep: torch.Tensor, conditions: Conditions
    ) -> torch.Tensor:
        """See Family."""
        found: torch.Tensor = self.transformer(
            hidden_states=x.to(self.dtype),
            timestep=timestep,
            encoder_hidden_states=conditions["prompt"].to(self.device),
            pooled_projections=conditions["pooled"].to(self.device),
            return_dict=False,
        )[0]
        return found

    def _encoded(self, prompts: list[str]) -> dict[str, torch.Tensor]:
        prompt, _, pooled, _ = self.pipe.encode_prompt(
            prompt=prompts,
            prompt_2=None,
            prompt_3=None,
            device=self.device,
            do_classifier_free_guidance=False,
        )
        return {"prompt": prompt, "pooled": pooled}

    def _before_encoders_go(self) -> None:
        nothing = self._encoded([""])
        self.negative, self.negative_pooled = nothing["prompt"], nothing["pooled"]

    def _sampler_arguments(self, conditions: Conditions, count: int) -> dict[str, Any]:
        return super()._sampler_arguments(conditions, count) | {
            "negative_prompt_embeds": self.negative.expand(count, -1, -1),
            "negative_pooled_prompt_embeds": self.negative_pooled.expand(count, -1),
        }


class Flux(StockPipeline):
    """Latents stay packed, (N, tokens, channels); the distilled guidance is the one sampled
    with."""

    pipeline: Any = FluxPipeline
    lora_targets: tuple[str, ...] = (
        *ATTENTION,
        "ff.net.0.proj",
        "ff.net.2",
        "ff_context.net.0.proj",
        "ff_context.net.2",
    )
    encoders = ("text_encoder", "text_encoder_2")

    def __init__(self, config: DiffusionConfig) -> None:
        super().__init__(config)
        self.side = 2 * (config.resolution // (self.pipe.vae_scale_factor * 2))
        """Height and width of the unpacked latents."""

    def velocity(
        self, x: torch.Tensor, timestep: torch.Tensor, conditions: Conditions
    ) -> torch.Tensor:
        """See Family."""
        count, prompt = len(x), conditions["prompt"].to(self.device)
        guided = self.transformer.config.guidance_embeds
        found: torch.Tensor = self.transformer(
            hidden_states=x.to(self.dtype),
            timestep=timestep / 1000.0,
            guidance=(
                torch.full((count,), self.config.guidance_scale, device=self.device)
                if guided
                else None
            ),
            encoder_hidden_states=prompt,
            pooled_projections=conditions["pooled"].to(self.device),
            txt_ids=torch.zeros(prompt.shape[1], 3, device=self.device, dtype=self.dtype),
            img_ids=FluxPipeline._prepare_latent_image_ids(
                count, self.side // 2, self.side // 2, self.device, self.dtype
            ),
            return_dict=False,
        )[0]
        return found

    def _encoded(self, prompts: list[str]) -> dict[str, torch.Tensor]:
        prompt, pooled, _ = self.pipe.encode_prompt(
            prompt=prompts, prompt_2=None, device=self.device
        )
        return {"prompt": prompt, "pooled": pooled}

    def _unpacked(self, latents: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = FluxPipeline._unpack_latents(
            latents, self.config.resolution, self.config.resolution, self.pipe.vae_scale_factor
        )
        return found


FAMILIES: dict[str, type[StableDiffusion3] | type[Flux]] = {"sd3": StableDiffusion3, "flux": Flux}
