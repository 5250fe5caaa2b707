"""What a controller costs: `python benchmarks/controllers.py [controllers|million] [--json FILE]`, as `gdro bench`.

Plan + observe of every controller at 256 x 4 (limit 2 ms) and 1,024 x 16 (limit 10 ms), or one million prompts.
Run it with OMP_NUM_THREADS=1 on an idle core; docs/core.md has the figures.
"""

from __future__ import annotations

import sys

from gdro.lab.bench import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
