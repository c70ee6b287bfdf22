"""Order entry over WebSocket, of a real engine: answers, the private stream, and what happens when a session ends."""

import asyncio
import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus

from tests.gateway.serving import BTC, Served, served
from tests.gateway.slow_way import SlowWay
from tidebook.api import mailbox, order_websocket
from tidebook.api.hub import CLOSE_SLOW_CONSUMER
from tidebook.errors import OrderEntryError
from tidebook.gateway.desk import OrderDesk
from tidebook.gateway.destination import LocalDestination
from tidebook.gateway.following import Judged
from tidebook.gateway.names import VENUE


def session(at: Served, account: str, query: str = "") -> Any:
    return connect(f"ws://{at.address}/ws/v1/orders?account={account}{query}")


async def ask(socket: ClientConnection, method: str, ask_id: int = 1, **params: Any) -> list[Any]:
    """Sends a request; the events before its answer, then the answer."""
    await socket.send(json.dumps({"method": method, "params": params, "id": ask_id}))
    events: list[Any] = []
    while True:
        said = json.loads(await socket.recv())
        if said.get("id") == ask_id and "stream" not in said:
            return [*events, said]
        events += said["data"]


async def events(socket: ClientConnection, count: int) -> list[Any]:
    """The next `count` events."""
    found: list[Any] = []
    while len(found) < count:
        found += json.loads(await socket.recv())["data"]
    return found


async def until(socket: ClientConnection, kind: str) -> Any:
    """The next event of this kind."""
    while True:
        for event in await events(socket, 1):
            if event["kind"] == kind:
                return event


ORDER: dict[str, Any] = {"instrument": "BTC-USD.LOCAL", "side": "buy", "size": "1", "price": "100"}


async def test_a_session_is_answered_and_told_of_all_that_happens_to_its_account(tmp_path: Path) -> None:
    async with served(tmp_path) as at:
        await at.begin()
        async with session(at, "alice") as alice, session(at, "bob") as bob:
            *before, placed = await ask(alice, "PLACE", **ORDER, client_order_id="a-1")
            order = placed["result"]["order"]
            assert order["state"] == "open"
            (accepted,) = before or await events(alice, 1)
            expected = {"kind": "accepted", "order_id": order["order_id"], "client_order_id": "a-1", "size": "1.00000"}
            assert expected.items() <= accepted.items()
            # Asked for elsewhere, told here: each side in its own words.
            await at.place("bob", "sell", "0.25", "99")
            (fill,) = await events(alice, 1)
            assert (fill["kind"], fill["side"], fill["price"], fill["size"]) == ("fill", "buy", "100.00", "0.25000")
            assert (fill["liquidity"], fill["remaining"], fill["fee"]) == ("maker", "0.75000", "0.01")
            mine = await events(bob, 2)
            assert [event["kind"] for event in mine] == ["accepted", "fill"]
            assert (mine[1]["liquidity"], mine[1]["side"], mine[1]["sequence"]) == ("taker", "sell", fill["sequence"])
            *_, again = await ask(alice, "PLACE", 2, **ORDER, client_order_id="a-1")
            assert (again["result"]["repeated"], again["result"]["order"]["filled"]) == (True, "0.25000")
            change = {"client_order_id": "a-1", "change": {"size": "0.5"}}
            *_, replaced = await ask(alice, "REPLACE", 3, **change)
            assert replaced["result"]["order"]["remaining"] == "0.25000"
            *_, listed = await ask(alice, "OPEN_ORDERS", 4)
            assert [found["order_id"] for found in listed["result"]] == [order["order_id"]]
            *_, cancelled = await ask(alice, "CANCEL", 5, order_id=order["order_id"])
            assert cancelled["result"]["order"]["state"] == "cancelled"
            *_, many = await ask(alice, "MASS_CANCEL", 6)
            assert many["result"]["cancelled"] == 0


