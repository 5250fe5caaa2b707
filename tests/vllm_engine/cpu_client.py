"""The trainer's side of the file transfer in `plugin/cpu_vllm_shim.py`. TRL's client would send the
weights by NCCL, which needs CUDA; everything else of it is used as it is."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from trl.generation.vllm_client import VLLMClient


def _init(self: Any, device: Any = 0) -> None:
    assert self.get_server_info()["weight_transfer_config"] is not None
    self._post(f"{self.base_url}/init_weight_transfer_engine", json={"init_info": {}})


def _update(
    self: Any,
    metadata: list[tuple[str, str, list[int]]],
    named_params: Iterator[tuple[str, torch.Tensor]],
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "weights.safetensors")
        tensors = {name: part.detach().cpu().contiguous().clone() for name, part in named_params}
        announced = [(name, shape) for name, _, shape in metadata]
        assert [(name, list(tensor.shape)) for name, tensor in tensors.items()] == announced
        save_file(tensors, path)
        self._start_weight_update()
        self._post(f"{self.base_url}/update_weights", json={"update_info": {"path": path}})
        self._finish_weight_update()


def install() -> None:
    """Put both methods in the place of TRL's."""
    VLLMClient.init_communicator, VLLMClient.update_named_params = _init, _update
