"""The five parts of a controller, bound together, and those that gdro's own methods are made of;
the parts of other methods are in `gdro.controllers.contrib`."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import Any

from gdro.controllers.part import Allocator, Baseline, Estimator, Part, Selector, Weigher
from gdro.controllers.parts.allocators import Uniform
from gdro.controllers.parts.baselines import Group
from gdro.controllers.parts.estimators import Classifier
from gdro.controllers.parts.weighers import Ones
from gdro.core.errors import OptionError


@dataclass(frozen=True, kw_only=True)
class Parts:
    """The five parts of a controller; what is left out is plain GRPO. A selector of None leaves the
    order of the data alone."""

    estimator: Estimator = field(default_factory=Classifier)
    selector: Selector | None = None
    allocator: Allocator = field(default_factory=Uniform)
    weigher: Weigher = field(default_factory=Ones)
    baseline: Baseline = field(default_factory=Group)

    def __iter__(self) -> Any:
        """The parts that are there, in the order in which they learn: the estimator last, so that
        the others see the prompts as they were."""
        others = (self.weigher, self.allocator, self.baseline, self.selector)
        return iter([part for part in others if part is not None] + [self.estimator])

    def named(self) -> dict[str, Any]:
        """The parts by the names of their slots."""
        return {slot.name: getattr(self, slot.name) for slot in fields(self)}

    def having(self, **others: Any) -> Parts:
        """The same with other parts in these slots."""
        return Parts(**(self.named() | others))

    def fresh(self) -> Parts:
        """The same parts with the same options, none of which has learnt anything."""
        named = self.named()
        return self.having(
            **{slot: None if part is None else replace(part) for slot, part in named.items()}
        )

    def options(self) -> dict[str, Any]:
        """Names and options as a nested mapping of plain values, as settings have them."""
        return {
            slot: None if part is None else _options(part) for slot, part in self.named().items()
        }

    def check(self) -> None:
        """Raises OptionError where a part asks for what the estimator does not give, or weights
        are for a choice that does not read them."""
        if self.weigher.acts_on_selection and not (self.selector and self.selector.reads_weights):
            chosen = "there is none" if self.selector is None else f"{self.selector.name!r} is none"
            raise OptionError(
                f"weigher {self.weigher.name!r} acts on the selection of prompts, and needs a"
                f" selector that reads its weights, as 'live' does; {chosen}; set acts='gradient',"
                " or take another selector"
            )
        for slot, part in self.named().items():
            lacking = frozenset() if part is None else part.needs - self.estimator.gives
            if lacking:
                raise OptionError(
                    f"{slot} {part.name!r} needs {min(lacking)}, which estimator"
                    f" {self.estimator.name!r} does not give with these options; take another"
                    " estimator (docs/controllers.md)"
                )


def _options(part: Part) -> dict[str, Any]:
    own = {entry.name: getattr(part, entry.name) for entry in fields(part)}
    return {"name": part.name} | {
        key: list(v) if isinstance(v, tuple) else v for key, v in own.items()
    }
