"""Where slime is installed, stand-ins for SGLang, which slime's rollout manager imports. Elsewhere
nothing."""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import sys
from importlib.util import find_spec
from types import ModuleType
from unittest.mock import MagicMock


class StubFinder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Answers `import sglang...` with empty stand-ins."""

    def find_spec(
        self, name: str, path: object, target: object = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name.split(".")[0] not in ("sglang", "sglang_router"):
            return None
        return importlib.machinery.ModuleSpec(name, self, is_package=True)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        return MagicMock(name=spec.name, __path__=[], __spec__=spec)

    def exec_module(self, module: ModuleType) -> None:
        return None


def install() -> None:
    """Put the stand-ins behind every real package, so an installed SGLang wins."""
    sys.meta_path.append(StubFinder())


# Not `slime`: this folder itself is called so.
if find_spec("slime") is not None and find_spec("slime.ray") is not None:
    install()
