"""What `import tidebook` offers, and what it costs."""

import subprocess
import sys

import pytest

import tidebook

HEAVY = {"duckdb", "fastapi", "httpx", "msgspec", "numpy", "polars", "pyarrow", "pydantic", "structlog", "cyclopts"}


def python(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout


def test_all_exports_and_the_lazy_table_are_one_list() -> None:
    assert set(tidebook.__all__) == set(tidebook._EXPORTS) | {"__version__"}
    assert dir(tidebook) == sorted(tidebook.__all__)
    for name in tidebook.__all__:
        assert getattr(tidebook, name) is not None
    with pytest.raises(AttributeError, match="no_such_thing"):
        _ = tidebook.no_such_thing


def test_import_loads_no_library_that_a_user_has_not_touched() -> None:
    loaded = set(python("import tidebook, sys; print(*{name.split('.')[0] for name in sys.modules})").split())
    assert loaded & HEAVY == set()
