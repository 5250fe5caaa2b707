"""The commands about the installation: `gdro doctor` tells what is here and what is missing,
whatever state the environment is in; `gdro completion` is run by a real bash."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from gdro import __version__, doctor
from gdro.cli import COMMANDS, _parser, main
from gdro.completion import script


@pytest.fixture
def packages(tmp_path, monkeypatch):
    """A place for packages that this process and its children find."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return tmp_path


def _distribution(folder, name, version, *requirements):
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir()
    lines = [f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"]
    lines += [f"Requires-Dist: {requirement}\n" for requirement in requirements]
    (info / "METADATA").write_text("".join(lines))


def test_what_an_extra_lacks(packages):
    _distribution(packages, "some-lib", "1.5")
    _distribution(
        packages,
        "product",
        "1.0",
        "numpy>=1",
        "some-lib>=1.4; extra == 'a'",
        "no-such-lib>=2; extra == 'a'",
        "some-lib>=2,<3; extra == 'b'",
        'product[a]; extra == "c"',
    )
    assert [str(lack) for lack in doctor.missing("a", "product")] == ["no-such-lib"]
    assert [str(lack) for lack in doctor.missing("b", "product")] == ["some-lib 1.5 (needs >=2,<3)"]
    assert doctor.missing("c", "product") == doctor.missing("a", "product")
    assert doctor.missing("none", "product") == []


def test_the_page_names_the_cause_and_the_remedy(packages, monkeypatch, tmp_path_factory, capsys):
    """An engine whose import fails, one that imports, one that is not there; a model that is not
    fetched."""
    (packages / "broken_engine.py").write_text("raise ImportError('libcuda.so.99 is missing')")
    (packages / "good_engine.py").write_text("")
    engines = {"broken_engine": "-", "good_engine": "-", "absent_engine": "pip install absent"}
    monkeypatch.setattr(doctor, "ENGINES", engines)
    monkeypatch.setenv("GDRO_CACHE", str(tmp_path_factory.mktemp("cache")))
    assert main(["doctor"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"gdro         {__version__}, Python 3.")
    said = {line.split(" ", 1)[0]: line for line in lines}
    assert said["broken_engine"].endswith("does not import: ImportError: libcuda.so.99 is missing")
    assert said["good_engine"].endswith("imports")
    assert said["absent_engine"].endswith("not installed: pip install absent")
    assert "gdro fetch smollm2" in said["model"]
    assert "GB of memory" in said["machine"]
    assert said["gdro[trl]"].split()[1] == "complete;"


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
