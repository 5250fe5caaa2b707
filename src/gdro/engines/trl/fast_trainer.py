"""The part of the trainer that is faster than TRL's own and computes the same, each where it applies:

- `_generate_single_turn`: the fast sampler (`generation.py`);
- `_get_per_token_logps_and_entropies`: a prompt is read once for all its rollouts (`shared_prefix.py`);
- `_without_dead_rows`: rollouts without a gradient are left out of the training pass (`dropping.py`).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from accelerate.logging import get_logger
from peft import PeftModel
from trl import GRPOTrainer
from trl.models.utils import unwrap_model_for_generation

from gdro.core.errors import OptionError
from gdro.engines.trl import dropping, fast_path, shared_prefix
from gdro.engines.trl.generation import SamplingOptions, sample_rows

logger = get_logger(__name__)


class FastTrainer(GRPOTrainer):  # type: ignore[misc]
    """`GRPOTrainer` with the fast paths that its `args`, a `GDROConfig`, allow."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        reason = dropping.why_not_drop(self.args, self.aux_loss_enabled)
        if self.args.drop_dead_rows and reason is not None:
            logger.info(f"Rollouts without an advantage stay in the training pass: {reason}.")
        self._drops_dead_rows = self.args.drop_dead_rows and reason is None
        self._shares_prefix = self._can_share_prefix()
        self._sampling = self._fast_sampling()

    def _generate_single_turn(
        self,
        prompt_ids: list[list[int]],
        images: Any,
        multimodal_fields: Any,
        num_generations: int,
        **kwargs: Any,
    ) -> Any:
        """The fast sampler where it applies, else TRL's; one completion a row in either."""
        if self._sampling is None or images is not None or multimodal_fields:
            ragged = 1 if self.model.training else num_generations
            return super()._generate_single_turn(prompt_ids, images, multimodal_fields, ragged, **kwargs)
        places: dict[tuple[int, ...], int] = {}
        rows = [places.setdefault(tuple(ids), len(places)) for ids in prompt_ids]
        with unwrap_model_for_generation(
            self.model_wrapped,
            self.accelerator,
            gradient_checkpointing_kwargs=self.args.gradient_checkpointing_kwargs,
        ) as model:
            at_once = self.args.generation_rows or len(rows)
            parts = [rows[start : start + at_once] for start in range(0, len(rows), at_once)]
            return [row for part in parts for row in self._sample_part(model, list(places), part)], None

    def _sample_part(self, model: Any, prompts: list[tuple[int, ...]], rows: list[int]) -> list[list[int]]:
        """Sample rows in one batch, from the prompts that they continue."""
        assert self._sampling is not None
        used = list(dict.fromkeys(rows))
        places = {prompt: place for place, prompt in enumerate(used)}
        return sample_rows(model, [prompts[i] for i in used], [places[i] for i in rows], self._sampling)

    def _fast_sampling(self) -> SamplingOptions | None:
        """Options of the fast sampler; None, with the reason in the log, where TRL's own path is used."""
        reason = self.why_not_fast()
        if reason is not None:
            if self.args.generation_rows is not None:
                raise OptionError(
                    f"generation_rows={self.args.generation_rows} bounds the fast path only, which is off here: "
                    f"{reason}. Leave it out"
                )
            if self.args.fast_generation:
                logger.warning(f"Fast generation is off, TRL's own path is used: {reason}.")
            return None
        options = self.generation_kwargs
        return SamplingOptions(
            max_new_tokens=options["max_new_tokens"],
            eos_ids=tuple(np.atleast_1d(options["eos_token_id"]).tolist()),
            pad_id=options["pad_token_id"],
            temperature=options["temperature"],
            top_k=options["top_k"] or 0,
            top_p=1.0 if options["top_p"] is None else options["top_p"],
            min_p=options["min_p"],
        )

    def why_not_fast(self) -> str | None:
        """Why TRL's own generation is used, or None when the fast sampler is."""
        if not self.args.fast_generation:
            return "fast_generation=False"
        if self.use_vllm or self.use_transformers_continuous_batching:
            return "vLLM or continuous batching generates"
        if self.tools or self.rollout_func is not None or self.environment_factories is not None or self._is_vlm:
            return "tools, images, environments or a rollout function are in use"
        if self.is_fsdp_enabled or self.is_deepspeed_enabled:
            return "FSDP or DeepSpeed shards the weights, so every process must take the same number of steps"
        model = self.accelerator.unwrap_model(self.model)
        base = model.get_base_model() if isinstance(model, PeftModel) else model
        defaults = base.generation_config.to_diff_dict()
        return fast_path.why_not_fast(model) or fast_path.why_not_options(self.generation_kwargs, defaults)

    def _get_per_token_logps_and_entropies(
        self,
        model: Any,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        logits_to_keep: int,
        batch_size: int | None = None,
        **kwargs: Any,
    ) -> Any:
        """TRL's, or the same from prompts read once."""
        whole = batch_size is None or batch_size >= len(input_ids)
        if self._shares_prefix and whole and kwargs.get("pixel_values") is None:
            packed = shared_prefix.pack(input_ids, attention_mask, logits_to_keep)
            config = self.accelerator.unwrap_model(model).config
            with self.accelerator.autocast():
                output = model(**packed.model_inputs(config._attn_implementation, self.model.dtype), fused_lm_head=True)
            entropy = packed.unpack(output.entropy) if kwargs.get("compute_entropy") else None
            return packed.unpack(output.log_probs), entropy, None
        return super()._get_per_token_logps_and_entropies(
            model, input_ids, attention_mask, logits_to_keep, batch_size, **kwargs
        )

    def _can_share_prefix(self) -> bool:
        """On a CPU unless told otherwise; a GPU's attention kernels want no mask of their own."""
        wanted = self.args.shared_prefix
        if wanted is None:
            wanted = self.accelerator.device.type == "cpu"
        model = self.accelerator.unwrap_model(self.model)
        return bool(wanted) and not self.aux_loss_enabled and fast_path.why_not_fast(model) is None

    def _without_dead_rows(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """The rollouts that have a gradient, where leaving out the others is exact. Every process keeps as many rows as
        the fullest one: TRL gathers per-row metrics."""
        if not self._drops_dead_rows or "pixel_values" in inputs:
            return inputs
        advantages = inputs["advantages"]
        live = (advantages != 0).sum().clamp(min=1)
        most = int(self.accelerator.gather(live[None]).max())
        if most == advantages.numel():
            return inputs
        return dropping.drop_rows(inputs, dropping.rows_to_keep(advantages, most), self.loss_type)
