"""The commands of the page about durability run in its order and end well; its tables name what there is."""

import os
import re
import subprocess
import sys
from pathlib import Path

import msgspec

from tidebook.cli.recovery import COLUMNS
from tidebook.node.backup import Backup

BLOCK = re.compile(r"```sh\n(.*?)```", re.DOTALL)


def test_every_command_of_the_page_runs_as_it_stands(root: Path, tmp_path: Path) -> None:
    lines = [f'{1_723_161_254_000_000_000 + n} {{"stream":"btcusdt@trade","data":{{}}}}\n' for n in range(20)]
    (tmp_path / "capture.log").write_text("".join(lines))
    environment = os.environ | {
        "TIDEBOOK_RINGS": str(tmp_path / "rings"),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    ran = 0
    for block in BLOCK.findall((root / "docs/durability.md").read_text()):
        for command in block.splitlines():
            shown = subprocess.run(
                command.split(), cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
            )
            assert (shown.returncode, shown.stderr) == (0, ""), (command, shown)
            assert shown.stdout, command
            ran += 1
    assert ran


def test_the_page_explains_the_columns_of_the_start_screen(root: Path) -> None:
    page = (root / "docs/durability.md").read_text().partition("## The start screen")[2].partition("\n## ")[0]
    explained = re.findall(r"^\| (\w[\w ]*) \|", page, re.MULTILINE)[1:]
    assert explained == [column.name for column in COLUMNS if column.name not in ("channel", "time")]


def test_the_format_page_has_every_field_of_the_listing_of_a_backup(root: Path) -> None:
    page = (root / "docs/formats/backup.md").read_text().partition("## The listing")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (`[\w`, ]+) \|", page, re.MULTILINE)
    named = [name for row in rows for name in re.findall(r"`(\w+)`", row)]
    assert named == [field.name for field in msgspec.structs.fields(Backup)]
