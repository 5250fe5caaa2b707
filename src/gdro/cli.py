"""The command line: train, evaluate, prepare, report, compare, simulate, bench."""

from __future__ import annotations

import argparse
import errno
import importlib
import os
import sys
from collections.abc import Callable, Sequence

from gdro import __version__
from gdro.overrides import add_set

MODULES = {
    "train": ("gdro.runs.command", "train a model (without arguments: the embedded default)"),
    "compare": (
        "gdro.lab.compare",
        "methods x seeds on real training: one table, one figure, one page",
    ),
    "sft": (
        "gdro.robust.sft",
        "fine-tune on mixed sources, plainly and robustly: worst-source loss",
    ),
    "simulate": ("gdro.lab.simulate", "controllers on a simulated population, in seconds"),
    "fetch": ("gdro.models.fetch", "a pre-trained model, once, into the cache: gdro fetch smollm2"),
    "doctor": ("gdro.doctor", "what is here, what is missing, and how to get it"),
    "diffusion": (
        "gdro.diffusion.main",
        "train a flow model on groups of images and rewards (arXiv 2601.02036)",
    ),
    "bench": ("gdro.lab.bench", "measure what a controller costs"),
    "completion": ("gdro.completion", "code for bash or zsh that completes commands and settings"),
}
"""Commands that read their own arguments: the module whose `main(words)` runs them, and their line
of help."""
COMMANDS = (*MODULES, "evaluate", "prepare", "report")
"""All commands."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; 0 when it succeeded, 2 when something the user can mend is wrong."""
    try:
        status = _run(sys.argv[1:] if arguments is None else list(arguments))
        sys.stdout.flush()
        return status
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:  # whoever read the output has seen enough, as in `gdro ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141


