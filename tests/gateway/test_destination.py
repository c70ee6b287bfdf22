"""The interface that all venues are reached by: the gateway hands every command to a destination, and to nothing else."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import pytest

from tests.gateway.serving import Served, served
from tidebook.errors import OrderEntryError
from tidebook.gateway import requests
from tidebook.gateway.desk import DeskOptions, Done, OrderDesk
from tidebook.gateway.destination import LocalDestination
from tidebook.gateway.following import Judged
from tidebook.gateway.layouts import HEAD
from tidebook.gateway.lives import Execution
from tidebook.gateway.names import VENUE
from tidebook.venue.codes import CommandKind

ENGINES_OWN = {CommandKind.TIMER}
ORDER = {"instrument": "BTC-USD.LOCAL", "side": "buy", "size": "1", "price": "100"}


class Watched:
    """Another implementation of the interface: notes what it is given and passes it on."""

    def __init__(self, venue: LocalDestination) -> None:
        self.venue = venue
        self.kinds: list[int] = []
        self.failure: str | None = None
        self.still: str | None = None

    @property
    def waiting(self) -> int:
        return self.venue.waiting

    def send(self, command: bytes) -> asyncio.Future[Judged]:
        if self.failure is not None:
            raise OrderEntryError(self.failure)
        self.kinds.append(HEAD.unpack_from(command)[5])
        return self.venue.send(command)

    def listen(self, listener: Callable[[Sequence[Execution]], None]) -> None:
        self.venue.listen(listener)


@contextlib.asynccontextmanager
async def watched(place: Path) -> AsyncIterator[tuple[Served, OrderDesk, Watched]]:
    async with served(place) as at:
        await at.begin()
        with contextlib.closing(LocalDestination(place / "rings", at.venue.follower)) as local:
            way = Watched(local)
            yield at, OrderDesk(at.venue.names, at.venue.follower, {VENUE: way}, DeskOptions()), way


async def test_every_command_of_clients_and_operators_goes_through_the_destination_and_its_executions_come_back(
    tmp_path: Path,
) -> None:
    """Method: one request of each kind; the list of kinds is closed."""
    async with watched(tmp_path) as (_, desk, way):
        told: list[Execution] = []
        desk.listen(told.extend)
        placed = await desk.place("alice", requests.Place.model_validate(ORDER), "durable")
        assert isinstance(placed, Done)
        assert placed.order is not None
        order_id = placed.order.order_id
        pair = {"instrument": "BTC-USD.LOCAL", "side": "sell", "size": "1", "price": "200", "trigger_price": "50"}
        changed = {"instrument": "BTC-USD.LOCAL", "base": "BTC", "quote": "USD", "tick": "0.01", "lot": "0.00001"}
        done = [
            await desk.place_pair("bob", requests.PlacePair.model_validate(pair)),
            await desk.replace("alice", order_id, requests.Replace(size="0.5")),
            await desk.cancel("alice", order_id, "durable"),
            await desk.mass_cancel("bob"),
            await desk.cancel_all_after("bob", 60_000),
            await desk.disconnected(desk.names.account_number("bob")),
            await desk.list_instrument(requests.ListInstrument.model_validate(changed)),
            await desk.open_account(requests.OpenAccount(account="carol")),
            await desk.transfer("carol", requests.Transfer(asset="USD", amount="5")),
            await desk.set_limits("carol", requests.SetLimits(open_orders_max=5)),
            await desk.set_session("BTC-USD.LOCAL", "halted"),
            await desk.kill(requests.Kill(account="carol", killed=True)),
        ]
        assert all(isinstance(each, Done) for each in done), done
        assert set(way.kinds) == set(CommandKind) - ENGINES_OWN
        assert len(way.kinds) == len(done) + 1
        assert [each.size for each in told if each.order_id == order_id][:1] == [placed.order.size]


async def test_a_destination_that_is_not_connected_is_sent_nothing_and_the_answer_says_so(tmp_path: Path) -> None:
    async with watched(tmp_path) as (_, desk, way):
        way.failure = "the line to the exchange is down"
        for asking in (
            desk.place("alice", requests.Place.model_validate(ORDER)),
            desk.mass_cancel("alice"),
            desk.disconnected(desk.names.account_number("alice")),
        ):
            with pytest.raises(OrderEntryError, match="line to the exchange is down"):
                await asking
        assert way.kinds == []


async def test_the_nodes_own_venue_is_connected_until_its_engine_has_stopped(tmp_path: Path) -> None:
    async with served(tmp_path) as at:
        local = at.venue.desk._destinations[VENUE]
        assert local.failure is None
        at.venue.engine.stop()
        assert local.failure is not None
