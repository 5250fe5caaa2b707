"""`gdro doctor` tells what is here and what is missing, whatever state the environment is in."""

import pytest

from gdro import __version__, doctor
from gdro.cli import main


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
