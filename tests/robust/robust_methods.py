"""One of each method, made afresh, for the tests that hold for all of them."""

from __future__ import annotations

from collections.abc import Callable

from gdro.core.adversaries import EmaHedge, Exp3P, TsallisInf
from gdro.robust import (
    Balanced,
    CVaR,
    DoReMi,
    GroupConditionalDRO,
    GroupDRO,
    QDiversity,
    RobustMethod,
    VarianceDRO,
)

NAMES = ("a", "b", "c")

METHODS: dict[str, Callable[[], RobustMethod]] = {
    "balanced": lambda: Balanced(NAMES),
    "balanced_counts": lambda: Balanced(NAMES, counts=[100, 10, 1]),
    "group_dro": lambda: GroupDRO(NAMES, eta=0.5),
    "group_dro_adjusted": lambda: GroupDRO(
        NAMES, eta=0.5, adjustment=1.0, counts={"a": 9, "b": 4, "c": 1}
    ),
    "group_dro_tsallis": lambda: GroupDRO(NAMES, adversary=TsallisInf(3), loss_range=(0, 3)),
    "group_dro_exp3p": lambda: GroupDRO(NAMES, adversary=Exp3P(3), loss_range=(0, 3)),
    "group_dro_ema": lambda: GroupDRO(NAMES, adversary=EmaHedge(3), loss_range=(0, 3)),
    "doremi": lambda: DoReMi(NAMES, eta=0.5),
    "cvar": lambda: CVaR(0.3, groups=NAMES),
    "gc_dro": lambda: GroupConditionalDRO(NAMES),
    "q_balance": lambda: QDiversity(NAMES, form="balance", eta=0.5),
    "q_eiil": lambda: QDiversity(NAMES, form="eiil", eta=0.5),
    "q_adversarial": lambda: QDiversity(NAMES, form="adversarial", eta=0.5),
    "var_dro": lambda: VarianceDRO(groups=NAMES),
}
