"""`python -m gdro`."""

import sys

from gdro.cli import main

sys.exit(main())
