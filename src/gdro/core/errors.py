"""The one family of errors: each names the prompt, option, file or state key at fault and what to
do about it.

Every error of the package derives from `GDROError`, so that the command line catches one family.
The errors that a whole room shares (data, models, runs, diffusion) stand here too.
"""

from __future__ import annotations


class GDROError(Exception):
    """Root of every error that a user can mend. In the core, whatever raised it has changed no
    state (but for `HookError`)."""


class PromptIdError(GDROError, ValueError):
    """A prompt id is empty, not a string, or occurs twice in one batch."""


class RewardError(GDROError, ValueError):
    """A reward is missing, not a number, NaN or infinite, or a prompt has the wrong number of
    them."""


class PlanError(GDROError, ValueError):
    """Feedback that answers no outstanding plan, or too many plans without feedback."""


class BudgetError(GDROError, ValueError):
    """A rollout budget that no allocation can meet."""


class OptionError(GDROError, ValueError):
    """A controller option that is unknown or out of range."""


class StateError(GDROError, ValueError):
    """A saved state that does not belong to this controller or is damaged."""


class HookError(GDROError, ValueError):
    """A controller of somebody's own answered what no controller may. The step it belongs to is not
    to be used."""


class ModelError(GDROError, ValueError):
    """A model that is not there, not whole, or not one that can be trained; one line that says what
    to do."""


class RunError(GDROError):
    """A run that cannot start or go on; says what is wrong, where, and what to do."""


class DiffusionError(GDROError, ValueError):
    """Something of a diffusion run cannot be used; says what, where, and what to do."""


class DataError(GDROError, ValueError):
    """Data that cannot be used: names the file, the row (the first is 1) and what to do.

    Nothing of a load that raised it is kept.
    """
