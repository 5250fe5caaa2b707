"""These tests need verl, which cannot share an environment with TRL: `make test-verl` runs them in
their own.

Elsewhere pytest does not collect this folder at all, as docs/verl.md says; nothing in it is
skipped.
"""

from __future__ import annotations

from importlib import metadata

# By distribution, not by module: this folder itself is called verl.
collect_ignore_glob = [] if list(metadata.distributions(name="verl")) else ["*"]
