"""What vLLM on a CPU needs so that TRL's own colocate mode works unchanged. Import it before a
trainer is built, and call `install`; or run `gdro ...` in a process of its own with the shims of
both modes: python cpu_colocate.py train ..."""

from __future__ import annotations

import sys
from typing import Any

import vllm
import vllm._custom_ops
from transformers import set_seed
from trl.generation import vllm_generation

# vLLM's CPU linear layers pack their weights with oneDNN after loading, and TRL's weight sync
# (`model.load_weights`) then finds parameters without `weight_loader`. Unpacked they stay tensors.
vllm._custom_ops._supports_onednn = False
_LLM = vllm.LLM
_engines: dict[str, Any] = {}


def fresh(**options: Any) -> Any:
    """An engine that a CPU can build in seconds."""
    # Eager, since torch.compile takes a minute; float32, since vLLM's `auto` makes it bfloat16.
    return _LLM(**(options | {"enforce_eager": True, "dtype": "float32"}))


def shared(**options: Any) -> Any:
    """One engine a process and model, whatever size of batch asks first: each takes seconds to
    build and memory to hold."""
    model = options["model"]
    if model not in _engines:
        _engines[model] = fresh(**(options | {"max_num_seqs": 64}))
    set_seed(options["seed"])  # as an engine that is built does
    return _engines[model]


def install(build: Any) -> None:
    """Put `fresh` or `shared` where TRL and `gdro evaluate` look."""
    vllm_generation.LLM = vllm.LLM = build


if __name__ == "__main__":
    import cpu_client

    from gdro.cli import main

    install(fresh)
    cpu_client.install()
    sys.exit(main())
