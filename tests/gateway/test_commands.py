"""Requests become commands exactly, or an error that names the field."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from tidebook.errors import UsageError
from tidebook.gateway import commands, requests
from tidebook.gateway.layouts import ACCOUNT, INSTRUMENT, AccountDefinition, Definition
from tidebook.gateway.names import Names
from tidebook.venue import LAYOUTS, CommandKind, OrderType, Peg, SelfTrade, Side, TimeInForce

AT = 1_790_000_000_000_000
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
    pegged = place(
        type="pegged", size="1", offset="0.05", peg="mid", expire_ts=AT, time_in_force="gtd", post_only=False
    )
    found = read(CommandKind.PLACE, commands.place_body(pegged, BTC))
    assert (found["offset"], found["peg"], found["expire_ts"]) == (5, Peg.MID, AT * 1_000)
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
    found = read(CommandKind.INSTRUMENT, commands.instrument_body(request, names, "BTC", "USD", None), 0)
    expected = {"tick": 1, "lot": 1, "price_exp": 2, "size_exp": 5, "size_min": 1, "size_max": 10**12, "base_asset": 1}
    assert expected.items() <= found.items()
    request = requests.ListInstrument.model_validate(asked | {"tick": "0.5", "price_exp": 3, "size_max": "100"})
    found = read(CommandKind.INSTRUMENT, commands.instrument_body(request, names, "BTC", "USD", None), 0)
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


LIMIT: dict[str, Any] = {"size": "1", "price": "100"}


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"price": "1"}, "size: it is missing"),
        ({"type": "market"}, "size: it is missing, or amount"),
        ({"type": "market", "size": "1", "amount": "5"}, "size, amount: give one of them"),
        ({"price": "1", "amount": "5"}, "amount: only of market, and this is limit"),
        ({"size": "1"}, "price: limit needs it"),
        (
            LIMIT | {"trigger_price": "5"},
            "trigger_price: only of stop or stop_limit or trailing_stop, and this is limit",
        ),
        ({"type": "stop", "size": "1"}, "trigger_price: stop needs it"),
        ({"type": "trailing_stop", "size": "1"}, "offset: trailing_stop needs it"),
        ({"type": "pegged", "size": "1"}, "peg: pegged needs it"),
        ({"type": "market", "size": "1", "display_size": "0.5"}, "display_size: only of limit, and this is market"),
        (LIMIT | {"expire_ts": AT}, 'expire_ts: only with "time_in_force": "gtd"'),
        (LIMIT | {"time_in_force": "gtd"}, "expire_ts: gtd needs it, in microseconds"),
        (LIMIT | {"time_in_force": "gtd", "expire_ts": AT // 1_000}, "expire_ts: 1790000000000 is in 1970 to 1973"),
    ],
)
def test_fields_that_do_not_go_together_are_named(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError) as caught:
        place(**fields)
    assert said in str(caught.value)


def terms(known: AccountDefinition | None, **fields: Any) -> AccountDefinition:
    body = commands.account_body(requests.OpenAccount(account="mm", **fields), known)
    return AccountDefinition(*ACCOUNT.unpack(body))


def test_what_is_left_out_of_an_accounts_terms_stays() -> None:
    """What each change names is changed, and nothing else."""
    with pytest.raises(UsageError, match="needs initial_margin_ppm and maintenance_margin_ppm above 0"):
        terms(None, margin=True)
    with pytest.raises(UsageError, match="only with margin"):
        terms(None, initial_margin_ppm=100_000)
    at_first = terms(None, margin=True, initial_margin_ppm=100_000, maintenance_margin_ppm=50_000)
    assert terms(at_first, group=3) == replace(at_first, group=3)
    assert terms(at_first, margin=True) == at_first
    assert terms(at_first, maintenance_margin_ppm=60_000).maintenance_margin_ppm == 60_000
    cash = terms(at_first, margin=False)
    assert (cash.flags, cash.initial_margin_ppm, cash.maintenance_margin_ppm) == (0, 0, 0)
    with pytest.raises(UsageError, match="both rates of its own or none"):
        terms(at_first, maker_ppm=10)
    own = terms(at_first, maker_ppm=10, taker_ppm=20)
    assert terms(own, taker_ppm=30) == replace(own, taker_ppm=30)
    assert terms(own, group=2) == replace(own, group=2)
    assert terms(own, own_fees=False) == at_first


def test_what_is_left_out_of_an_instruments_terms_stays(tmp_path: Path) -> None:
    names = Names(tmp_path / "names.json")
    names.name_instrument("BTC-USD.LOCAL", "BTC", "USD")

    def changed(known: Definition, **fields: Any) -> Definition:
        request = requests.ListInstrument(instrument="BTC-USD.LOCAL", **fields)
        return Definition(*INSTRUMENT.unpack(commands.instrument_body(request, names, "BTC", "USD", known)))

    now = replace(BTC, band_ppm=500_000, maker_ppm=100, band_action=1, size_min=5)
    assert changed(now, taker_ppm=300) == replace(now, taker_ppm=300)
    # Fewer decimals in a step are no fewer decimals of prices.
    assert changed(now, tick="0.5") == replace(now, tick=50)
    assert changed(now, band_ppm=0, band_action="reject") == replace(now, band_ppm=0, band_action=0)
