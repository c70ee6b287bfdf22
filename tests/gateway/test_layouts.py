"""What the gateway reads and writes of commands are the published layouts."""

import numpy as np
import pytest

from tidebook.gateway import layouts, words
from tidebook.gateway.lives import EXECUTION_FIELDS
from tidebook.venue import EXECUTION, LAYOUTS, CommandKind

BODIES = {
    CommandKind.PLACE: layouts.PLACE,
    CommandKind.PLACE_PAIR: layouts.PAIR,
    CommandKind.REPLACE: layouts.REPLACE,
    CommandKind.INSTRUMENT: layouts.INSTRUMENT,
    CommandKind.ACCOUNT: layouts.ACCOUNT,
    CommandKind.KILL: layouts.KILL,
    CommandKind.CANCEL: layouts.CANCEL,
    CommandKind.MASS_CANCEL: layouts.MASS_CANCEL,
    CommandKind.CANCEL_ALL_AFTER: layouts.CANCEL_ALL_AFTER,
    CommandKind.SESSION: layouts.SESSION,
    CommandKind.LIMITS: layouts.LIMITS,
    CommandKind.TRANSFER: layouts.TRANSFER,
}


@pytest.mark.parametrize("kind", BODIES)
def test_the_bytes_of_a_body_are_those_of_the_published_layout(kind: CommandKind) -> None:
    """Method: other bytes in every field, read by both; spare bytes have no name in the layout and none in the struct."""
    layout = LAYOUTS[kind]
    record = np.zeros(1, layout)
    head = [name for name, offset in _fields(layout).items() if offset < layouts.HEAD_SIZE_BYTES]
    body = [name for name in _fields(layout) if name not in head and name != "reserved"]
    for number, name in enumerate(body, start=1):
        record[name] = np.frombuffer(bytes([number] * record[name].nbytes), record[name].dtype).reshape(
            record[name].shape
        )
    raw = record.tobytes()
    assert len(raw) == layouts.COMMAND_SIZE_BYTES
    read = BODIES[kind].unpack(raw[layouts.HEAD_SIZE_BYTES :])
    assert read == tuple(record[name][0].tobytes() if record[name].ndim > 1 else int(record[name][0]) for name in body)
    assert BODIES[kind].pack(*read) == raw[layouts.HEAD_SIZE_BYTES :]


def test_the_head_is_that_of_the_published_layout() -> None:
    layout = LAYOUTS[CommandKind.TIMER]
    names = ["ts", "source_sequence", "executions_seen", "account", "instrument_id", "kind", "verdict", "reason"]
    record = np.zeros(1, layout)
    for number, name in enumerate(names, start=1):
        record[name] = number
    assert layouts.HEAD.unpack(record.tobytes()[: layouts.HEAD_SIZE_BYTES]) == tuple(range(1, 9))


def test_an_execution_has_the_published_fields_in_their_order() -> None:
    assert [name for name in EXECUTION.names or () if name != "reserved"] == list(EXECUTION_FIELDS)


def test_every_number_has_a_word() -> None:
    assert words.REASONS[30] == "duplicate_client_order_id"
    assert words.numbers(words.SIDES) == {"buy": 1, "sell": -1}
    assert list(words.COMMAND_KINDS.values())[:3] == ["place", "place_pair", "replace"]


def _fields(layout: np.dtype[np.void]) -> dict[str, int]:
    """Offsets by name, in their order."""
    fields = layout.fields
    assert fields is not None
    return dict(sorted(((name, int(of[1])) for name, of in fields.items()), key=lambda item: item[1]))
