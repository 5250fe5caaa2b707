"""What the tests of trainers share."""

import pytest


@pytest.fixture(autouse=True)
def _no_card(monkeypatch):
    """TRL writes a model card at every checkpoint, which takes as long as the weights do."""
    monkeypatch.setattr("trl.GRPOTrainer.create_model_card", lambda *_, **__: None)
