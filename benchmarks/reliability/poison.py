"""Replace each file of a checkpoint by a pickle that runs code, seal it anew, and resume: no code
may run.

python benchmarks/reliability/poison.py [--short] [--output FILE.json]

Whoever can write the folder can also write the seal, so the checksum is no defence here; how files
are read is.
"""

from __future__ import annotations

import argparse
import json
import pickle
import shutil
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import settings
import torch
from forks import launch, remember_prompts

from gdro.runs import checkpoints

LOADED = (
    "optimizer.pt",
    "scheduler.pt",
    "rng_state.pth",
    "gdro_state.npz",
    "model.safetensors",
    "trainer_state.json",
)
UNUSED = ("training_args.bin",)
"""TRL writes it; nothing of ours reads it."""


SHORT = ("optimizer.pt", "rng_state.pth", "training_args.bin")


class Bomb:
    """Touches a file when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.mark,))


def poison(path: Path, mark: Path, form: str) -> None:
    """Write a bomb in the form of a plain pickle, or of `torch.save`."""
    if form == "pickle":
        path.write_bytes(pickle.dumps({"state": Bomb(mark)}))
    else:
        torch.save({"state": Bomb(mark)}, path)


def prove_it_bites(work: Path) -> None:
    """The bomb does go off where a file is loaded carelessly, so that its silence means
    something."""
    for form in ("pickle", "torch"):
        mark = work / f"bites-{form}"
        poison(work / "bomb", mark, form)
        if form == "pickle":
            pickle.loads((work / "bomb").read_bytes())
        else:
            torch.load(work / "bomb", weights_only=False)
        assert mark.exists()


def attacks() -> list[tuple[str, str, str]]:
    """(what is attacked, file written, form)."""
    found = [(name, name, form) for name in (*LOADED, *UNUSED) for form in ("pickle", "torch")]
    return [
        *found,
        ("pytorch_model.bin in place of model.safetensors", "pytorch_model.bin", "torch"),
    ]


def run(work: Path, *, short: bool) -> list[dict[str, Any]]:
    """One row an attack."""
    setting = replace(settings.VARIANTS[0], steps=2)
    remember_prompts(setting.overrides)
    base = work / "base"
    started = launch(
        ["train", *setting.arguments, "--set", f"output_dir={base}"], work / "base.log"
    )
    if started.wait() != [0]:
        raise RuntimeError(started.text())
    shutil.rmtree(base / "checkpoints" / "checkpoint-2")
    (base / "report.html").unlink()
    prove_it_bites(work)
    chosen = [
        attack for attack in attacks() if not short or (attack[2] == "torch" and attack[1] in SHORT)
    ]
    return [_attack(work, base, *attack) for attack in chosen]


def _attack(work: Path, base: Path, what: str, name: str, form: str) -> dict[str, Any]:
    victim, mark = work / "victim", work / f"mark-{name}-{form}"
    shutil.rmtree(victim, ignore_errors=True)
    shutil.copytree(base, victim)
    folder = victim / "checkpoints" / "checkpoint-1"
    if what != name:
        (folder / "model.safetensors").unlink()
    poison(folder / name, mark, form)
    checkpoints.seal(folder)
    started = launch(["train", "--resume", str(victim)], work / f"{name}-{form}.log")
    code = started.wait()[0]
    text = started.text()
    message = [line for line in text.splitlines() if line.startswith("gdro: ")]
    return {
        "file": what,
        "form": form,
        "code_ran": mark.exists(),
        "exit": code,
        "message": message[-1] if message else text.splitlines()[-1],
        "as_it_should": (
            not mark.exists() and code == (0 if name in UNUSED else 2) and "Traceback" not in text
        ),
    }


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--short", action="store_true", help="three of the attacks")
    parser.add_argument("--output", type=Path, help="also write the rows as JSON")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="gdro-poison-") as work:
        rows = run(Path(work), short=chosen.short)
    if chosen.output is not None:
        chosen.output.write_text(json.dumps(rows, indent=1) + "\n")
    for row in rows:
        print(json.dumps(row))
    ran = sum(row["code_ran"] for row in rows)
    print(
        f"{len(rows)} attacks, code ran in {ran}, as they should be"
        f" {sum(row['as_it_should'] for row in rows)}"
    )
    return 0 if all(row["as_it_should"] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
