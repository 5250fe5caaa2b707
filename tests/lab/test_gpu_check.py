"""`make gpu-check` and `make gpu-pack`, as far as a CPU without network can tell."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    return import_module


def test_stock_trl_and_gdro_train_alike_and_a_stopped_run_ends_in_the_same_weights(script):
    check = script("gpu_check")
    size = check.Size("tiny", 4, 8, 2, 0.0)
    found = check.compare(size, ("stock", "gdro"))["variants"]
    assert list(found) == ["stock", "gdro"]
    for row in found.values():
        assert len(row["steps"]["losses"]) == 2
        assert row["first_step_with_other_lengths"] is None
        assert row["largest_loss_gap"] < 1e-3
        assert 0 < row["seconds"]["generate"] < row["seconds"]["step"]
        assert row["steps"]["tokens"] == found["stock"]["steps"]["tokens"]
    assert check.exact_resume(size)["equal"]


def test_what_the_budget_leaves_no_time_for_is_told(script):
    check = script("gpu_check")
    found = check.check([check.Size("tiny", 4, 8, 2, 60.0)], budget=5.0)
    assert found["stages"] == {}
    assert [line.partition(":")[0] for line in found["left_out"]] == [
        *("compare tiny", "resume tiny", "recipe tiny")
    ]
    assert check.faults(found | {"rehearsed": True}) == found["left_out"]


def test_a_slow_variant_and_a_broken_resume_are_faults(script):
    check = script("gpu_check")
    row = {"first_step_with_other_lengths": None, "largest_loss_gap": 0.0, "speedup": 0.9}
    stages = {"compare m": {"variants": {"gdro": row}}, "resume m": {"equal": False}}
    found = {"stages": stages, "left_out": [], "rehearsed": False}
    assert check.faults(found) == [
        "compare m: gdro is slower than stock (0.90x)",
        "resume m: the resumed run ends with other weights",
    ]
    row["largest_loss_gap"] = 0.1
    assert "losses differ" in check.faults(found)[0]
    row["first_step_with_other_lengths"] = 1
    assert "losses differ" not in check.faults(found)[0]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=200), size=st.integers(1, 70))
def test_parts_join_to_the_same_bytes(script, tmp_path_factory, content, size):
    pack, folder = script("gpu_pack"), tmp_path_factory.mktemp("parts")
    (folder / "whole.tar").write_bytes(content)
    parts = pack.split(folder / "whole.tar", folder / "parts", size)
    assert all(part.stat().st_size <= size for part in parts)
    (folder / "there").mkdir()
    assert pack.join(folder / "parts", folder / "there").read_bytes() == content


@pytest.mark.parametrize("damage", ["missing", "changed"])
def test_a_part_that_did_not_arrive_is_named(script, tmp_path, damage):
    pack = script("gpu_pack")
    (tmp_path / "whole.tar").write_bytes(bytes(100))
    parts = pack.split(tmp_path / "whole.tar", tmp_path / "parts", 40)
    parts[1].unlink() if damage == "missing" else parts[1].write_bytes(b"no")
    with pytest.raises(SystemExit, match=r"whole\.tar\.001: missing or damaged"):
        pack.join(tmp_path / "parts", tmp_path)


def test_a_pack_holds_what_trl_needs_and_not_torch(script):
    names = [line.partition("==")[0] for line in script("gpu_pack").requirements(["trl"], False)]
    assert {"trl", "transformers", "numpy", "math-verify", "gguf"} <= set(names)
    assert not {"torch", "triton", "gdro", "pytest", "verl"} & set(names)
    assert len(names) == len(set(names))
