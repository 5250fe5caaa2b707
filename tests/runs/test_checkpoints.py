"""A checkpoint is whole or not there."""

import random

import pytest

from gdro.core.errors import RunError
from gdro.runs import checkpoints


def _checkpoint(root, step, sealed=True):
    folder = root / f"checkpoint-{step}"
    (folder / "deep").mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(random.Random(step).randbytes(5000))
    (folder / "deep" / "optimizer.pt").write_bytes(random.Random(-step).randbytes(3000))
    if sealed:
        checkpoints.seal(folder)
    return folder


def test_newest_whole_checkpoint_is_found(tmp_path):
    for step in (10, 9, 100):
        _checkpoint(tmp_path, step)
    told = []
    assert checkpoints.newest_whole(tmp_path, told.append).name == "checkpoint-100"
    assert told == []


def test_an_unfinished_one_is_moved_aside_and_said_so(tmp_path):
    _checkpoint(tmp_path, 10)
    _checkpoint(tmp_path, 20, sealed=False)
    told = []
    assert checkpoints.newest_whole(tmp_path, told.append).name == "checkpoint-10"
    assert "checkpoint-20" in told[0]
    assert "never finished" in told[0]
    assert (tmp_path / "damaged-checkpoint-20").is_dir()


@pytest.mark.parametrize("victim", ["model.safetensors", "deep/optimizer.pt", "seal.json"])
@pytest.mark.parametrize("harm", ["truncated", "flipped", "missing"])
def test_every_damage_is_seen(tmp_path, victim, harm):
    _checkpoint(tmp_path, 10)
    newest = _checkpoint(tmp_path, 20)
    path = newest / victim
    data = bytearray(path.read_bytes())
    if harm == "missing":
        path.unlink()
    elif harm == "truncated":
        path.write_bytes(data[: len(data) // 2])
    else:
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    told = []
    assert checkpoints.newest_whole(tmp_path, told.append).name == "checkpoint-10"
    assert len(told) == 1


def test_none_at_all_means_start_anew_but_damage_everywhere_is_an_error(tmp_path):
    assert checkpoints.newest_whole(tmp_path / "nowhere", print) is None
    folder = _checkpoint(tmp_path, 10)
    (folder / "model.safetensors").write_bytes(b"")
    with pytest.raises(RunError, match=r"model\.safetensors is damaged"):
        checkpoints.newest_whole(tmp_path, lambda text: None)


def test_only_unfinished_ones_mean_start_anew(tmp_path):
    _checkpoint(tmp_path, 10, sealed=False)
    assert checkpoints.newest_whole(tmp_path, lambda text: None) is None


def test_moved_aside_ones_do_not_pile_up(tmp_path):
    _checkpoint(tmp_path, 10)
    for _ in range(3):
        _checkpoint(tmp_path, 20, sealed=False)
        assert checkpoints.newest_whole(tmp_path, lambda text: None).name == "checkpoint-10"
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "checkpoint-10",
        "damaged-checkpoint-20",
    ]


def test_rotation_keeps_the_newest_by_step_and_clears_what_an_interruption_left(tmp_path):
    for step in (100, 9, 20):
        _checkpoint(tmp_path, step)
    (tmp_path / ".removed-checkpoint-8").mkdir()
    checkpoints.rotate(tmp_path, 2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint-100", "checkpoint-20"]
