"""The causes an outcome can have. Metrics show them as `verifier/<cause>`."""

CORRECT = "correct"
WRONG = "wrong"
PARTIAL = "partial"
"""A graded scorer gave something strictly between 0 and 1."""
SCORED = "scored"
"""A user's reward function gave a number; whether that is right or wrong only the user knows."""
UNPARSABLE = "unparsable"
"""There is no answer in the completion, or it cannot be read."""
TIMED_OUT = "timed_out"
CRASHED = "crashed"
"""The worker died on this answer: a segmentation fault, a kill from outside, the kernel out of
memory."""
OUT_OF_MEMORY = "out_of_memory"
"""The answer hit the worker's memory limit."""
FAILED = "failed"
"""The reward function is at fault and `errors="wrong"` was asked for."""

REFUSED_LENGTH = "refused_length"
REFUSED_CHARACTER = "refused_character"
REFUSED_NESTING = "refused_nesting"
REFUSED_DIGITS = "refused_digits"
REFUSED_RANGE = "refused_range"
REFUSED_FACTORIAL = "refused_factorial"
REFUSED_EXPONENT = "refused_exponent"

REFUSALS = (
    REFUSED_LENGTH,
    REFUSED_CHARACTER,
    REFUSED_NESTING,
    REFUSED_DIGITS,
    REFUSED_RANGE,
    REFUSED_FACTORIAL,
    REFUSED_EXPONENT,
)
ALL = (
    CORRECT,
    WRONG,
    PARTIAL,
    SCORED,
    UNPARSABLE,
    TIMED_OUT,
    CRASHED,
    OUT_OF_MEMORY,
    FAILED,
    *REFUSALS,
)
