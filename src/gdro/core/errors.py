"""Every error the core raises: a ValueError that names the prompt, option or state key at fault and what to do."""

from __future__ import annotations


class GDROError(ValueError):
    """Base of all errors of the core. Whatever raised it has changed no state (but for `HookError`)."""


class PromptIdError(GDROError):
    """A prompt id is empty, not a string, or occurs twice in one batch."""


class RewardError(GDROError):
    """A reward is missing, not a number, NaN or infinite, or a prompt has the wrong number of them."""


class PlanError(GDROError):
    """Feedback that answers no outstanding plan, or too many plans without feedback."""


class BudgetError(GDROError):
    """A rollout budget that no allocation can meet."""


class OptionError(GDROError):
    """A controller option that is unknown or out of range."""


class StateError(GDROError):
    """A saved state that does not belong to this controller or is damaged."""


class HookError(GDROError):
    """A controller of somebody's own answered what no controller may. The step it belongs to is not to be used."""
