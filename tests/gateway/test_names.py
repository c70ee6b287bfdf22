"""Names of the venue: kept before they are used, never given twice, refused where they are none."""

import json
from pathlib import Path

import pytest

from tidebook.errors import UnknownAccountError, UnknownInstrumentError, UsageError, VenueNamesError
from tidebook.gateway.names import Names, Numbers


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "venue" / "names.json"


def test_a_name_and_its_number_are_there_again_after_a_restart(path: Path) -> None:
    names = Names(path)
    btc = names.name_instrument("btc-usd.local", "btc", "usd")
    eth = names.name_instrument("ETH-USD.LOCAL", "ETH", "USD")
    alice, bob = names.name_account("alice"), names.name_account("bob", "memory")
    assert (btc.number, eth.number, alice.number, bob.number) == (1, 2, 1, 2)
    again = Names(path)
    assert again.instrument_number("Btc-Usd.Local") == 1
    assert (again.instrument(2), again.asset(3), again.account(2)) == ("ETH-USD.LOCAL", "ETH", "bob")
    assert (again.wait_of(1), again.wait_of(2)) == ("durable", "memory")
    assert again.name_instrument("SOL-USD.LOCAL", "SOL", "USD").number == 3
    assert again.name_account("bob").wait == "memory"
    assert again.name_account("bob", "durable").number == 2
    assert Names(path).wait_of(2) == "durable"


def test_what_has_no_name_is_called_by_its_number(path: Path) -> None:
    names = Names(path)
    assert (names.instrument(7), names.account(7), names.asset(7)) == ("7.LOCAL", "7", "7")
    assert (names.instrument_number("7.LOCAL"), names.account_number("7"), names.wait_of(7)) == (7, 7, "durable")


@pytest.mark.parametrize(
    "name", ["", ".LOCAL", "BTC-USD", "BTC-USD.BINANCE", "12.LOCAL", "A B.LOCAL", "Ä.LOCAL", "A" * 33 + ".LOCAL"]
)
def test_what_is_no_name_of_an_instrument_is_refused_and_changes_nothing(path: Path, name: str) -> None:
    with pytest.raises(UsageError):
        Names(path).name_instrument(name, "BTC", "USD")
    assert not path.exists()


def test_an_instrument_keeps_its_assets(path: Path) -> None:
    names = Names(path)
    names.name_instrument("BTC-USD.LOCAL", "BTC", "USD")
    with pytest.raises(UsageError, match="BTC in USD, and not BTC in EUR"):
        names.name_instrument("BTC-USD.LOCAL", "BTC", "EUR")
    assert names.asset_number("usd") == 2
    with pytest.raises(UsageError, match="no asset 'EUR'; those of listed instruments: BTC, USD"):
        names.asset_number("EUR")


@pytest.mark.parametrize("name", ["", "17", "a b", "a/b", "é", "a" * 33])
def test_what_is_no_name_of_an_account_is_refused(path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="no name of an account"):
        Names(path).name_account(name)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("alise", r"did you mean alice\?"),
        *((name, "none is called nearly so; `tidebook venue accounts`") for name in ("nobody", "0", "4294967296", "٣")),
    ],
)
def test_an_unknown_name_leads_to_near_ones_and_to_the_list_where_none_is_near(
    path: Path, name: str, hint: str
) -> None:
    names = Names(path)
    with pytest.raises(UnknownAccountError, match="none is open yet"):
        names.account_number(name)
    names.name_account("alice")
    names.name_instrument("BTC-USD.LOCAL", "BTC", "USD")
    with pytest.raises(UnknownAccountError, match=hint):
        names.account_number(name)
    with pytest.raises(UnknownInstrumentError, match=r"did you mean BTC-USD\.LOCAL"):
        names.instrument_number("BTC-USDT.LOCAL")


def test_a_file_that_is_gone_is_no_new_one_where_the_venue_has_accounts(path: Path) -> None:
    """From the first start on there is one: where it is not, the venue is new or it is lost."""
    Names(path).require(Numbers())
    kept = path.read_bytes()
    Names(path).name_account("alice")
    path.unlink()
    with pytest.raises(VenueNamesError, match=r"1 accounts and 0 instruments.*put it back from a backup"):
        Names(path).require(Numbers(accounts={1}))
    assert not path.exists()
    # What the error says may be written there.
    path.write_text('{"format": "tidebook-venue-names", "version": 1}')
    names = Names(path)
    names.require(Numbers(accounts={1}))
    assert names.account(1) == "1"
    assert b"accounts" in kept


def test_a_damaged_file_and_one_of_a_later_version_are_refused_by_name(path: Path) -> None:
    Names(path).name_account("alice")
    whole = path.read_bytes()
    path.write_bytes(whole[:-5])
    with pytest.raises(VenueNamesError, match=r"names\.json is damaged"):
        Names(path)
    path.write_bytes(json.dumps(json.loads(whole) | {"version": 2}).encode())
    with pytest.raises(VenueNamesError, match="version 2; this release reads tidebook-venue-names version 1"):
        Names(path)


def test_a_name_that_cannot_be_kept_is_not_given(path: Path) -> None:
    names = Names(path)
    names.name_account("alice")
    path.unlink()
    path.mkdir()
    with pytest.raises(Exception, match=r"names\.json"):
        names.name_account("bob")
    path.rmdir()
    with pytest.raises(UnknownAccountError):
        names.account_number("bob")


def test_a_new_name_gets_no_number_that_the_venue_has_under_another_name_or_none(path: Path) -> None:
    """As when the file is gone, or programs bring numbers of their own: the money of an account belongs to who had it."""
    names = Names(path, lambda: Numbers(assets={1, 2}, instruments={1}, accounts={1, 2, 4}))
    assert [names.name_account(name).number for name in ("mallory", "carol", "dave")] == [3, 5, 6]
    assert names.name_instrument("BTC-USD.LOCAL", "BTC", "USD").number == 2
    assert (names.asset_number("BTC"), names.asset_number("USD")) == (3, 4)
