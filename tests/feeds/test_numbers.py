"""Numbers of the core that are written out once more, in Python: at one place each, and the same."""

import re
from pathlib import Path

import pytest

from tidebook._core import pack_message, unpack_message
from tidebook.errors import RawMessageError
from tidebook.feeds.sink import MessageKind
from tidebook.feeds.status import StatusKind


def test_kinds_of_status_have_the_numbers_of_the_engine_that_writes_them(root: Path) -> None:
    source = (root / "crates/feed/src/status.rs").read_text()
    written = {name: int(number) for number, name in re.findall(r"^    \w+ = (\d+) \"(\w+)\",$", source, re.MULTILINE)}
    assert {kind.name.lower(): kind.value for kind in StatusKind} == written


def test_kinds_of_messages_have_the_numbers_of_the_core_that_takes_no_others(root: Path) -> None:
    source = (root / "crates/types/src/message.rs").read_text()
    listed = source.partition("pub enum MessageKind {")[2].partition("}")[0]
    assert {kind.name.capitalize(): str(kind.value) for kind in MessageKind} == dict(
        re.findall(r"(\w+) = (\d+)", listed)
    )
    for kind in MessageKind:
        assert unpack_message(pack_message(7, 1, kind, b"", b"{}"))[2] == kind
    for other in (0, len(MessageKind) + 1):
        with pytest.raises(RawMessageError):
            pack_message(7, 1, other, b"", b"{}")
