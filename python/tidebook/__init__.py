"""Tidebook: a trading data plane in Python on a small Rust core.

Names are loaded when first used: `import tidebook` imports neither numpy, polars nor pydantic, so that a command
or a notebook pays only for what it touches.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tidebook import errors
    from tidebook.errors import TidebookError
    from tidebook.storage.store import Store, open

    __version__: str

# Public name -> module that holds it; a module stands for itself. `tests/house/test_exports.py` closes the list.
_EXPORTS = {
    "Store": "tidebook.storage.store",
    "TidebookError": "tidebook.errors",
    "errors": "tidebook.errors",
    "open": "tidebook.storage.store",
}

__all__ = ["Store", "TidebookError", "__version__", "errors", "open"]


def __getattr__(name: str) -> object:
    if name == "__version__":
        from tidebook._core import version

        return version()
    if name not in _EXPORTS:
        raise AttributeError(f"module 'tidebook' has no attribute {name!r}")
    module = import_module(_EXPORTS[name])
    value = module if module.__name__ == f"tidebook.{name}" else getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
