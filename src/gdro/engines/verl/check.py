"""`python -m gdro.engines.verl.check`: would verl find the plug-in in this environment? Exit status
1 if not."""

from __future__ import annotations

import os
import sys
from importlib import metadata

GROUP = "verl.plugins"


def problems() -> list[str]:
    """What keeps `trainer.v1.trainer_mode=gdro` from working here, in plain words; empty if nothing
    does."""
    found = []
    names = [entry.name for entry in metadata.entry_points(group=GROUP)]
    if "gdro" not in names:
        found.append(
            f"the entry-point group {GROUP} lists {names}, not gdro: install gdro with pip (pip"
            " install -e .)"
        )
    policy = os.environ.get("VERL_USE_EXTERNAL_PLUGINS", "auto")
    if policy != "auto" and "gdro" not in [name.strip() for name in policy.split(",")]:
        found.append(
            f"VERL_USE_EXTERNAL_PLUGINS={policy} keeps the plug-in out: unset it, or add gdro to it"
        )
    if _installed("trl"):
        found.append("TRL is installed here and breaks verl 0.9: use an environment of its own")
    if not _installed("verl"):
        return [*found, "verl is not installed: pip install 'gdro[verl]' -c constraints-verl.txt"]
    return found + _registration()


def _installed(name: str) -> bool:
    return bool(list(metadata.distributions(name=name)))


def _registration() -> list[str]:
    from verl.trainer.ppo.v1 import get_trainer_cls

    import gdro.engines.verl.plugin  # noqa: F401 - reports and raises if it cannot load

    trainer = get_trainer_cls("gdro")
    return (
        []
        if trainer.__name__ == "GDROTrainer"
        else [f"trainer mode gdro belongs to {trainer!r}, not to this package"]
    )


def main() -> int:
    """Print the verdict; 0 if the plug-in works."""
    try:
        found = problems()
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        found = [f"{type(error).__name__}: {error}"]
    for problem in found:
        print(f"gdro for verl: PROBLEM: {problem}")
    if not found:
        print(
            f"gdro for verl: ok (verl {metadata.version('verl')}, gdro {metadata.version('gdro')})"
        )
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
