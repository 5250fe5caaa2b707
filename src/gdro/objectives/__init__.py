"""What an update maximises: losses on groups of rollouts, and rules for which rollouts they see.

Needs torch. Each file is one method and imports the core alone, so that any engine, or a loop of
one's own, can call it.
"""
