"""Commands, executions and risk events as Python sees them: the core's layouts and numbers, byte for byte."""

from collections.abc import Callable
from decimal import Decimal
from enum import IntEnum, IntFlag
from typing import Any

import numpy as np
import pytest

import tidebook.venue as venue
from tidebook import _core
from tidebook.errors import CommandError, DecimalError
from tidebook.venue import COMMAND, LAYOUTS, CommandKind, OrderType, Side, TimeInForce, as_commands, commands, units

# Each builder, with every argument that has no default and some that have one, and what its body holds then.
BUILT: list[tuple[Callable[[], Any], CommandKind, dict[str, Any]]] = [
    (
        lambda: venue.place(7, 3, Side.SELL, 100, 5, client_order_id="a-1", expire_ts=9, ts=4),
        CommandKind.PLACE,
        {
            "account": 7,
            "instrument_id": 3,
            "side": -1,
            "price": 100,
            "size": 5,
            "order_type": 1,
            "time_in_force": 1,
            "expire_ts": 9,
            "ts": 4,
        },
    ),
    (
        lambda: venue.place(7, 3, Side.BUY, amount=8, order_type=OrderType.MARKET),
        CommandKind.PLACE,
        {"amount": 8, "order_type": 2, "time_in_force": TimeInForce.IOC, "price": 0, "size": 0},
    ),
    (
        lambda: venue.place_pair(7, 3, Side.BUY, 90, 5, 110, limit_price=111),
        CommandKind.PLACE_PAIR,
        {"price": 90, "size": 5, "trigger_price": 110, "limit_price": 111, "time_in_force": 1, "side": 1},
    ),
    (
        lambda: venue.replace(7, 3, 12, 91, 4, display_size=2),
        CommandKind.REPLACE,
        {"order_id": 12, "price": 91, "size": 4, "display_size": 2},
    ),
    (lambda: venue.cancel(7, 3, 12), CommandKind.CANCEL, {"order_id": 12}),
    (lambda: venue.mass_cancel(7, side=Side.SELL), CommandKind.MASS_CANCEL, {"side": -1, "instrument_id": 0}),
    (lambda: venue.cancel_all_after(7, 10**9), CommandKind.CANCEL_ALL_AFTER, {"timeout_ns": 10**9}),
    (lambda: venue.disconnect(7), CommandKind.DISCONNECT, {"account": 7}),
    (lambda: venue.timer(99), CommandKind.TIMER, {"ts": 99}),
    (lambda: venue.session(3, venue.Session.CONTINUOUS), CommandKind.SESSION, {"session": 3, "instrument_id": 3}),
    (
        lambda: venue.instrument(3, base_asset=1, quote_asset=2, price_exp=2, size_exp=8, maker_ppm=-100),
        CommandKind.INSTRUMENT,
        {"tick": 1, "lot": 1, "size_max": 1 << 40, "base_asset": 1, "price_exp": 2, "size_exp": 8, "maker_ppm": -100},
    ),
    (lambda: venue.account(7, group=5, flags=venue.AccountFlag.MARGIN), CommandKind.ACCOUNT, {"group": 5, "flags": 2}),
    (lambda: venue.limits(7, 3, collar_ppm=50, burst=9), CommandKind.LIMITS, {"collar_ppm": 50, "burst": 9}),
    (lambda: venue.transfer(7, 2, -50, 2), CommandKind.TRANSFER, {"asset": 2, "amount": -50, "amount_exp": 2}),
    (lambda: venue.kill(), CommandKind.KILL, {"killed": 1, "account": 0}),
]


def test_every_number_has_the_cores_name() -> None:
    for name, words in _core.venue_codes().items():
        numbers: type[IntEnum] = getattr(venue, name)
        assert [(member.name.lower(), member.value) for member in numbers] == words, name
    assert [int(flag) for flag in (*venue.OrderFlag, *venue.AccountFlag)] == [1, 2, 1, 2]
    assert issubclass(venue.OrderFlag, IntFlag)


def test_the_layout_of_each_kind_is_a_view_of_a_command() -> None:
    assert set(LAYOUTS) == set(CommandKind)
    for kind, layout in LAYOUTS.items():
        assert layout.itemsize == COMMAND.itemsize == 128
        assert layout.names is not None
        head = [name for name in COMMAND.names or () if name != "body"]
        assert list(layout.names[: len(head)]) == head, kind
    array = commands(2)
    place = array.view(LAYOUTS[CommandKind.PLACE])
    place["kind"], place["price"] = CommandKind.PLACE, [5, 6]
    assert array["body"][1][16:24].view("<i8")[0] == 6


