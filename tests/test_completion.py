"""`gdro completion`, run by a real bash."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from gdro.cli import COMMANDS, _parser
from gdro.completion import script


def complete(*words):
    """What bash offers for the last word."""
    line = " ".join(f"'{word}'" for word in words)
    code = script("bash") + (
        "compopt() { :; }\n"  # only known while bash completes
        f"COMP_WORDS=({line}); COMP_CWORD={len(words) - 1}; _gdro\n"
        'printf "%s\\n" "${COMPREPLY[@]}"'
    )
    done = subprocess.run(["bash", "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return done.stdout.split()


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_commands_settings_options_and_recipes():
    assert complete("gdro", "tr") == ["train"]
    assert set(complete("gdro", "")) == set(COMMANDS)
    assert complete("gdro", "train", "--set", "data.heldout_f") == ["data.heldout_fraction="]
    assert complete("gdro", "train", "--dry") == ["--dry-run"]
    assert complete("gdro", "train", "smol") == ["smollm2"]


def test_every_command_of_the_parser_is_completed():
    choices = next(action.choices for action in _parser()._actions if action.dest == "command")
    assert set(choices) == set(COMMANDS)


def test_zsh_gets_the_same_through_its_bash_mode():
    assert script("zsh").endswith(script("bash"))