def _run(words: Sequence[str]) -> int:
    if words and words[0] in MODULES:
        return _run_module(words[0], words[1:])
    parser = _parser()
    chosen = parser.parse_args(words)
    if chosen.command is None:
        parser.print_help()
        return 2
    commands = {
        "evaluate": _evaluate,
        "prepare": _prepare,
        "report": _report,
    }
    return commands[chosen.command](chosen)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="gdro",
        description="Group distributionally robust post-training.",
        epilog="`gdro COMMAND --help` explains a command.",
    )
    parser.add_argument("--version", action="version", version=f"gdro {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    for name, (_, meaning) in MODULES.items():
        commands.add_parser(name, help=meaning, add_help=False)
    evaluate = commands.add_parser(
        "evaluate", help="mean@k and pass@k of a model on held-out prompts"
    )
    evaluate.add_argument(
        "model", help="as `model:` takes it (docs/models.md), or the folder of a run"
    )
    evaluate.add_argument("recipe", nargs="?", help="settings that name the data and the verifier")
    add_set(evaluate)
    evaluate.add_argument("--output", metavar="FILE", help="also write the figures as JSON")
    evaluate.add_argument(
        "--greedy",
        action="store_true",
        help="one completion a prompt, the likeliest token each time",
    )
    _add_suites(evaluate)
    prepare = commands.add_parser("prepare", help="make a training file from a public data set")
    prepare.add_argument(
        "dataset", choices=["dapo-math"], help="DAPO-Math-17k-Processed, the English part"
    )
    prepare.add_argument(
        "--source", metavar="PATH", help="a file, a folder, or a name on the hub (default: the hub)"
    )
    prepare.add_argument(
        "--output", metavar="FILE", default="dapo-math-en.parquet", help="default: %(default)s"
    )
    report = commands.add_parser(
        "report", help="write report.html of a run, or set two to four runs side by side"
    )
    report.add_argument("runs", nargs="+", metavar="RUN", help="the folder of a run")
    report.add_argument("--output", metavar="FILE", help="the page, where runs stand side by side")
    return parser


def _add_suites(evaluate: argparse.ArgumentParser) -> None:
    """The options of `gdro evaluate --suite`."""
    evaluate.add_argument(
        "--suite", metavar="NAME[,NAME]", help="the paper's test sets instead of held-out prompts"
    )
    evaluate.add_argument(
        "--suite-path", metavar="DIR", help="local copies: DIR/NAME, DIR/NAME.parquet or .jsonl"
    )
    evaluate.add_argument("--engine", help=argparse.SUPPRESS)  # its name of before: an error
    evaluate.add_argument(
        "--limit", type=int, metavar="N", help="at most N problems of each suite, by hash of the id"
    )
    evaluate.add_argument(
        "--rows",
        type=int,
        default=64,
        metavar="N",
        help="completions that transformers samples together (%(default)s)",
    )


GREEDY = ("evaluation.temperature=0", "evaluation.num_generations=1")
"""What `gdro evaluate --greedy` sets."""


def _evaluate(chosen: argparse.Namespace) -> int:
    overrides = [*chosen.overrides, *(GREEDY if chosen.greedy else ())]
    if chosen.engine is not None:
        print("--engine is now a setting: --set generation.backend=vllm (or fast)", file=sys.stderr)
        return 2
    if chosen.suite is not None:
        from gdro.runs.evaluate_suites import evaluate_suites

        return _guarded(
            lambda: evaluate_suites(
                chosen.model,
                chosen.suite,
                recipe=chosen.recipe,
                overrides=overrides,
                copies=chosen.suite_path,
                limit=chosen.limit,
                rows=chosen.rows,
                output=chosen.output,
            )
        )
    from gdro.runs.evaluate import evaluate_model

    return _guarded(lambda: evaluate_model(chosen.model, chosen.recipe, overrides, chosen.output))


def _prepare(chosen: argparse.Namespace) -> int:
    from gdro.data.prepare_dapo import HUB, prepare_dapo

    def run() -> None:
        prepared = prepare_dapo(HUB if chosen.source is None else chosen.source, chosen.output)
        print(f"{chosen.output}: {prepared.summary()}")

    return _guarded(run)


def _report(chosen: argparse.Namespace) -> int:
    from gdro.report import RecordError, write_report, write_side_by_side

    def run() -> None:
        if len(chosen.runs) > 1:
            print(write_side_by_side(chosen.runs, chosen.output))
            return
        if chosen.output is not None:
            raise RecordError("--output belongs to several runs; report.html stands in the run")
        print(write_report(chosen.runs[0]))

    return _guarded(run)


FULL = (errno.ENOSPC, errno.EDQUOT)
NO_PLACE = (errno.EACCES, errno.EROFS, errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EEXIST)
"""Errors of a path that the user gave."""
AGAIN = "the same command again"
GO_ON = {name: f"gdro {name} --resume RUN" for name in ("train", "diffusion")}
"""How a command goes on with what it has written, where it does not by itself."""


def _run_module(name: str, words: Sequence[str]) -> int:
    """Run the command's `main(words)`; imported here, so that one does not pay for the others."""
    main = importlib.import_module(MODULES[name][0]).main
    return _guarded_status(lambda: main(words), GO_ON.get(name, AGAIN))


def _guarded_status(command: Callable[[], int], go_on: str) -> int:
    """As `_guarded`, with the command's own status where it ran to its end."""
    status: list[int] = []
    return _guarded(lambda: status.append(command()), go_on) or status[0]


def _guarded(command: Callable[[], object], go_on: str = AGAIN) -> int:
    """Run a command; an error that the user can mend is one message, anything else a traceback.
    `go_on` is what to do once a full disk has room."""
    from gdro.core.errors import GDROError

    try:
        command()
    except GDROError as error:
        return _fail(str(error))
    except OSError as error:
        if error.errno in FULL:
            return _fail(
                f"{error}; what was written before is intact. Make room, then go on: {go_on}"
            )
        if error.errno in NO_PLACE:
            return _fail(
                f"{error}; look at that path: it must be there, or be a place that can be"
                " written to"
            )
        raise
    return 0


def _fail(message: str) -> int:
    print(f"gdro: {message}", file=sys.stderr)
    return 2
