"""The scripts of research/ import one another by name, as they do when they are run from there;
made-up runs are those of tests/report."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "research"), str(ROOT / "tests" / "report")]
