"""The one folder in which everything of a run lies.

RUN/config.yaml       every setting, resolved
RUN/metrics.jsonl     the record: one event a line
RUN/evaluations/      correct samples of each held-out prompt, one file an evaluation
RUN/checkpoints/      what a resume needs
RUN/model/            the trained model, an ordinary Hugging Face folder
RUN/report.html       what it all looked like
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from gdro.core.errors import RunError
from gdro.io import only_writer, write_atomic

ROOT = Path("runs")
DRAFTS = ".*.tmp"
"""What a process that was killed leaves of a file that it wrote (`gdro.io.write_atomic`)."""


@dataclass(frozen=True, slots=True)
class RunFolder:
    """Names of everything inside a run's folder."""

    path: Path

    @property
    def config(self) -> Path:
        """The resolved settings."""
        return self.path / "config.yaml"

    def write_config(self, text: str) -> None:
        """Write the settings, all or nothing: a resume from half of them would be another run."""
        write_atomic(self.config, text)

    @property
    def record(self) -> Path:
        """The record, one event a line."""
        return self.path / "metrics.jsonl"

    @property
    def evaluations(self) -> Path:
        """The folder of evaluations."""
        return self.path / "evaluations"

    @property
    def checkpoints(self) -> Path:
        """The folder of checkpoints."""
        return self.path / "checkpoints"

    @property
    def model(self) -> Path:
        """The trained model."""
        return self.path / "model"

    @property
    def report(self) -> Path:
        """The report."""
        return self.path / "report.html"


def check_free(output: str | None) -> None:
    """Raise a RunError where `output` exists and is not an empty folder: a run never writes over
    another."""
    if output is None:
        return
    path = Path(output)
    if path.exists() and not path.is_dir():
        raise RunError(f"{path} is a file; give a folder: --set output_dir=DIR")
    if path.exists() and any(not inside.match(DRAFTS) for inside in path.iterdir()):
        raise RunError(
            f"{path} is not empty; choose another --set output_dir=DIR, or go on with that run: "
            f"gdro train --resume {path}"
        )


def check_output(output: str | None) -> None:
    """Raise a RunError where no file `output` could be written once everything is evaluated."""
    if output is None:
        return
    path = Path(output)
    if path.exists() and not path.is_file():
        raise RunError(f"--output {path}: is no file; name one for the figures")
    if not path.parent.is_dir():
        raise RunError(f"--output {path}: there is no folder {path.parent}; make it first")


def new_folder(output: str | None, name: str) -> RunFolder:
    """Make the folder of a new run: `output`, or the first free of runs/NAME-001, runs/NAME-002,
    ...

    Raises:
        RunError: as `check_free`.
    """
    if output is None:
        return _first_free(name)
    check_free(output)
    path = Path(output)
    path.mkdir(parents=True, exist_ok=True)
    return RunFolder(path)


def old_folder(path: str | Path) -> RunFolder:
    """The folder of a run to resume or report.

    Raises:
        RunError: it holds no run.
    """
    folder = RunFolder(Path(path).expanduser())
    if not folder.config.is_file():
        raise RunError(
            f"{path} holds no run (no config.yaml); give the folder that `gdro train` named"
        )
    return folder


def trained_model(model: str) -> Path | None:
    """The trained model where `model` is the folder of a run; None where it is none.

    Raises:
        RunError: the run has no trained model yet.
    """
    run = RunFolder(Path(model))
    if not run.config.is_file():
        return None
    if not run.model.is_dir():
        raise RunError(
            f"{model} is a run without a trained model yet; finish it with: gdro train --resume"
            f" {model}"
        )
    return run.model


@contextmanager
def held(folder: RunFolder) -> Iterator[None]:
    """Keep other processes off a run while this one writes it, and remove what one that was killed
    left half written.

    Raises:
        RunError: another process holds it.
    """
    with only_writer(folder.path, RunError):
        for leftover in folder.path.glob(DRAFTS):
            leftover.unlink()
        yield


def _first_free(name: str) -> RunFolder:
    ROOT.mkdir(exist_ok=True)
    for number in range(1, 100_000):
        path = ROOT / f"{name}-{number:03d}"
        try:
            path.mkdir()
        except FileExistsError:
            continue
        return RunFolder(path)
    raise RunError(
        f"{ROOT} holds 99,999 runs called {name}; choose another name with --set run_name=..."
    )
