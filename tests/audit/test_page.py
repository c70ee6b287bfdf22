"""The page of the audit trail says what is there: tables with their columns, views with their numbers."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tidebook.audit.schema import metadata
from tidebook.audit.views import describe

if TYPE_CHECKING:
    from pathlib import Path


def test_every_table_stands_there_with_all_its_columns_in_order(root: Path) -> None:
    page = (root / "docs/audit.md").read_text()
    sections = dict(re.findall(r"^### (\w+)\n(.*?)(?=^##)", page, re.DOTALL | re.MULTILINE))
    assert list(sections) == [table.name for table in metadata.tables.values()]
    for table in metadata.tables.values():
        last_paragraph = sections[table.name].strip().split("\n\n")[-1]
        assert re.findall(r"`([a-z_]+)`", last_paragraph) == [column.name for column in table.columns], table.name


def test_every_view_stands_there_with_its_usual_numbers(root: Path) -> None:
    page = (root / "docs/audit.md").read_text()
    lines = dict(re.findall(r"^\| `(\w+)` \| .* \|(.*)\|$", page, re.MULTILINE))
    for view in describe():
        numbers = dict(re.findall(r"`(\w+)` (\d+)", lines[view["name"]]))
        assert {name: int(value) for name, value in numbers.items()} == view["numbers"]
