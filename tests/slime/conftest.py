"""Where slime is installed, stand-ins for SGLang, which slime's rollout manager imports. Elsewhere
nothing."""

from __future__ import annotations

from importlib.util import find_spec

import stub_sglang

# Not `slime`: this folder itself is called so.
if find_spec("slime") is not None and find_spec("slime.ray") is not None:
    stub_sglang.install()
