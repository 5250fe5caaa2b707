"""The adapter for tinker-cookbook: `train` runs its own training loop with a gdro controller. See
docs/tinker.md.

Importing this package imports neither tinker nor torch.
"""
