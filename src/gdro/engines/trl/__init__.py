"""The TRL engine: `GRPOTrainer -> GDROTrainer`, `GRPOConfig -> GDROConfig`. Needs the extra
`gdro[trl]`."""

from gdro.engines.trl.config import GDROConfig
from gdro.engines.trl.evaluation import sample
from gdro.engines.trl.generation import SamplingOptions
from gdro.engines.trl.ids import with_ids
from gdro.engines.trl.trainer import GDROTrainer

__all__ = ["GDROConfig", "GDROTrainer", "SamplingOptions", "sample", "with_ids"]
