"""Requests about orders that are under way themselves: handed over, and not judged yet.

Method of all: a real engine, and a way to it that keeps what it is given until it is let go.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.gateway.serving import BTC, Served, served
from tests.gateway.slow_way import SlowWay, settled
from tidebook.errors import OrderEntryError, UnconfirmedError, UsageError
from tidebook.gateway import requests
from tidebook.gateway.desk import DeskOptions, Done, Ended, NotThere, OrderDesk, Refused, TooManyWaitError, client_id_of
from tidebook.gateway.destination import LocalDestination
from tidebook.gateway.following import Judged
from tidebook.gateway.names import VENUE


@contextlib.asynccontextmanager
async def slow(place: Path, options: DeskOptions | None = None) -> AsyncIterator[tuple[Served, OrderDesk, SlowWay]]:
    """A venue with accounts and an instrument, and a desk with a slow way to it."""
    async with served(place) as at:
        await at.begin()
        with contextlib.closing(LocalDestination(place / "rings", at.venue.follower)) as local:
            way = SlowWay(local)
            yield at, OrderDesk(at.venue.names, at.venue.follower, {VENUE: way}, options or DeskOptions()), way


def order(client_order_id: str = "a", **more: str) -> requests.Place:
    """Rests."""
    asked = {"instrument": "BTC-USD.LOCAL", "side": "buy", "size": "1", "price": "100"} | more
    return requests.Place.model_validate(asked | {"client_order_id": client_order_id})


async def test_an_order_is_cancelled_by_the_clients_id_before_anybody_knows_of_it(tmp_path: Path) -> None:
    """Whoever sends a place and a cancel right behind it wants no order."""
    async with slow(tmp_path) as (at, desk, way):
        placing = asyncio.create_task(desk.place("alice", order()))
        await way.holds(1)
        cancelling = asyncio.create_task(desk.cancel("alice", client_id_of("a")))
        await way.holds(2)
        await way.go()
        placed, cancelled = await placing, await cancelling
        assert isinstance(placed, Done)
        assert isinstance(cancelled, Done)
        assert placed.order is not None
        assert cancelled.order is not None
        # Each as its command left it.
        assert placed.order.order_id == cancelled.order.order_id
        assert (placed.order.state, cancelled.order.state, cancelled.repeated) == ("open", "cancelled", False)
        assert await at.get("accounts/alice/orders") == []
        again = await desk.cancel("alice", client_id_of("a"))
        assert isinstance(again, Done)
        assert again.repeated


async def test_an_order_is_cancelled_by_the_clients_id_also_after_its_place_was_not_confirmed(tmp_path: Path) -> None:
    async with slow(tmp_path, DeskOptions(answer_timeout_s=0.05)) as (at, desk, way):
        with pytest.raises(UnconfirmedError):
            await desk.place("alice", order())
        with pytest.raises(UnconfirmedError):
            await desk.cancel("alice", client_id_of("a"))
        await way.go()
        assert await at.get("accounts/alice/orders") == []
        assert (await at.get("accounts/alice/client-orders/a"))["reason"] == "requested"


async def test_a_cancel_behind_a_place_that_is_refused_is_refused_and_of_another_account_finds_nothing(
    tmp_path: Path,
) -> None:
    async with slow(tmp_path) as (_, desk, way):
        placing = asyncio.create_task(desk.place("alice", order(price="99999999")))
        await way.holds(1)
        assert await desk.cancel("bob", client_id_of("a")) == NotThere()
        assert await desk.cancel("alice", client_id_of("b")) == NotThere()
        cancelling = asyncio.create_task(desk.cancel("alice", client_id_of("a")))
        await way.holds(2)
        await way.go()
        placed, cancelled = await placing, await cancelling
        assert isinstance(placed, Refused)
        assert isinstance(cancelled, Refused)
        assert (placed.reason, cancelled.reason) == ("balance", "unknown_order")
        # It is judged: nothing is under way with this id now.
        assert await desk.cancel("alice", client_id_of("a")) == NotThere()


async def test_a_cancel_of_an_id_under_way_in_two_instruments_is_handed_over_for_both_before_any_answer(
    tmp_path: Path,
) -> None:
    async with slow(tmp_path) as (at, desk, way):
        await at.ask("POST", "operator/instruments", BTC | {"instrument": "ETH-USD.LOCAL", "base": "ETH"})
        await at.ask("POST", "operator/instruments/ETH-USD.LOCAL/session", {"session": "continuous"})
        # Risk refuses the first, so the second is the one that gets the id.
        asked = [order(price="99999999"), order(instrument="ETH-USD.LOCAL")]
        placing = [asyncio.create_task(desk.place("alice", each)) for each in asked]
        await way.holds(2)
        cancelling = asyncio.create_task(desk.cancel("alice", client_id_of("a")))
        await way.holds(4)
        await way.go()
        refused, placed, cancelled = await asyncio.gather(*placing, cancelling)
        assert isinstance(refused, Refused)
        assert isinstance(placed, Done)
        assert isinstance(cancelled, Done)
        assert placed.order is not None
        assert cancelled.order is not None
        assert placed.order.order_id == cancelled.order.order_id
        assert await at.get("accounts/alice/orders") == []


async def test_a_cancel_that_finds_room_for_a_part_of_it_says_which(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with slow(tmp_path) as (at, desk, way):
        await at.ask("POST", "operator/instruments", BTC | {"instrument": "ETH-USD.LOCAL", "base": "ETH"})
        placing = [
            asyncio.create_task(desk.place("alice", order(instrument=name)))
            for name in ("BTC-USD.LOCAL", "ETH-USD.LOCAL")
        ]
        await way.holds(2)
        send = way.send

        def send_third(command: bytes) -> asyncio.Future[Judged]:
            if len(way.kept) < 3:
                return send(command)
            raise OrderEntryError("orders.in is full")

        monkeypatch.setattr(way, "send", send_third)
        with pytest.raises(OrderEntryError, match=r"handed over for BTC-USD\.LOCAL and not for ETH-USD\.LOCAL"):
            await desk.cancel("alice", client_id_of("a"))
        with pytest.raises(OrderEntryError, match=r"^orders\.in is full$"):
            await desk.cancel("alice", client_id_of("a"))
        await way.go()
        await asyncio.gather(*placing)
        assert await at.get("accounts/alice/orders") == []


async def test_replaces_of_an_order_at_once_keep_what_each_leaves_out(tmp_path: Path) -> None:
    """The price from one and the size from the other; in the order in which they came, where both have one."""
    async with slow(tmp_path) as (at, desk, way):
        order_id = (await at.place("alice", "buy", "1", "100", client_order_id="a"))["order"]["order_id"]
        changes = [{"price": "101"}, {"size": "0.5"}, {"price": "102"}]
        replacing = [
            asyncio.create_task(desk.replace("alice", named, requests.Replace.model_validate(change)))
            for named, change in zip((order_id, client_id_of("a"), order_id), changes, strict=True)
        ]
        for _ in changes:
            await way.holds(1)
            await settled()
            assert len(way.kept) == 1, "the next one waits until this is judged"
            await way.go(1)
        for outcome in await asyncio.gather(*replacing):
            assert isinstance(outcome, Done)
        found = await at.get(f"accounts/alice/orders/{order_id}")
        assert (found["price"], found["size"]) == ("102.00", "0.50000")


async def test_a_size_that_is_left_out_is_what_the_order_has_when_the_replace_is_carried_out(tmp_path: Path) -> None:
    """Method: meanwhile another program makes the order smaller."""
    async with slow(tmp_path) as (at, desk, way):
        order_id = (await at.place("alice", "buy", "1", "100"))["order"]["order_id"]
        moving = asyncio.create_task(desk.replace("alice", order_id, requests.Replace(price="101")))
        await way.holds(1)
        await at.ask("PATCH", f"accounts/alice/orders/{order_id}", {"size": "0.4"})
        await way.go()
        assert isinstance(await moving, Done)
        found = await at.get(f"accounts/alice/orders/{order_id}")
        assert (found["price"], found["size"]) == ("101.00", "0.40000")


async def test_a_replace_by_the_clients_id_waits_for_the_place_and_one_of_an_order_that_ended_is_told(
    tmp_path: Path,
) -> None:
    async with slow(tmp_path) as (at, desk, way):
        placing = asyncio.create_task(desk.place("alice", order()))
        await way.holds(1)
        change = requests.Replace(price="99", client_order_id="b")
        replacing = asyncio.create_task(desk.replace("alice", client_id_of("a"), change))
        await way.go(1)
        assert isinstance(await placing, Done)
        await way.holds(1)
        # By the id that the replace gives it.
        cancelling = asyncio.create_task(desk.cancel("alice", client_id_of("b")))
        await way.holds(2)
        await way.go()
        assert isinstance(await replacing, Done)
        assert isinstance(await cancelling, Done)
        assert isinstance(await desk.replace("alice", client_id_of("b"), requests.Replace(size="2")), Ended)
        assert (await at.get("accounts/alice/orders?state=ended"))[0]["price"] == "99.00"


async def test_a_replace_that_waits_too_long_for_its_turn_sends_nothing(tmp_path: Path) -> None:
    async with slow(tmp_path, DeskOptions(answer_timeout_s=0.05)) as (at, desk, way):
        order_id = (await at.place("alice", "buy", "1", "100"))["order"]["order_id"]
        with pytest.raises(UnconfirmedError):
            await desk.replace("alice", order_id, requests.Replace(price="101"))
        with pytest.raises(OrderEntryError, match="nothing was sent"):
            await desk.replace("alice", order_id, requests.Replace(size="0.5"))
        await way.go()
        desk.options = DeskOptions()  # a busy machine takes its time
        outcome = await desk.replace("alice", order_id, requests.Replace(size="0.5"))
        assert isinstance(outcome, Done)
        found = await at.get(f"accounts/alice/orders/{order_id}")
        assert (found["price"], found["size"]) == ("101.00", "0.50000")


async def test_changes_of_terms_at_once_keep_what_each_leaves_out(tmp_path: Path) -> None:
    """Those of one instrument, and of one account, one after the other; others do not wait for them."""
    async with slow(tmp_path) as (at, desk, way):
        listing = [
            asyncio.create_task(desk.list_instrument(change))
            for change in (
                requests.ListInstrument(instrument="BTC-USD.LOCAL", taker_ppm=300),
                requests.ListInstrument(instrument="btc-usd.local", band_ppm=50_000),
            )
        ]
        opening = [
            asyncio.create_task(desk.open_account(change))
            for change in (
                requests.OpenAccount(account="alice", group=3),
                requests.OpenAccount(account="alice", maker_ppm=10, taker_ppm=20),
            )
        ]
        await way.holds(2)
        await settled()
        assert len(way.kept) == 2, "one of the instrument, one of the account"
        await way.go(2)
        await way.holds(2)
        await way.go()
        for outcome in await asyncio.gather(*listing, *opening):
            assert isinstance(outcome, Done)
        (listed,) = await at.get("venue/instruments")
        assert (listed["maker_ppm"], listed["taker_ppm"], listed["band_ppm"]) == (100, 300, 50_000)
        alice = (await at.get("venue/accounts"))[0]
        assert (alice["group"], alice["maker_ppm"], alice["taker_ppm"]) == (3, 10, 20)


async def test_a_change_of_terms_behind_one_that_is_not_confirmed_sends_nothing(tmp_path: Path) -> None:
    async with slow(tmp_path, DeskOptions(answer_timeout_s=0.05)) as (at, desk, way):
        with pytest.raises(UnconfirmedError):
            await desk.open_account(requests.OpenAccount(account="alice", group=3))
        with pytest.raises(OrderEntryError, match=r"about the same account is not judged yet; nothing was sent"):
            await desk.open_account(requests.OpenAccount(account="alice", maker_ppm=10, taker_ppm=20))
        await way.go()
        desk.options = DeskOptions()  # a busy machine takes its time
        changed = await desk.open_account(requests.OpenAccount(account="alice", maker_ppm=10, taker_ppm=20))
        assert isinstance(changed, Done)
        # What cannot be asked for holds nobody up.
        with pytest.raises(UsageError):
            await desk.open_account(requests.OpenAccount(account="alice", margin=True))
        assert isinstance(await desk.open_account(requests.OpenAccount(account="alice", taker_ppm=30)), Done)
        alice = (await at.get("venue/accounts"))[0]
        assert (alice["group"], alice["maker_ppm"], alice["taker_ppm"]) == (3, 10, 30)


async def test_places_are_bounded_by_all_that_wait_cancels_and_given_up_ones_included(tmp_path: Path) -> None:
    options = DeskOptions(waiting_max=3, waiting_of_account_max=2, answer_timeout_s=0.05)
    async with slow(tmp_path, options) as (at, desk, way):
        placing = [asyncio.create_task(desk.place("alice", order(name))) for name in "ab"]
        await way.holds(2)
        with pytest.raises(TooManyWaitError):
            await desk.place("alice", order("c"))
        cancelling = asyncio.create_task(desk.mass_cancel("alice"))
        await way.holds(3)
        with pytest.raises(OrderEntryError, match="3 commands wait"):
            await desk.place("bob", order("d"))
        for outcome in await asyncio.gather(*placing, cancelling, return_exceptions=True):
            assert isinstance(outcome, UnconfirmedError)
        # Nobody waits for them now; the venue has them still.
        with pytest.raises(OrderEntryError, match="3 commands wait"):
            await desk.place("bob", order("d"))
        # Whoever wants to get out is not held up.
        with pytest.raises(UnconfirmedError):
            await desk.mass_cancel("bob")
        await way.go()
        desk.options = DeskOptions()
        assert isinstance(await desk.place("alice", order("c")), Done)
        assert [each["client_order_id"] for each in await at.get("accounts/alice/orders")] == ["c"]
