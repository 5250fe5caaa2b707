"""`gdro ...` in a process of its own with vLLM's shims for a CPU: python launch.py train ..."""

from __future__ import annotations

import sys

import cpu_client
import cpu_colocate

from gdro.cli import main

if __name__ == "__main__":
    cpu_colocate.install(cpu_colocate.fresh)
    cpu_client.install()
    sys.exit(main())
