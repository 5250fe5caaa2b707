"""verl without an accelerator, for tests only: a CPU platform, gloo, and a generation server on
transformers.

verl has no CPU path, but it looks up its platform, engine device and rollout server in registries;
this module adds to those, and runs in every process through VERL_USE_EXTERNAL_MODULES. verl's
trainer, workers, replay buffer, agent loop, reward loop, FSDP2 engine, checkpoints and loggers are
the real ones. Launch with the variables of `ENVIRONMENT`.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import types

import cpu_server
import ray
import torch
import verl.utils.distributed
from verl.plugin.platform import PlatformBase, PlatformRegistry
from verl.workers.rollout import base, replica
from verl.workers.rollout.replica import RolloutReplica, RolloutReplicaRegistry

ENVIRONMENT = {
    "VERL_PLATFORM": "testcpu",
    # the FSDP engine is registered under this name only; it runs where the platform says
    "VERL_ENGINE_DEVICE": "cuda",
    "VERL_USE_EXTERNAL_MODULES": "cpu_shim",
}
LOSS_LOG = "GDRO_TEST_LOSS_LOG"


def _nothing(*args, **kwargs):
    return None


def _device_module() -> types.ModuleType:
    """What verl asks of `torch.cuda`: no memory, nothing to wait for."""
    module = types.ModuleType("cpu_device")
    for name in (
        "empty_cache",
        "synchronize",
        "set_device",
        "ipc_collect",
        "reset_peak_memory_stats",
    ):
        setattr(module, name, _nothing)
    for name in (
        "memory_allocated",
        "memory_reserved",
        "max_memory_allocated",
        "max_memory_reserved",
    ):
        setattr(module, name, lambda *args, **kwargs: 0)
    module.mem_get_info = lambda *args, **kwargs: (0, 0)
    module.is_available = lambda: False
    module.device_count = lambda: 1
    module.current_device = lambda: "cpu"
    module.get_device_name = lambda *args: "cpu"
    return module


@PlatformRegistry.register(platform="testcpu")
class CPUPlatform(PlatformBase):
    """Every abstract method of verl's platform, on CPU; to Ray each device is one of the declared
    GPUs."""

    device_name = "cpu"
    vendor_name = "test"
    device_module = _device_module()

    is_available = is_ipc_supported = lambda self, *args: False
    current_device = lambda self: "cpu"  # noqa: E731
    device_count = lambda self: 1  # noqa: E731
    set_device = synchronize = set_allocator_settings = empty_cache = _nothing
    profiler_start = profiler_stop = cudart = _nothing
    manual_seed = manual_seed_all = lambda self, seed: torch.manual_seed(seed)
    get_device_capability = lambda self, index=0: (None, None)  # noqa: E731
    communication_backend_name = lambda self: "gloo"  # noqa: E731
    visible_devices_envvar = lambda self: "CUDA_VISIBLE_DEVICES"  # noqa: E731
    ray_resource_name = lambda self: "GPU"  # noqa: E731
    ray_noset_envvars = lambda self: []  # noqa: E731

    @contextlib.contextmanager
    def nvtx_range(self, msg: str):
        yield


# verl would ask torch for the backend "cpu:gloo,cpu:gloo", which names a device twice; its own
# argument says "gloo".
verl.utils.distributed.initialize_global_process_group_ray = functools.partial(
    verl.utils.distributed.initialize_global_process_group_ray, backend="gloo"
)


class ServerAdapter(base.BaseRollout):
    """In a training worker: hands its weights to the generation server of its replica."""

    def __init__(self, config, model_config, device_mesh, replica_rank=-1):
        super().__init__(config, model_config, device_mesh)
        self.replica_rank = int(os.environ["RANK"]) if replica_rank == -1 else replica_rank

    async def resume(self, tags):
        pass

    async def release(self):
        pass

    async def update_weights(self, weights, global_steps=None, **kwargs):
        state = {name: tensor.detach().float().cpu().clone() for name, tensor in weights}
        server = ray.get_actor(f"cpu_server_{self.replica_rank}")
        await server.load_weights.remote(state, global_steps)


class CPUReplica(RolloutReplica):
    """One server for each training worker."""

    async def launch_servers(self) -> None:
        name = f"cpu_server_{self.replica_rank}"
        path, length = self.model_config.path, self.config.response_length
        server = ray.remote(cpu_server.Server).options(name=name, num_cpus=0, max_concurrency=1000)
        self.servers = [server.remote(path, length, self.replica_rank)]
        await self.servers[0].sleep.remote()
        self._server_handle, self._server_address = self.servers[0], name


base._ROLLOUT_REGISTRY[("testcpu", "async")] = "cpu_shim.ServerAdapter"
RolloutReplicaRegistry.register("testcpu", lambda: CPUReplica)
assert replica.get_rollout_replica_class("testcpu") is CPUReplica

if os.environ.get(LOSS_LOG):
    _handler = logging.FileHandler(os.environ[LOSS_LOG])
    logging.getLogger("gdro.engines.session").addHandler(_handler)
    logging.getLogger("gdro.engines.session").setLevel(logging.DEBUG)
