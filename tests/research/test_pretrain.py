"""The training script in miniature: it learns, and the same seed gives the same bytes."""

import dataclasses

from safetensors.torch import load_file

from gdro.tiny.mixture import DEFAULT_MIXTURE
from pretrain import Phase, PretrainSettings, make_tokenizer, pretrain

SMALL = PretrainSettings(
    skills=Phase(steps=4, learning_rate=1e-3, warmup=2, horizon=4, faulty=False),
    faults=Phase(steps=3, learning_rate=1e-3, warmup=1, horizon=3, faulty=True),
    batch=16,
    chunks=2,
    tokenizer_texts=10,
    vocab_size=320,
    hidden=64,
    intermediate=64,
    layers=1,
)
CELLS = DEFAULT_MIXTURE[:3]


def test_same_seed_same_bytes(tmp_path):
    first = pretrain(SMALL, tmp_path / "a", CELLS)
    assert first == pretrain(SMALL, tmp_path / "b", CELLS)
    assert first != pretrain(dataclasses.replace(SMALL, seed=1), tmp_path / "c", CELLS)
    assert {
        weight.dtype.itemsize for weight in load_file(tmp_path / "a" / "model.safetensors").values()
    } == {4}


def test_the_rate_warms_up_and_decays_to_a_twentieth():
    phase = Phase(steps=100, learning_rate=1.0, warmup=10, horizon=100, faulty=False)
    assert phase.rate_at(0) == 0.1
    assert phase.rate_at(9) == 1.0
    assert abs(phase.rate_at(100) - 0.05) < 1e-9


def test_the_tokenizer_is_remade_from_the_same_texts():
    once, again = (make_tokenizer(SMALL, CELLS).get_vocab() for _ in range(2))
    assert once == again
