"""The settings under test, as `--set` arguments."""

from __future__ import annotations

from dataclasses import dataclass

EVERY_STEP = ("save_steps=1", "verifier.timeout=20")
"""A checkpoint a step, so that at most one is repeated; a deadline that a busy machine cannot miss
by itself."""

SMALL = (
    "prompts_per_step=8",
    "data.size=64",
    "data.heldout_size=32",
    "evaluation.prompts=8",
    "evaluation.num_generations=2",
    "verifier.kind=exact",
    "verifier.workers=1",
    "max_completion_length=12",
)


@dataclass(frozen=True)
class Setting:
    """A run to interrupt."""

    name: str
    steps: int
    overrides: tuple[str, ...] = ()
    processes: int = 1

    @property
    def arguments(self) -> list[str]:
        """For `gdro train`, without the output."""
        chosen = (f"max_steps={self.steps}", *EVERY_STEP, *self.overrides)
        return [part for override in chosen for part in ("--set", override)]


DEFAULT = Setting("default", 40)

VARIANTS = (
    Setting("small", 6, SMALL),
    Setting("gradient accumulation", 6, (*SMALL, "per_device_train_batch_size=8")),
    Setting("second epoch", 8, (*SMALL, "data.size=24")),
    Setting("two updates on the same rollouts", 6, (*SMALL, "num_iterations=2")),
    Setting("losses as the signal", 6, (*SMALL, "controller.signal=surrogate", "num_iterations=2")),
    Setting("evaluated on the way", 6, (*SMALL, "eval_steps=2")),
    Setting("LoRA", 6, (*SMALL, "lora.r=4", "lora.dropout=0.1")),
    Setting("uniform (plain GRPO)", 6, (*SMALL, "controller.name=uniform")),
    Setting("joint", 6, (*SMALL, "controller.name=joint")),
    Setting("prompts chosen among candidates", 6, (*SMALL, "controller.name=mopps")),
    Setting("two processes", 6, (*SMALL, "per_device_train_batch_size=8"), processes=2),
    Setting("two processes, two updates", 6, (*SMALL, "num_iterations=2"), processes=2),
)
