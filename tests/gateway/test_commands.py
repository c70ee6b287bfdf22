"""Requests become commands exactly, or an error that names the field."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from tidebook.errors import UsageError
from tidebook.gateway import commands, requests
from tidebook.gateway.layouts import Definition
from tidebook.gateway.names import Names
from tidebook.venue import LAYOUTS, CommandKind, OrderType, Peg, SelfTrade, Side, TimeInForce

BTC = Definition(
    tick=1,
    lot=1,
    size_min=1,
    size_max=10**12,
    reference_price=0,
    band_ppm=0,
    maker_ppm=0,
    taker_ppm=0,
    base_asset=1,
    quote_asset=2,
    price_exp=2,
    size_exp=5,
    band_action=0,
)


def read(kind: CommandKind, body: bytes, account: int = 7, instrument_id: int = 3) -> dict[str, Any]:
    """The fields of a command, by the published layout."""
    record = np.frombuffer(commands.command(kind, account, instrument_id, body), LAYOUTS[kind])[0]
    return {name: record[name].tolist() for name in record.dtype.names or ()}


def place(**fields: Any) -> requests.Place:
    return requests.Place.model_validate({"instrument": "BTC-USD.LOCAL", "side": "buy"} | fields)


def test_an_order_has_its_units_words_and_defaults() -> None:
    found = read(CommandKind.PLACE, commands.place_body(place(size="0.5", price="61837.6"), BTC))
    expected = {
        "account": 7,
        "instrument_id": 3,
        "price": 6_183_760,
        "size": 50_000,
        "side": Side.BUY,
        "order_type": OrderType.LIMIT,
        "time_in_force": TimeInForce.GTC,
        "self_trade": SelfTrade.CANCEL_NEWEST,
        "flags": 0,
        "verdict": 0,
        "source_sequence": 0,
    }
    assert expected.items() <= found.items()
    pegged = place(type="pegged", size="1", offset="0.05", peg="mid", expire_ts=5, time_in_force="gtd", post_only=False)
    found = read(CommandKind.PLACE, commands.place_body(pegged, BTC))
    assert (found["offset"], found["peg"], found["expire_ts"]) == (5, Peg.MID, 5_000)
    market = read(CommandKind.PLACE, commands.place_body(place(type="market", amount="100"), BTC))
    assert (market["time_in_force"], market["amount"], market["size"]) == (TimeInForce.IOC, 10_000, 0)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"size": "0.5", "price": "61837.625"}, 'price: "61837.625": 3 decimals where the instrument has 2'),
        ({"size": "0.0000001", "price": "1"}, "size: "),
        ({"size": "90071992547.40993", "price": "1"}, "size: 90071992547.40993 is beyond what a command holds"),
        ({"size": "9" * 39, "price": "1"}, "size: "),
        ({"size": "1", "price": "1", "client_order_id": "a b"}, "a UUID"),
    ],
)
def test_what_is_not_exact_or_too_large_is_an_error_with_its_field(fields: dict[str, str], said: str) -> None:
    with pytest.raises(UsageError) as caught:
        commands.place_body(place(**fields), BTC)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    "fields",
    [
        {"size": 0.5},
        {"size": "1e5"},
        {"size": " 1"},
        {"size": "١"},
        {"size": ""},
        {"size": "1", "prise": "1"},
        {"size": "1", "type": "LIMIT"},
        {"size": "1", "post_only": "yes"},
        {"size": "1", "expire_ts": -1},
    ],
)
def test_a_number_that_was_a_double_a_misspelt_field_and_a_strange_word_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        place(**fields)


def test_an_instrument_takes_its_decimals_from_its_steps(tmp_path: Path) -> None:
    names = Names(tmp_path / "names.json")
    names.name_instrument("BTC-USD.LOCAL", "BTC", "USD")
    asked = {"instrument": "BTC-USD.LOCAL", "base": "BTC", "quote": "USD", "tick": "0.01", "lot": "0.00001"}
    request = requests.ListInstrument.model_validate(asked)
    found = read(CommandKind.INSTRUMENT, commands.instrument_body(request, names, "BTC", "USD"), 0)
    expected = {"tick": 1, "lot": 1, "price_exp": 2, "size_exp": 5, "size_min": 1, "size_max": 10**12, "base_asset": 1}
    assert expected.items() <= found.items()
    request = requests.ListInstrument.model_validate(asked | {"tick": "0.5", "price_exp": 3, "size_max": "100"})
    found = read(CommandKind.INSTRUMENT, commands.instrument_body(request, names, "BTC", "USD"), 0)
    assert (found["tick"], found["price_exp"], found["size_max"]) == (500, 3, 10_000_000)


def test_a_transfer_keeps_all_its_decimals(tmp_path: Path) -> None:
    names = Names(tmp_path / "names.json")
    names.name_instrument("BTC-USD.LOCAL", "BTC", "USD")
    request = requests.Transfer(asset="usd", amount="-1000.125")
    found = read(CommandKind.TRANSFER, commands.transfer_body(request, names))
    assert (found["amount"], found["amount_exp"], found["asset"]) == (-1_000_125, 3, 2)
    with pytest.raises(UsageError, match="19 decimals where 18 can be"):
        commands.transfer_body(requests.Transfer(asset="USD", amount="0." + "1" * 19), names)


def test_limits_of_the_account_as_a_whole_have_none_of_an_instrument() -> None:
    request = requests.SetLimits(exposure_max="1000.5", open_orders_max=5)
    found = read(CommandKind.LIMITS, commands.limits_body(request, None))
    assert (found["exposure_max"], found["exposure_exp"], found["open_orders_max"]) == (10_005, 1, 5)
    with pytest.raises(UsageError, match="position_max: only of an instrument"):
        commands.limits_body(requests.SetLimits(position_max="1"), None)
    found = read(CommandKind.LIMITS, commands.limits_body(requests.SetLimits(position_max="1", exposure_max="7"), BTC))
    assert (found["position_max"], found["exposure_max"], found["exposure_exp"]) == (100_000, 700, 0)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({}, "killed\n  Field required"),
        ({"account": "alice"}, "killed\n  Field required"),
        ({"killed": True}, "say whose trading"),
        ({"killed": True, "account": None}, "say whose trading"),
        ({"killed": True, "account": "alice", "all": True}, "say whose trading"),
    ],
)
def test_a_kill_that_leaves_out_what_it_means_is_none(body: dict[str, Any], said: str) -> None:
    """The largest of all acts is not what a forgotten field does."""
    with pytest.raises(ValidationError) as caught:
        requests.Kill.model_validate(body)
    assert said in str(caught.value)
    assert requests.Kill.model_validate({"killed": False, "all": True}).account is None
