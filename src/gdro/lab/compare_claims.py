"""What a comparison was made to find out, decided by the rule that its plan states before the runs.

Each claim of a plan is one difference; their p-values are adjusted together by Holm's rule. A claim
is

    win        clear after the adjustment, above 0, and at least `least` of the other's score
    loss       clear after the adjustment, below 0
    excluded   (only with `least`) the whole 95 % interval of the relative gain lies below `least`
    open       anything else

and the report says the sentence that the plan has for it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from gdro.lab.compare_plan import Claim
from gdro.lab.stats import Estimate, holm
from gdro.lab.text import moved
from gdro.report.read import RecordError

LEVEL = 0.05


def verdicts(
    claims: Sequence[Claim],
    gap_of: Callable[[Claim], Estimate],
    before_of: Callable[[Claim], float],
    methods: Mapping[str, Mapping[str, Any]],
) -> list[dict[str, Any]]:
    """Each claim with its difference, adjusted p-value, verdict and sentence; none while the two
    methods of one have no seed in common.

    Args:
        gap_of: the difference that a claim is about; NaN without a common seed.
        before_of: the other method's score on the same seeds, which `relative` and `least` are of.
        methods: method -> its entry of the summary.

    Raises:
        RecordError: a claim is about a score that this comparison does not have.
    """
    if any(name not in methods for claim in claims for name in (claim.method, claim.against)):
        return []
    for claim in claims:
        if claim.score not in methods[claim.against]["scores"]:
            raise RecordError(
                f"claims: no score {claim.score}; there are"
                f" {', '.join(methods[claim.against]['scores'])}"
            )
    gaps = [gap_of(claim) for claim in claims]
    if any(math.isnan(gap.value) for gap in gaps):
        return []
    adjusted = holm([gap.p for gap in gaps])
    found = []
    for claim, gap, p in zip(claims, gaps, adjusted, strict=True):
        before = before_of(claim)
        verdict = _verdict(claim, gap, p, before)
        sentence = str(getattr(claim, verdict))
        relative = f"{100 * gap.value / before:+.1f} %" if before > 0 else "from 0"
        words = sentence.replace("{gap}", moved(gap)).replace("{relative}", relative)
        found.append(
            {
                "method": claim.method,
                "against": claim.against,
                "score": claim.score,
                "difference": asdict(gap),
            }
            | {"p_adjusted": p, "verdict": verdict, "words": words}
        )
    return found


def _verdict(claim: Claim, gap: Estimate, p: float, before: float) -> str:
    clear = p < LEVEL
    if clear and gap.value > 0 and gap.value >= claim.least * before:
        return "win"
    if clear and gap.value < 0:
        return "loss"
    if claim.least > 0 and gap.high < claim.least * before:
        return "excluded"
    return "open"
