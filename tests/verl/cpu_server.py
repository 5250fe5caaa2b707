"""The test's generation server, a Ray actor. Free of verl, which takes seconds to import."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import torch


class Server:
    """Samples token by token with the model's own forward pass; answers with the fields of verl's
    TokenOutput."""

    def __init__(self, model_path: str, response_length: int, seed: int) -> None:
        from transformers import AutoConfig, AutoModelForCausalLM

        torch.set_num_threads(1)
        config = AutoConfig.from_pretrained(model_path)
        self.model = AutoModelForCausalLM.from_config(config).float().eval()
        self.end = config.eos_token_id
        self.response_length = response_length
        self.random = torch.Generator().manual_seed(seed)
        self.global_steps = None

    async def load_weights(self, state, global_steps) -> None:
        self.model.load_state_dict(state)
        self.global_steps = global_steps

    async def generate(self, prompt_ids, sampling_params, request_id, **kwargs) -> SimpleNamespace:
        tokens, logps = self._sample(list(prompt_ids), max(sampling_params["temperature"], 1e-4))
        await asyncio.sleep(0)
        return SimpleNamespace(
            token_ids=tokens,
            log_probs=logps,
            routed_experts=None,
            stop_reason="completed",
            num_preempted=None,
            extra_fields={"global_steps": self.global_steps},
        )

    @torch.no_grad()
    def _sample(self, prompt_ids: list[int], temperature: float) -> tuple[list[int], list[float]]:
        tokens, logps = [], []
        while len(tokens) < self.response_length and self.end not in tokens:
            logits = self.model(torch.tensor([prompt_ids + tokens])).logits[0, -1].float()
            logp = torch.log_softmax(logits / temperature, -1)
            tokens.append(int(torch.multinomial(logp.exp(), 1, generator=self.random)))
            logps.append(float(logp[tokens[-1]]))
        return tokens, logps

    async def sleep(self, *args, **kwargs) -> None:
        pass

    wake_up = abort_all_requests = resume_generation = clear_kv_cache = sleep
