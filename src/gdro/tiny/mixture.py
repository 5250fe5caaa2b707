"""The mixture of the default run: eight reasoning-gym families at two to four levels (no torch needed)."""

from __future__ import annotations

from gdro.data.reasoning_gym import Cell, Family

FAMILIES = (
    Family(
        "chain_sum",
        {
            "1": {"min_terms": 2, "max_terms": 2, "min_digits": 2, "max_digits": 2},
            "2": {"min_terms": 3, "max_terms": 3, "min_digits": 2, "max_digits": 2},
            "3": {"min_terms": 2, "max_terms": 2, "min_digits": 3, "max_digits": 3},
            "4": {"min_terms": 3, "max_terms": 3, "min_digits": 3, "max_digits": 3},
        },
    ),
    Family(
        "products",
        {
            "1": {"min_terms": 3, "max_terms": 3, "min_digits": 1, "max_digits": 1},
            "2": {"min_terms": 4, "max_terms": 4, "min_digits": 1, "max_digits": 1},
            "3": {"min_terms": 2, "max_terms": 2, "min_digits": 2, "max_digits": 2},
        },
    ),
    Family(
        "gcd",
        {
            "1": {"min_value": 2, "max_value": 40},
            "2": {"min_value": 2, "max_value": 99},
            "3": {"min_value": 100, "max_value": 400},
        },
    ),
    Family(
        "lcm",
        {
            "1": {"min_value": 2, "max_value": 25},
            "2": {"min_value": 10, "max_value": 50},
            "3": {"min_value": 10, "max_value": 99},
        },
    ),
    Family(
        "prime_factorization",
        {
            "1": {"min_value": 2, "max_value": 399},
            "2": {"min_value": 400, "max_value": 999},
            "3": {"min_value": 1000, "max_value": 2999},
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
    Family(
        "count_bits",
        {
            "1": {"min_n": 1, "max_n": 999},
            "2": {"min_n": 1000, "max_n": 65535},
        },
    ),
    Family(
        "simple_geometry",
        {
            "1": {"min_sides": 3, "max_sides": 3},
            "2": {"min_sides": 4, "max_sides": 4},
            "3": {"min_sides": 5, "max_sides": 5},
        },
    ),
)
"""The families, levels from easy to hard."""

DEFAULT_MIXTURE: tuple[Cell, ...] = tuple(cell for family in FAMILIES for cell in family.cells())
"""The cells of the default run, equal weights."""