async def test_what_cannot_be_is_answered_with_the_problem_that_rest_would_send(tmp_path: Path) -> None:
    async with served(tmp_path) as at:
        await at.begin()
        async with session(at, "alice") as alice:
            cases: list[tuple[str, dict[str, Any], int, str]] = [
                ("PLACE", ORDER | {"size": "1000000"}, 422, "rejected_balance"),
                ("PLACE", ORDER | {"prise": "1"}, 422, "invalid_request"),
                ("PLACE", ORDER | {"size": "1.000001"}, 422, "invalid_request"),
                ("CANCEL", {}, 422, "invalid_request"),
                ("CANCEL", {"order_id": 998, "client_order_id": "a"}, 422, "invalid_request"),
                ("CANCEL", {"order_id": 998}, 404, "unknown_order"),
                ("SELL", {}, 404, "unknown_method"),
            ]
            for number, (method, params, status, code) in enumerate(cases, start=1):
                *_, answer = await ask(alice, method, number, **params)
                assert (answer["error"]["status"], answer["error"]["code"]) == (status, code)
            for text in ("{", '"PLACE"', '{"method": 1, "id": 99}', "[]"):
                await alice.send(text)
                said = json.loads(await alice.recv())
                assert said["error"]["code"] == "invalid_request"
            deep = '{"a":' * 3_000 + "1" + "}" * 3_000
            for frame in (deep, f'{{"id": 5, "x": {deep}}}', b'{"method": "OPEN_ORDERS", "id": "\xff"}', b"\xff\xff"):
                await alice.send(frame)
                said = json.loads(await alice.recv())
                assert (said["id"], said["error"]["status"]) == (None, 422)


async def test_orders_that_are_to_go_with_a_session_go_however_it_ends(tmp_path: Path) -> None:
    async with served(tmp_path) as at:
        await at.begin()
        kept = (await at.place("alice", "buy", "1", "90"))["order"]["order_id"]
        async with session(at, "alice") as watching:
            for is_clean in (True, False):
                socket = await session(at, "alice")
                *_, placed = await ask(socket, "PLACE", **ORDER, cancel_on_disconnect=True)
                order_id = placed["result"]["order"]["order_id"]
                if is_clean:
                    await socket.close()
                else:
                    socket.transport.abort()
                event = await until(watching, "cancelled")
                assert (event["order_id"], event["reason"]) == (order_id, "disconnected")
            # A session that never asked for it takes nothing along.
            async with session(at, "alice"):
                pass
        assert [order["order_id"] for order in await at.get("accounts/alice/orders")] == [kept]


async def test_a_session_opened_with_it_takes_along_what_others_placed_so(tmp_path: Path) -> None:
    async with served(tmp_path) as at:
        await at.begin()
        async with session(at, "alice") as watching:
            async with session(at, "alice", "&cancel_on_disconnect=true"):
                await at.place("alice", "buy", "1", "90", cancel_on_disconnect=True)
            assert (await until(watching, "cancelled"))["reason"] == "disconnected"


class FullAtFirst:
    """The way to the venue, with no room for the first commands."""

    def __init__(self, venue: LocalDestination, refused: int) -> None:
        self.venue, self.refused, self.waiting = venue, refused, 0
        self.failure, self.still, self.listen = None, None, venue.listen

    def send(self, command: bytes) -> asyncio.Future[Judged]:
        if self.refused:
            self.refused -= 1
            raise OrderEntryError("orders.in is full")
        return self.venue.send(command)


async def test_an_ended_session_takes_its_orders_along_also_when_there_is_no_room_at_first(tmp_path: Path) -> None:
    async with served(tmp_path) as at:
        await at.begin()
        await at.place("alice", "buy", "1", "90", cancel_on_disconnect=True)
        with contextlib.closing(LocalDestination(tmp_path / "rings", at.venue.follower)) as local:
            way = FullAtFirst(local, 3)
            desk = OrderDesk(at.venue.names, at.venue.follower, {VENUE: way}, at.venue.desk.options)
            await desk.disconnected(at.venue.names.account_number("alice"))
        assert way.refused == 0
        assert await at.get("accounts/alice/orders") == []


