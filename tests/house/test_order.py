"""One direction: crates and packages know only those before them, as ARCHITECTURE draws it."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

# Crate -> crates it may use, directly or through one of them. `testkit` is for tests only and stands outside.
MAY_USE: dict[str, set[str]] = {
    "types": set(),
    "ring": {"types"},
    "journal": {"types"},
    "channel": {"ring", "journal"},
    "book": {"types"},
    "risk": {"journal"},
    "venue": {"book", "journal"},
    "feed": {"book"},
    "plane": {"channel", "feed", "risk", "venue"},
    "py": {"plane"},
}


def allowed(crate: str) -> set[str]:
    direct = MAY_USE[crate]
    return direct.union(*(allowed(other) for other in direct)) if direct else set()


def test_a_crate_uses_only_those_the_map_allows(root: Path) -> None:
    for manifest in (root / "crates").glob("*/Cargo.toml"):
        crate = manifest.parent.name
        if crate == "testkit":
            continue
        used = {
            name.removeprefix("tidebook-")
            for name in tomllib.loads(manifest.read_text()).get("dependencies", {})
            if name.startswith("tidebook-")
        }
        assert used <= allowed(crate), f"{crate} uses {sorted(used - allowed(crate))}"


def test_packages_know_only_those_before_them(root: Path) -> None:
    """Method: import-linter with the contract of pyproject.toml."""
    environment = {**os.environ, "PYTHONPATH": str(root / "python")}
    shown = subprocess.run(
        [Path(sys.executable).with_name("lint-imports")],
        cwd=root,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert shown.returncode == 0, shown.stdout
