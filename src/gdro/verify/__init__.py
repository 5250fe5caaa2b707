"""Answers checked in killable processes: one may cost a second, never a run
(docs/verification.md)."""

from gdro.verify.types import (
    GoldError,
    Outcome,
    RewardFunctionError,
    ScorerSpec,
    Task,
    Verifier,
    VerifierError,
)
from gdro.verify.verifier import MathVerifier, PoolVerifier, make_verifier, text_only_note

__all__ = [
    "GoldError",
    "MathVerifier",
    "Outcome",
    "PoolVerifier",
    "RewardFunctionError",
    "ScorerSpec",
    "Task",
    "Verifier",
    "VerifierError",
    "make_verifier",
    "text_only_note",
]
