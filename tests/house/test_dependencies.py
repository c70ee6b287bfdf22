"""What we depend on is locked, used, and named without saying where it comes from."""

import re
import tomllib
from pathlib import Path

import pytest


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


def test_every_library_a_user_must_install_is_used_by_the_package(root: Path) -> None:
    """Method: imported somewhere, or named as text where another library loads it (uvicorn its protocols)."""
    project = tomllib.loads((root / "pyproject.toml").read_text())
    sources = "\n".join(path.read_text() for path in (root / "python").rglob("*.py"))
    unused = []
    for requirement in project["project"]["dependencies"]:
        module = re.split(r"[<>=!~ \[]", requirement)[0].replace("-", "_")
        if not re.search(rf"\b(?:import|from) {module}\b|[\"']{module}\b", sources):
            unused.append(module)
    assert unused == []
