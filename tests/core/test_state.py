"""Saved state: deterministic, atomic, and damaged files of every kind refused by one error type."""

from __future__ import annotations

import math
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest

from gdro.core import state as state_module
from gdro.core.errors import StateError
from gdro.core.state import load_state, read_array, read_float, read_int, save_state, state_hash

STATE = {
    "numbers": {"a": 1, "b": 0.1, "c": None, "d": True, "e": math.inf, "text": "ä\u0000\u2028"},
    "list": [1, [2.5, "x"], {"deep": np.arange(6).reshape(2, 3)}],
    "a.b": np.zeros(0),
    "a": {
        "b": np.ones((2, 0, 3), np.float32),
        "f": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    },
    "bytes": np.frombuffer(b"abc", np.uint8),
    "scalar": np.array(7, np.int16),
}


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    save_state(tmp_path / "s.npz", STATE)
    return tmp_path / "s.npz"


def test_round_trip(saved):
    again = load_state(saved)
    assert state_hash(again) == state_hash(STATE)
    assert again["numbers"] == STATE["numbers"]
    assert again["a.b"].shape == (0,)
    assert again["a"]["b"].dtype == np.float32
    np.testing.assert_array_equal(again["list"][2]["deep"], STATE["list"][2]["deep"])
    assert again["scalar"].shape == ()


def test_equal_states_give_equal_bytes_whatever_the_order_of_keys(saved, tmp_path):
    other = {key: STATE[key] for key in reversed(STATE)}
    save_state(tmp_path / "other.npz", other)
    assert (tmp_path / "other.npz").read_bytes() == saved.read_bytes()
    assert state_hash(other) == state_hash(STATE)


def test_it_is_an_ordinary_npz_without_pickle(saved):
    with np.load(saved, allow_pickle=False) as file:
        assert "tree" in file.files
    with zipfile.ZipFile(saved) as archive:
        assert all(name.endswith(".npy") for name in archive.namelist())


@pytest.mark.parametrize(
    ("node", "key"),
    [
        ({"x": {1: 2}}, "x"),
        ({"x": {"__array__": 2}}, "x"),
        ({"x": object()}, "x"),
        ({"x": np.array([None])}, "x"),
        ({"x": [np.int64(3)]}, "x.0"),
    ],
)
def test_what_cannot_be_saved_is_named(node, key, tmp_path):
    with pytest.raises(StateError, match=key):
        save_state(tmp_path / "x.npz", node)
    assert not list(tmp_path.iterdir())


def test_a_crash_before_the_rename_leaves_the_old_file(saved, monkeypatch):
    before = saved.read_bytes()

    def crash(*_: object) -> None:
        raise OSError("no space left on device")

    for name in ("fsync", "replace"):
        with monkeypatch.context() as patch:
            patch.setattr(state_module.os, name, crash)
            with pytest.raises(OSError, match="no space"):
                save_state(saved, {"new": 1})
        assert saved.read_bytes() == before
        assert os.listdir(saved.parent) == ["s.npz"]


@pytest.fixture
def small(tmp_path: Path) -> Path:
    save_state(tmp_path / "small.npz", {"a": np.arange(3), "n": 1})
    return tmp_path / "small.npz"


def test_truncated_at_every_byte(small):
    content = small.read_bytes()
    for length in range(len(content)):
        small.write_bytes(content[:length])
        with pytest.raises(StateError):
            load_state(small)


def test_every_byte_flipped_and_bytes_appended(small):
    content = small.read_bytes()
    rng = np.random.default_rng(0)
    for place in range(len(content)):
        flipped = bytearray(content)
        flipped[place] ^= 1 << int(rng.integers(8))
        small.write_bytes(flipped)
        with pytest.raises(StateError):
            load_state(small)
    small.write_bytes(content + b"\0")
    with pytest.raises(StateError):
        load_state(small)


def test_random_bytes_and_sealed_nonsense(tmp_path):
    """Also a file whose seal is right but whose content is not a state: someone else's format."""
    from hashlib import sha256

    rng, path = np.random.default_rng(0), tmp_path / "x.npz"
    plain = tmp_path / "plain.npz"
    np.savez(plain, a=np.arange(3))
    bodies = [rng.bytes(int(size)) for size in rng.integers(0, 400, 300)]
    bodies += [b"", b"PK", b"\x93NUMPY", plain.read_bytes(), b"\x80\x04N."]
    for body in bodies:
        for content in (body, body + sha256(body).hexdigest().encode()):
            path.write_bytes(content)
            with pytest.raises(StateError):
                load_state(path)


def test_missing_files_and_folders(tmp_path):
    with pytest.raises(FileNotFoundError):
        load_state(tmp_path / "none.npz")
    with pytest.raises(StateError):
        load_state(tmp_path)


def test_readers_name_the_key():
    state = {"a": np.array([1.0, np.nan]), "n": -1, "x": "y", "t": True}
    like = np.zeros(2)
    for call in (
        lambda: read_array(state, "a", like),
        lambda: read_array({"a": np.zeros(3)}, "a", like),
        lambda: read_array({"a": np.zeros((2, 1))}, "a", like),
        lambda: read_array({"a": np.zeros(())}, "a", like),
        lambda: read_array({"a": np.zeros(2, np.float32)}, "a", like),
        lambda: read_array({"a": [0.0, 0.0]}, "a", like),
        lambda: read_array({}, "a", like),
    ):
        with pytest.raises(StateError, match="'a'"):
            call()
    for key in ("n", "x", "t", "missing"):
        with pytest.raises(StateError, match=f"'{key}'"):
            read_int(state, key)
    with pytest.raises(StateError, match="'x'"):
        read_float({"x": math.nan}, "x")
