"""The page about the venue in Python: its blocks run in its order, and what they print is compared."""

import re
from itertools import pairwise
from pathlib import Path

import pytest

BLOCK = re.compile(r"```(python|text)\n(.*?)```", re.DOTALL)


def test_everything_on_the_page_prints_what_stands_behind_it(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found = BLOCK.findall((root / "docs/venue.md").read_text())
    assert len(found) > 10
    names: dict[str, object] = {}
    for (language, code), (follows, promised) in pairwise(found):
        if language == "python":
            assert follows == "text", code
            exec(code, names)
            assert capsys.readouterr().out == promised, code