async def test_a_node_that_starts_has_no_sessions_and_their_orders_are_gone(tmp_path: Path) -> None:
    async with served(tmp_path) as at:
        await at.begin()
        gone = (await at.place("alice", "buy", "1", "90", cancel_on_disconnect=True))["order"]["order_id"]
        kept = (await at.place("alice", "buy", "1", "91"))["order"]["order_id"]
    async with served(tmp_path) as at:
        assert [order["order_id"] for order in await at.get("accounts/alice/orders")] == [kept]
        assert (await at.get(f"accounts/alice/orders/{gone}"))["reason"] == "disconnected"


UNCLEAR = [
    "account=alice&cancel_on_disconnect=True",
    "account=alice&cancel_on_disconnect=yes",
    "account=alice&cancel=true",
]


@pytest.mark.parametrize("query", ["account=carol", "account=", "", "account=alice&account=bob", *UNCLEAR])
async def test_a_session_of_nobody_or_one_that_may_not_mean_what_is_done_is_refused(tmp_path: Path, query: str) -> None:
    async with served(tmp_path) as at:
        await at.begin()
        if "bob" in query:
            async with connect(f"ws://{at.address}/ws/v1/orders?{query}") as socket:
                *_, placed = await ask(socket, "PLACE", **ORDER)
                assert placed["result"]["order"]["account"] == "alice"
            return
        with pytest.raises(InvalidStatus) as refused:
            await connect(f"ws://{at.address}/ws/v1/orders?{query}")
        answer = refused.value.response
        problem = json.loads(answer.body or b"")
        if query in UNCLEAR:
            assert (answer.status_code, problem["code"]) == (422, "invalid_request")
            assert "account and cancel_on_disconnect" in problem["detail"]
        else:
            assert (answer.status_code, problem["code"]) == (404, "unknown_account")
            assert problem["detail"].startswith("no account '")


async def test_a_session_with_much_under_way_is_still_read_and_every_command_that_wants_out_is_handed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Method: the venue's answers do not come, because the way to it keeps what it is given."""
    monkeypatch.setattr(order_websocket, "UNDER_WAY_MAX", 3)
    monkeypatch.setattr(order_websocket, "_WAITED_FOR_MAX", 5)
    async with served(tmp_path) as at:
        await at.begin()
        resting = (await at.place("alice", "buy", "1", "90"))["order"]["order_id"]
        way = SlowWay(at.venue.desk._destinations[VENUE])  # type: ignore[arg-type]
        monkeypatch.setattr(at.venue.desk, "_destinations", {VENUE: way})
        async with session(at, "alice", "&cancel_on_disconnect=true") as socket:
            for number in range(4):
                asked = {"method": "PLACE", "params": ORDER | {"cancel_on_disconnect": True}, "id": number}
                await socket.send(json.dumps(asked))
            refused = json.loads(await socket.recv())
            assert (refused["id"], refused["error"]["code"]) == (3, "too_many_waiting")
            out: list[tuple[str, dict[str, Any]]] = [("MASS_CANCEL", {}), ("CANCEL", {"order_id": resting})]
            out += [("MASS_CANCEL", {}), ("CANCEL", {"order_id": resting}), ("CANCEL_ALL_AFTER", {"timeout_ms": 0})]
            for number, (method, params) in enumerate(out, 4):
                await socket.send(json.dumps({"method": method, "params": params, "id": number}))
            for number in (6, 7, 8):
                told = json.loads(await socket.recv())
                assert (told["id"], told["error"]["code"], told["error"]["status"]) == (number, "unconfirmed", 504)
                assert "it was handed over" in told["error"]["detail"]
            await socket.send(json.dumps({"method": "OPEN_ORDERS", "id": 9}))
            told = json.loads(await socket.recv())
            assert (told["id"], [order["order_id"] for order in told["result"]]) == (9, [resting])
            assert len(way.kept) == 3 + len(out)
        # It is closed while all of them are under way, and seen at once: its disconnect is sent behind them.
        await way.holds(4 + len(out))
        assert at.sessions.count == 0
        await way.go()
        assert await at.get("accounts/alice/orders") == []


