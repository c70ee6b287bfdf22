"""The page about states and snapshots: its files are written, its commands run in its order, and what they print is compared."""

import os
import re
import subprocess
import sys
from pathlib import Path

BLOCK = re.compile(r"```(\w+)\n(.*?)```", re.DOTALL)


def test_everything_on_the_page_runs_as_it_stands(root: Path, tmp_path: Path) -> None:
    found = BLOCK.findall((root / "docs/recovery.md").read_text())
    for language, text in found:
        if language == "python":
            (tmp_path / text.splitlines()[0].removeprefix("# ")).write_text(text)
    environment = os.environ | {
        "TIDEBOOK_RINGS": str(tmp_path / "rings"),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    ran = set()
    for (language, text), (follows, promised) in zip(found, [*found[1:], ("", "")], strict=True):
        printed = ""
        for command in text.splitlines() if language == "sh" else ():
            shown = subprocess.run(
                command.split(), cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
            )
            assert (shown.returncode, shown.stderr) == (0, ""), (command, shown)
            assert shown.stdout, command
            printed += shown.stdout
            ran.add(command.split()[-1])
        if language == "sh" and follows == "text":
            assert printed == promised, text
    assert {path.name for path in tmp_path.glob("*.py")} - {"positions.py"} <= ran
