"""`gdro train`: its arguments, and what they start."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from gdro.config import TrainConfig, load_config
from gdro.config.base import ConfigError
from gdro.config.source import parse_override
from gdro.overrides import add_set


def main(words: Sequence[str]) -> int:
    """Run `gdro train`.

    Raises:
        GDROError: what stands in the way.
    """
    parser = _parser()
    chosen, rest = parser.parse_known_args(words)
    if rest:
        setting = rest[0].lstrip("-")
        setting = setting if "=" in setting else f"{setting}=VALUE"
        raise ConfigError(f"{rest[0]}: not understood; a setting is given as --set {setting}")
    if chosen.help or chosen.help_all:
        from gdro.config.reference import full_text, help_text

        print(parser.format_help() + "\n" + (full_text() if chosen.help_all else help_text()))
        return 0
    _check_together(chosen)
    if chosen.check:
        print(load_config(chosen.recipe, chosen.overrides).to_yaml(), end="")
    elif chosen.dry_run:
        from gdro.runs.dry_run import dry_run

        print(dry_run(load_config(chosen.recipe, chosen.overrides), chosen.assume))
    elif chosen.resume is not None:
        _resume(chosen.resume, _more_steps(chosen.overrides))
    else:
        _start(load_config(chosen.recipe, chosen.overrides))
    return 0


def _start(config: TrainConfig) -> None:
    # torch and its train come after settings that are right
    from gdro.runs.processes import leave_processes
    from gdro.runs.train import train

    train(config)
    leave_processes()


def _resume(run: str, max_steps: int | None) -> None:
    from gdro.runs.processes import leave_processes
    from gdro.runs.train import resume

    resume(run, max_steps)
    leave_processes()


def _check_together(chosen: argparse.Namespace) -> None:
    looks = "--check" if chosen.check else "--dry-run"
    if chosen.check and chosen.dry_run:
        raise ConfigError("--check looks at settings alone; leave --dry-run out")
    if chosen.resume is not None and (chosen.check or chosen.dry_run):
        raise ConfigError(f"{looks} looks at settings alone; leave --resume out")
    if chosen.assume and not chosen.dry_run:
        raise ConfigError("--assume belongs to --dry-run")
    if chosen.resume is not None and chosen.recipe:
        raise ConfigError("--resume goes on with the settings of the run; leave the recipe out")


def _more_steps(overrides: Sequence[str]) -> int | None:
    """The max_steps that a resumed run is extended to, if it is."""
    found: int | None = None
    for text in overrides:
        path, value, _ = parse_override(text)
        if path != ("max_steps",):
            raise ConfigError(
                f"--set {text}: --resume goes on with the settings of the run; only max_steps can"
                " be raised"
            )
        if type(value) is not int or value < 1:
            raise ConfigError(f"--set {text}: must be a whole number >= 1")
        found = value
    return found


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="gdro train",
        add_help=False,
        description=(
            "Train a model. Without arguments: the embedded tiny model on reasoning-gym tasks."
        ),
    )
    parser.add_argument(
        "-h", "--help", action="store_true", help="show this and the settings most runs set"
    )
    parser.add_argument("--help-all", action="store_true", help="show every setting")
    parser.add_argument(
        "recipe", nargs="?", help="a recipe's name or a YAML file (default: the recipe `default`)"
    )
    add_set(parser)
    parser.add_argument(
        "--resume",
        metavar="RUN",
        help="go on with an interrupted run, or with `--set max_steps=N` a finished one",
    )
    parser.add_argument(
        "--check", action="store_true", help="check settings and print them all; train nothing"
    )
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="check settings, data and model, estimate cost; train nothing",
    )
    parser.add_argument(
        "--assume",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="an assumption of --dry-run",
    )
    return parser
