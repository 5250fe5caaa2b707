"""The adapter for slime: a data source and a reward post-process, named by its function paths. See
docs/slime.md.

Importing this package imports neither slime nor torch; `source` is what slime's function paths
name.
"""
