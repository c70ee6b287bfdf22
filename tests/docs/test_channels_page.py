"""The page about channels: its files are written, its commands run in its order, and what it says they print is compared."""

import os
import re
import subprocess
import sys
from pathlib import Path

BLOCK = re.compile(r"```(\w+)\n(.*?)```", re.DOTALL)


def test_everything_on_the_page_runs_as_it_stands(root: Path, tmp_path: Path) -> None:
    found = BLOCK.findall((root / "docs/channels.md").read_text())
    for language, text in found:
        if language == "python":
            name = text.splitlines()[0].removeprefix("# ")
            (tmp_path / name).write_text(text)
    environment = os.environ | {
        "TIDEBOOK_RINGS": str(tmp_path / "rings"),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    ran: set[str] = set()
    printed = ""
    for (language, text), (follows, promised) in zip(found, [*found[1:], ("", "")], strict=True):
        if language != "sh":
            continue
        printed = ""
        for command in text.splitlines():
            shown = subprocess.run(
                command.split(), cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
            )
            # A machine may have something wrong with it; that is for doctor to say.
            assert shown.returncode == 0 or "doctor" in command, (command, shown)
            assert shown.stderr == "", command
            assert shown.stdout, command
            printed += shown.stdout
            ran.add(command.split()[-1])
        if follows == "text":
            assert printed == promised, text
    assert {path.name for path in tmp_path.glob("*.py")} - {"ticks.py"} <= ran
