"""The test's generation server, a Ray actor. Free of verl, which takes seconds to import."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import torch


class Server:
    """Samples token by token with the model's own forward pass; answers with the fields of verl's TokenOutput."""

    def __init__(self, model_path: str, response_length: int, seed: int) -> None:
        from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

        torch.set_num_threads(1)
        self.model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(model_path)).float().eval()
        self.end = AutoTokenizer.from_pretrained(model_path).eos_token_id
        self.response_length = response_length
        self.random = torch.Generator().manual_seed(seed)
        self.global_steps = None

    async def load_weights(self, state, global_steps) -> None:
        self.model.load_state_dict(state)
        self.global_steps = global_steps

    @torch.no_grad()
    async def generate(self, prompt_ids, sampling_params, request_id, **kwargs) -> SimpleNamespace:
        ids, logps = list(prompt_ids), []
        for _ in range(self.response_length):
            logits = self.model(torch.tensor([ids])).logits[0, -1].float()
            logp = torch.log_softmax(logits / max(sampling_params["temperature"], 1e-4), -1)
            token = int(torch.multinomial(logp.exp(), 1, generator=self.random))
            ids.append(token)
            logps.append(float(logp[token]))
            if token == self.end:
                break
        await asyncio.sleep(0)
        return SimpleNamespace(
            token_ids=ids[len(prompt_ids) :],
            log_probs=logps,
            routed_experts=None,
            stop_reason="completed",
            num_preempted=None,
            extra_fields={"global_steps": self.global_steps},
        )

    async def sleep(self, *args, **kwargs) -> None:
        pass

    wake_up = abort_all_requests = resume_generation = clear_kv_cache = sleep