async def test_a_cancel_that_is_not_waited_for_is_handed_over_for_every_instrument_in_which_its_id_is_under_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(order_websocket, "_WAITED_FOR_MAX", 2)
    async with served(tmp_path) as at:
        await at.begin()
        await at.ask("POST", "operator/instruments", BTC | {"instrument": "ETH-USD.LOCAL", "base": "ETH"})
        await at.ask("POST", "operator/instruments/ETH-USD.LOCAL/session", {"session": "continuous"})
        way = SlowWay(at.venue.desk._destinations[VENUE])  # type: ignore[arg-type]
        monkeypatch.setattr(at.venue.desk, "_destinations", {VENUE: way})
        async with session(at, "alice") as socket:
            # Risk refuses the first, so only the cancel of the second finds an order.
            wanted: list[dict[str, Any]] = [{"price": "99999999"}, {"instrument": "ETH-USD.LOCAL"}]
            for number, change in enumerate(wanted):
                asked = {"method": "PLACE", "params": ORDER | {"client_order_id": "a"} | change, "id": number}
                await socket.send(json.dumps(asked))
            await way.holds(2)
            [told] = await ask(socket, "CANCEL", 2, client_order_id="a")
            assert told["error"]["code"] == "unconfirmed"
            assert "it was handed over" in told["error"]["detail"]
            assert len(way.kept) == 4
            await way.go()
            assert await at.get("accounts/alice/orders") == []
            ended = await at.get("accounts/alice/client-orders/a")
            assert (ended["instrument"], ended["reason"]) == ("ETH-USD.LOCAL", "requested")


async def test_a_page_of_another_server_opens_no_session(tmp_path: Path) -> None:
    async with served(tmp_path) as at:
        await at.begin()
        with pytest.raises(InvalidStatus) as refused:
            await connect(f"ws://{at.address}/ws/v1/orders?account=alice", origin="https://evil.example")  # type: ignore[arg-type]
        answer = refused.value.response
        assert (answer.status_code, json.loads(answer.body or b"")["code"]) == (403, "foreign_origin")


async def test_a_reader_that_is_too_slow_is_closed_and_nobody_waits_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Method: a session whose socket takes nothing, while more frames come than its mailbox, a small one, holds."""
    monkeypatch.setattr(mailbox, "EVENTS_MAX", 20)
    async with served(tmp_path) as at:
        await at.begin()
        stuck = asyncio.Event()
        closed: list[Any] = []

        async def receive() -> Any:
            await stuck.wait()

        async def send(message: Any) -> None:
            if message["type"] == "websocket.send":
                await stuck.wait()
            closed.append(message)

        async def opened() -> Any:
            return {"type": "websocket.connect"}

        first = iter([opened, receive])
        scope = {"query_string": b"account=alice", "headers": [], "client": ("127.0.0.1", 1)}
        serving = asyncio.create_task(at.sessions(scope, lambda: next(first, receive)(), send))
        order_id = (await at.place("alice", "buy", "1", "90"))["order"]["order_id"]
        await at.ask("POST", "operator/accounts", {"account": "alice", "wait": "memory"})
        for number in range(100):
            change = {"price": f"{90 + number % 2}"}
            await at.ask("PATCH", f"accounts/alice/orders/{order_id}", change)
            if at.sessions.slow:
                break
        await serving
        assert at.sessions.slow == 1
        assert closed[-1]["code"] == CLOSE_SLOW_CONSUMER
