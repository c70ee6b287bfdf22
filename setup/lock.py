"""Rewrites requirements/dev.lock and bench.lock from the ranges in pyproject.toml: plain `name==version` lines.

What is locked stays as it is unless a range forbids it; `--upgrade` takes the newest of everything. No addresses and
no hashes: which registry serves a package is the machine's business.
"""

import subprocess
import sys
import tempfile
import tomllib
import venv
from pathlib import Path

ROOT = Path(__file__).parent.parent
LOCKS = {"dev": ROOT / "requirements/dev.lock", "bench": ROOT / "requirements/bench.lock"}


def freeze(requirements: list[str], constraints: Path | None) -> list[str]:
    """Versions that pip picks for `requirements` in an empty environment."""
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        pip = [f"{folder}/bin/python", "-m", "pip"]
        limits = ["-c", str(constraints)] if constraints else []
        subprocess.run([*pip, "install", "-q", *limits, *requirements], check=True)
        frozen = subprocess.run([*pip, "freeze", "-q"], check=True, capture_output=True, text=True).stdout
    return sorted((line for line in frozen.splitlines() if "==" in line), key=str.lower)


def main() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    groups = project["dependency-groups"]
    old = LOCKS["dev"] if LOCKS["dev"].exists() and "--upgrade" not in sys.argv[1:] else None
    dev = freeze([*project["project"]["dependencies"], *groups["dev"]], old)
    LOCKS["dev"].write_text("\n".join(dev) + "\n")
    # Peers are measured beside what we ship, so they are resolved against the same versions.
    bench = freeze(groups["bench"], LOCKS["dev"])
    LOCKS["bench"].write_text("\n".join(line for line in bench if line not in dev) + "\n")


main()
