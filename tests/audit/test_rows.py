"""Rows of commands, whatever their bytes."""

import numpy as np
import pytest

from tidebook.audit.rows import derive
from tidebook.audit.schema import metadata
from tidebook.venue import COMMAND, EXECUTION, LAYOUTS, CommandKind, Reason, Verdict, commands


@pytest.mark.parametrize("kind", [*CommandKind, 0, 200])
def test_a_refused_command_of_any_bytes_has_rows_that_the_schema_takes(kind: int) -> None:
    random = np.random.default_rng(20261130 + kind)
    refused = np.frombuffer(random.bytes(500 * COMMAND.itemsize), COMMAND).copy()
    for name in ("ts", "source_sequence", "executions_seen"):
        refused[name] = np.arange(1, 501)
    refused["account"] >>= 1
    refused["instrument_id"] >>= 1
    refused["kind"], refused["verdict"], refused["reason"] = kind, Verdict.REJECTED, Reason.FIELDS
    _require_whole(derive(1, refused, np.zeros(0, EXECUTION)))


@pytest.mark.parametrize("kind", [CommandKind.PLACE, CommandKind.PLACE_PAIR])
def test_an_order_without_a_side_is_kept_with_its_digit(kind: CommandKind) -> None:
    refused = commands(1)
    refused["kind"], refused["verdict"], refused["reason"] = kind, Verdict.REJECTED, Reason.FIELDS
    assert refused.view(LAYOUTS[kind])["side"].tolist() == [0]
    rows = derive(1, refused, np.zeros(0, EXECUTION))
    _require_whole(rows)
    side = list(metadata.tables["orders"].columns.keys()).index("side")
    assert {row[side] for row in rows["orders"]} == {"0"}


def _require_whole(rows: dict[str, list[tuple[object, ...]]]) -> None:
    """Each value is there where the schema needs one."""
    for table, found in rows.items():
        columns = metadata.tables[table].columns
        for row in found:
            assert len(row) == len(columns), table
            for column, value in zip(columns, row, strict=True):
                assert value is not None or column.nullable, (table, column.name, row)
