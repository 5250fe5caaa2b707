"""The plug-in for stock verl (0.9 and 0.10, V1 trainer): `trainer.v1.trainer_mode=gdro`. See
docs/verl.md.

Importing this package imports neither verl nor torch; `plugin` is what verl's entry-point group
loads.
"""