def test_every_kind_has_a_builder_that_writes_its_fields() -> None:
    assert {kind for _, kind, _ in BUILT} == set(CommandKind)
    for build, kind, fields in BUILT:
        record = build()
        assert record.dtype == COMMAND
        assert record["kind"] == kind
        view = np.atleast_1d(record).view(LAYOUTS[kind])[0]
        assert {name: int(view[name]) for name in fields} == fields, kind
        assert (record["verdict"], record["reason"], record["source_sequence"], record["executions_seen"]) == (0,) * 4


def test_a_record_can_be_written_to_and_several_are_an_array() -> None:
    record = venue.cancel(1, 2, 3)
    record["account"] = 9
    array = commands([record, venue.timer(5)])
    assert array["account"].tolist() == [9, 0]
    assert as_commands(record).tobytes() == array[:1].tobytes()
    assert as_commands([record, array[1]]).tobytes() == array.tobytes()
    assert as_commands(array.view(LAYOUTS[CommandKind.TIMER])).dtype == COMMAND
    assert commands().shape == (0,)


@pytest.mark.parametrize("wrong", [np.zeros(3), np.zeros(1, "V128"), b"\0" * 128, 5, None, [1]])
def test_what_is_no_command_is_named(wrong: object) -> None:
    with pytest.raises(CommandError, match=r"tidebook\.venue\.COMMAND") as caught:
        as_commands(wrong)
    assert caught.value.facts["field"] == "dtype"


place: Any = venue.place  # as who checks no types calls it


@pytest.mark.parametrize(
    ("build", "field", "said"),
    [
        (lambda: place(1, 1, 1, 100.5, 1), "price", "an integer from -9223372036854775808"),
        (lambda: place(1, 1, 1, Decimal(1), 1), "price", "`units()`"),
        (lambda: place(1, 1, 1, 1 << 63, 1), "price", "9223372036854775807"),
        (lambda: place(-1, 1, 1, 1, 1), "account", "from 0 to 4294967295"),
        (lambda: place(1, 1, 1000, 1, 1), "side", "-128 to 127"),
        (lambda: place(1, 1, 1, 1, "5"), "size", "'5'"),
        (lambda: venue.cancel(1, 1, -5), "order_id", "18446744073709551615"),
        (lambda: place(1, 1, 1, 1, 1, client_order_id="no spaces"), "client_order_id", "1 to 20"),
        (lambda: place(1, 1, 1, 1, 1, client_order_id=b"short"), "client_order_id", "16 bytes"),
    ],
)
def test_what_a_field_cannot_hold_is_an_error_that_names_it(build: Callable[[], Any], field: str, said: str) -> None:
    with pytest.raises(CommandError) as caught:
        build()
    assert caught.value.facts["field"] == field
    assert said in str(caught.value)


def test_a_clients_id_comes_back_as_its_text() -> None:
    for text in ("a", "order-17_b", "01890a5d-ac96-774b-bcce-b302099a8057"):
        record = np.atleast_1d(venue.place(1, 1, 1, 1, 1, client_order_id=text)).view(LAYOUTS[CommandKind.PLACE])
        assert venue.client_order_text(record["client_order_id"][0]) == text
        assert venue.client_order_id(bytes(record["client_order_id"][0])) == venue.client_order_id(text)
    assert venue.client_order_text(bytes(16)) is None
    assert venue.client_order_id(None) == bytes(16)


def test_units_are_exact_or_an_error() -> None:
    examples: list[tuple[Any, int, int]] = [
        ("61837.63", 2, 6_183_763),
        (61837.63, 2, 6_183_763),
        (Decimal("0.5"), 8, 50_000_000),
        (Decimal("1E+3"), 2, 100_000),
        (0.1, 1, 1),
        (1e-7, 8, 10),
        (3, 2, 300),
        (np.int64(-3), 0, -3),
    ]
    for value, exponent, expected in examples:
        assert units(value, exponent) == expected
    wrong: tuple[Any, ...] = ("0.123", 0.123, Decimal("0.001"), "x", float("nan"), Decimal("Infinity"), 10.0**30)
    for value in wrong:
        with pytest.raises(DecimalError):
            units(value, 2)
    assert venue.decimal(6_183_763, 2) == Decimal("61837.63")
    assert venue.decimal(-5, 8) == Decimal("-0.00000005")
