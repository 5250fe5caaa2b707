"""The corpora lie beside the tests; benchmarks/verifier.py reads them too."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
