"""What we depend on is locked, used, and named without saying where it comes from."""

import ast
import re
import sys
import tomllib
from pathlib import Path

import pytest

# Come with FastAPI, whose public interface they are.
IN_BETWEEN = {"starlette"}


@pytest.mark.parametrize("lock", ["dev.lock", "bench.lock"])
def test_a_lock_is_plain_names_and_versions(lock: str, root: Path) -> None:
    lines = (root / "requirements" / lock).read_text().splitlines()
    assert all(re.fullmatch(r"[\w.\-]+==[\w.+!]+", line) for line in lines)
    assert len({line.partition("==")[0].lower() for line in lines}) == len(lines)


def test_every_dependency_is_locked(root: Path) -> None:
    def names(requirements: list[str]) -> set[str]:
        return {re.split(r"[<>=!~ \[]", requirement)[0].lower().replace("_", "-") for requirement in requirements}

    project = tomllib.loads((root / "pyproject.toml").read_text())
    dev = names((root / "requirements/dev.lock").read_text().splitlines())
    bench = names((root / "requirements/bench.lock").read_text().splitlines())
    assert names(project["project"]["dependencies"]) - dev == set()
    assert names(project["dependency-groups"]["dev"]) - dev == set()
    assert names(project["dependency-groups"]["bench"]) - dev - bench == set()


def test_every_library_the_package_imports_is_one_a_user_must_install(root: Path) -> None:
    """Method: top-level names of all imports, without the standard library and ourselves."""
    project = tomllib.loads((root / "pyproject.toml").read_text())
    declared = {re.split(r"[<>=!~ \[]", name)[0].replace("-", "_") for name in project["project"]["dependencies"]}
    imported: set[str] = set()
    for path in (root / "python").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                imported |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                imported.add(node.module.partition(".")[0])
    assert imported - declared - sys.stdlib_module_names - {"tidebook"} == IN_BETWEEN & imported


def test_every_library_a_user_must_install_is_used_by_the_package(root: Path) -> None:
    """Method: imported somewhere, or named as text where another library loads it (uvicorn its protocols)."""
    project = tomllib.loads((root / "pyproject.toml").read_text())
    sources = "\n".join(path.read_text() for path in (root / "python").rglob("*.py"))
    unused = []
    for requirement in project["project"]["dependencies"]:
        module = re.split(r"[<>=!~ \[]", requirement)[0].replace("-", "_")
        if not re.search(rf"\b(?:import|from) {module}\b|[\"']{module}\b|\.{module}_impl\b", sources):
            unused.append(module)
    assert unused == []
