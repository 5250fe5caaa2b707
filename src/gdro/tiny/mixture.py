"""The mixture that the base model was made for: nine reasoning-gym families at two to four levels
(no torch needed)."""

from __future__ import annotations

from gdro.data.reasoning_gym import Cell, Family

FAMILIES = (
    Family(
        "chain_sum",
        {str(n - 1): {"min_terms": n, "max_terms": n, "max_digits": 1} for n in (2, 3, 4)},
    ),
    Family(
        "products", {str(n - 1): {"min_terms": n, "max_terms": n, "max_digits": 1} for n in (2, 3)}
    ),
    Family(
        "gcd",
        {
            "1": {"min_value": 2, "max_value": 40},
            "2": {"min_value": 2, "max_value": 99},
            "3": {"min_value": 100, "max_value": 400},
        },
    ),
    Family("lcm", {"1": {"min_value": 2, "max_value": 14}, "2": {"min_value": 2, "max_value": 25}}),
    Family("count_bits", {"1": {"max_n": 255}, "2": {"min_n": 256, "max_n": 2047}}),
    Family(
        "complex_arithmetic",
        {
            str(level): {
                "min_real": -reach,
                "max_real": reach,
                "min_imag": -reach,
                "max_imag": reach,
                "operations": ["+", "-"],
                "operations_weights": [0.5, 0.5],
            }
            for level, reach in ((1, 4), (2, 9))
        },
    ),
    Family(
        "number_filtering",
        {
            str(n - 2): {
                "min_numbers": n,
                "max_numbers": n,
                "max_decimals": 0,
                "min_value": 0,
                "max_value": 9,
            }
            for n in (3, 4, 5)
        },
    ),
    Family(
        "palindrome_generation",
        {
            "1": {"min_length": 3, "max_length": 4},
            "2": {"min_length": 5, "max_length": 6},
            "3": {"min_length": 7, "max_length": 8},
        },
    ),
    Family(
        "spell_backward",
        {
            "1": {"min_word_len": 3, "max_word_len": 4},
            "2": {"min_word_len": 5, "max_word_len": 6},
            "3": {"min_word_len": 7, "max_word_len": 8},
            "4": {"min_word_len": 9, "max_word_len": 10},
        },
    ),
)
"""The families, levels from easy to hard."""

DEFAULT_MIXTURE: tuple[Cell, ...] = tuple(cell for family in FAMILIES for cell in family.cells())
"""Its cells, equal weights; what a run with `data.kind=reasoning_gym` and no cells of its own
trains on."""
