"""The page of the records says what the code has."""

import re
from pathlib import Path
from typing import Any

import numpy as np

from tidebook.analytics import ACCOUNT, MARKET, layouts

PAGE = (Path(__file__).parents[2] / "docs/formats/analytics.md").read_text()
TYPES = {"i64": "<i8", "u64": "<u8", "u32": "<u4", "f64": "<f8"}


def fields(section: str) -> list[tuple[str, str, int]]:
    part = PAGE.split(f"## {section}\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\| (\d+) \| (\w+) \| (\w+) \| .+ \|$", part, re.MULTILINE)
    return [(name, TYPES[kind], int(offset)) for offset, kind, name in rows]


def of(dtype: np.dtype[Any]) -> list[tuple[str, str, int]]:
    assert dtype.names is not None
    assert dtype.fields is not None
    return [(name, dtype.fields[name][0].str, dtype.fields[name][1]) for name in dtype.names]


def test_the_page_has_every_field_at_its_place() -> None:
    head = fields("Both begin with")
    assert head + fields("Market") == of(MARKET)
    assert head + fields("Account") == of(ACCOUNT)
    assert f"{MARKET.itemsize} bytes." in PAGE
    assert f"{ACCOUNT.itemsize} bytes." in PAGE


def test_the_page_has_every_flag() -> None:
    flags = dict(re.findall(r"^\| (\d) \| ([a-z_]+) \| ", PAGE, re.MULTILINE))
    assert flags == {str(getattr(layouts, name.upper())): name for name in ("open", "late_start", "gap")}
