"""A plugin of vLLM for the tests, loaded in every process of a server: plain weights on a CPU, and
a weight transfer through a file.

TRL's server mode sends weights by NCCL, which needs CUDA on both sides; vLLM lets a plugin register
another transfer. `cpu_client.py` is the trainer's side.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


def register() -> None:
    """Called by vLLM, see the entry point beside this file."""
    import vllm._custom_ops
    from safetensors.torch import load_file
    from vllm.distributed.weight_transfer import base, factory

    # vLLM packs linear layers with oneDNN after loading; packed ones cannot be loaded again.
    vllm._custom_ops._supports_onednn = False
    if "file" in factory.WeightTransferEngineFactory._registry:
        return

    @dataclass
    class Init(base.WeightTransferInitInfo):  # type: ignore[misc]
        """Nothing to agree on."""

    @dataclass
    class Update(base.WeightTransferUpdateInfo):  # type: ignore[misc]
        """Where the weights are."""

        path: str

    class FileTransfer(base.WeightTransferEngine):  # type: ignore[misc]
        """Reads the policy's weights from a file."""

        init_info_cls, update_info_cls = Init, Update

        def init_transfer_engine(self, init_info: Any) -> None:
            """Nothing to open."""

        def start_weight_update(self) -> None:
            """Nothing to prepare."""

        def finish_weight_update(self) -> None:
            """Nothing to finish."""

        def shutdown(self) -> None:
            """Nothing to close."""

        def update_weights(self, update_info: Any) -> None:
            """The base class would synchronise an accelerator, and there is none."""
            self.receive_weights(self.parse_update_info(update_info))

        def receive_weights(self, update_info: Any) -> None:
            """Load them."""
            self.model.load_weights(load_file(update_info.path).items())

    factory.WeightTransferEngineFactory.register_engine("file", FileTransfer)
