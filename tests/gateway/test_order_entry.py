"""Order entry over HTTP, of a real engine: what is asked for is done once, exactly, and said as it is."""

import asyncio
import json
import shutil
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.gateway.serving import BTC, served
from tests.gateway.slow_way import SlowWay
from tidebook.api.past_trades import past_trades
from tidebook.gateway.names import VENUE


async def test_an_order_rests_trades_and_is_told_to_both_sides(tmp_path: Path) -> None:
    async with served(tmp_path) as at:
        await at.begin()
        resting = await at.place("alice", "buy", "0.5", "60000.5", client_order_id="first")
        order = resting["order"]
        assert (order["state"], order["price"], order["remaining"]) == ("open", "60000.50", "0.50000")
        assert (resting["durable"], resting["repeated"]) == (True, False)
        assert order["order_id"] == 2 * resting["sequence"]
        taken = await at.place("bob", "sell", "0.2", "60000", time_in_force="ioc")
        assert (taken["order"]["state"], taken["order"]["average_price"]) == ("filled", "60000.5")
        assert taken["order"]["fee"] == "2.41"  # 200 ppm of 12,000.10, rounded up
        resting = await at.get(f"accounts/alice/orders/{order['order_id']}")
        assert (resting["state"], resting["filled"], resting["remaining"]) == ("open", "0.20000", "0.30000")
        assert resting["filled_notional"] == "12000.1000000"
        assert await at.get("accounts/alice/client-orders/first") == resting
        assert await at.get("accounts/alice/orders") == [resting]
        (maker,), (taker,) = await at.get("accounts/alice/fills"), await at.get("accounts/bob/fills")
        assert (maker["liquidity"], maker["side"], maker["client_order_id"]) == ("maker", "buy", "first")
        assert (taker["liquidity"], taker["side"], taker["size"]) == ("taker", "sell", "0.20000")
        assert maker["trade_id"] == taker["trade_id"] == 1
        balances = {row["asset"]: row for row in await at.get("accounts/alice/balances")}
        # 12,000.10 and a fee of 1.21 (100 ppm, rounded up) are paid; for the rest of the order the price and the higher rate are reserved.
        assert balances["BTC"]["available"] == "0.2"
        assert balances["USD"]["balance"] == "987998.69"
        (position,) = await at.get("accounts/alice/positions")
        assert (position["position"], position["cost"], position["average_price"]) == ("0.2", "12000.1", "60000.5")


async def test_the_same_request_again_makes_no_second_order_also_after_restarts(tmp_path: Path) -> None:
    asked: dict[str, Any] = {"side": "buy", "size": "0.5", "price": "100", "client_order_id": "a-1"}
    async with served(tmp_path) as at:
        await at.begin()
        first = await at.place("alice", **asked)
        again = await at.place("alice", **asked)
        assert again == first | {"repeated": True}
        other = await at.place("alice", **(asked | {"size": "0.6"}), status=409)
        assert (other["code"], other["order"]) == ("client_order_id_used", first["order"])
        # Of another account it is another id.
        await at.ask("POST", "operator/accounts/bob/transfers", {"asset": "USD", "amount": "1000"})
        assert (await at.place("bob", **asked))["repeated"] is False
    async with served(tmp_path) as at:
        again = await at.place("alice", **asked)
        assert again == first | {"repeated": True}
        await at.ask("DELETE", f"accounts/alice/orders/{first['order']['order_id']}")
    async with served(tmp_path) as at:
        again = await at.place("alice", **asked)
        assert (again["repeated"], again["order"]["state"], again["order"]["reason"]) == (
            True,
            "cancelled",
            "requested",
        )
        assert await at.get("accounts/alice/orders") == []


async def test_two_of_the_same_request_at_once_make_one_order(tmp_path: Path) -> None:
    """Neither knows of the other when it is sent: risk refuses the second, which is answered with the order of the first."""
    async with served(tmp_path) as at:
        await at.begin()
        asked: dict[str, Any] = {"side": "buy", "size": "0.5", "price": "100", "client_order_id": "a-1"}
        answers = await asyncio.gather(*(at.place("alice", **asked) for _ in range(16)))
        assert len({answer["order"]["order_id"] for answer in answers}) == 1
        assert sorted(answer["repeated"] for answer in answers) == [False] + 15 * [True]
        assert len(await at.get("accounts/alice/orders")) == 1


async def test_a_market_order_sent_again_is_the_same_though_risk_put_a_price_in(tmp_path: Path) -> None:
    async with served(tmp_path) as at:
        await at.begin()
        await at.ask("POST", "operator/accounts/alice/limits", {"collar_ppm": 50_000})
        await at.place("bob", "sell", "1", "100")
        await at.place("alice", "buy", "0.1", "100")  # the reference
        asked: dict[str, Any] = {"side": "buy", "size": "0.1", "price": None, "type": "market", "client_order_id": "m"}
        first = await at.place("alice", **asked)
        assert (first["order"]["state"], first["order"]["price"]) == ("filled", "105.00")
        assert (await at.place("alice", **asked))["repeated"] is True
        assert (await at.place("alice", **(asked | {"price": "104"}), status=409))["code"] == "client_order_id_used"


async def test_what_risk_or_matching_refuses_is_said_with_its_reason_and_place(tmp_path: Path) -> None:
    async with served(tmp_path) as at:
        await at.begin()
        dear = await at.place("alice", "buy", "100", "60000", status=422, client_order_id="dear")
        assert (dear["code"], dear["reason"], dear["by"], dear["order"]) == (
            "rejected_balance",
            "balance",
            "risk",
            None,
        )
        assert dear["lacks"] == {"asset": "USD", "needed": "6001200", "available": "1000000"}
        assert "it needs 6001200 USD, and 1000000 USD are available" in dear["detail"]
        # Risk refused it, so its id was never used.
        assert (await at.place("alice", "buy", "1", "60000", client_order_id="dear"))["repeated"] is False
        crossing = {"post_only": True, "client_order_id": "post"}
        refused = await at.place("bob", "sell", "1", "50000", status=422, **crossing)
        assert (refused["reason"], refused["by"], refused["order"]["state"]) == ("post_only", "matching", "rejected")
        again = await at.place("bob", "sell", "1", "50000", status=422, **crossing)
        assert (again["sequence"], again["order"]) == (refused["sequence"], refused["order"])
        # It says that it is a repeat, and does not lead to replacing what is no order any more.
        assert (refused["repeated"], again["repeated"]) == (False, True)
        assert "nothing was sent now: to try again use another id" in again["detail"]
        other = await at.place("bob", "sell", "2", "50000", status=409, **crossing)
        assert other["detail"].endswith("use another: that one has ended (rejected)")
        assert (await at.place("bob", "sell", "1", "0.001", status=422))["detail"].startswith("price: ")
        assert dear["sequence"] < refused["sequence"]


async def test_an_order_is_replaced_and_cancelled_by_either_id(tmp_path: Path) -> None:
    async with served(tmp_path) as at:
        await at.begin()
        first = (await at.place("alice", "buy", "1", "100", client_order_id="one"))["order"]
        smaller = await at.ask("PATCH", f"accounts/alice/orders/{first['order_id']}", {"size": "0.4"})
        assert (smaller["order"]["size"], smaller["order"]["price"]) == ("0.40000", "100.00")
        for nothing in ({}, {"price": None}):
            refused = await at.ask("PATCH", "accounts/alice/client-orders/one", nothing, 422)
            assert "nothing is to be changed" in refused["detail"]
        for none in ("0", "0.00", "-0"):
            refused = await at.ask("PATCH", "accounts/alice/client-orders/one", {"price": "101", "size": none}, 422)
            assert "is no size: leave it out to keep the one that the order has" in refused["detail"]
        moved = await at.ask("PATCH", "accounts/alice/client-orders/one", {"price": "101", "client_order_id": "two"})
        assert (moved["order"]["price"], moved["order"]["client_order_id"]) == ("101.00", "two")
        # Both ids are the order's.
        assert (await at.get("accounts/alice/client-orders/one"))["order_id"] == first["order_id"]
        gone = await at.ask("DELETE", "accounts/alice/client-orders/two")
        assert gone["order"]["state"] == "cancelled"
        again = await at.ask("DELETE", "accounts/alice/client-orders/two")
        assert (again["repeated"], again["order"]) == (True, gone["order"])
        assert (await at.ask("PATCH", "accounts/alice/client-orders/two", {"size": "1"}, 409))["code"] == "order_ended"
        assert (await at.ask("DELETE", "accounts/alice/orders/999999", status=404))["code"] == "unknown_order"
        assert (await at.ask("DELETE", f"accounts/bob/orders/{first['order_id']}", status=404))[
            "code"
        ] == "unknown_order"
        assert [order["order_id"] for order in await at.get("accounts/alice/orders?state=ended")] == [first["order_id"]]


async def test_a_filled_order_cannot_be_cancelled_and_says_so(tmp_path: Path) -> None:
    async with served(tmp_path) as at:
        await at.begin()
        first = (await at.place("alice", "buy", "1", "100"))["order"]
        await at.place("bob", "sell", "1", "100")
        refused = await at.ask("DELETE", f"accounts/alice/orders/{first['order_id']}", status=409)
        assert (refused["code"], refused["order"]["state"]) == ("order_ended", "filled")


async def test_many_are_cancelled_by_side_and_a_dead_mans_switch_is_set(tmp_path: Path) -> None:
    async with served(tmp_path) as at:
        await at.begin()
        await at.ask("POST", "operator/accounts/alice/transfers", {"asset": "BTC", "amount": "1"})
        for price in ("98", "99", "100"):
            await at.place("alice", "buy", "0.1", price)
        await at.place("alice", "sell", "0.1", "110")
        assert [order["price"] for order in await at.get("accounts/alice/orders?limit=2")] == ["100.00", "110.00"]
        assert len(await at.get("accounts/alice/orders")) == 4
        for query, known in (
            ("sde=sell", "instrument, side, wait"),
            ("side=sell&wiat=memory", "instrument, side, wait"),
        ):
            refused = await at.ask("DELETE", f"accounts/alice/orders?{query}", status=422)
            assert refused["detail"].endswith(f"is no query parameter of this request: it takes {known}")
        assert (await at.ask("DELETE", "accounts/alice/orders?side=buy"))["cancelled"] == 3
        assert [order["side"] for order in await at.get("accounts/alice/orders")] == ["sell"]
        assert (await at.ask("POST", "accounts/alice/cancel-all-after", {"timeout_ms": 60_000}))["durable"] is True
        assert (await at.ask("DELETE", "accounts/alice/orders"))["cancelled"] == 1


async def test_a_pair_is_two_orders_of_which_one_cancels_the_other(tmp_path: Path) -> None:
    async with served(tmp_path) as at:
        await at.begin()
        await at.place("alice", "buy", "2", "100")
        await at.place("bob", "sell", "0.1", "100")
        pair = {
            "instrument": "BTC-USD.LOCAL",
            "side": "sell",
            "size": "1",
            "price": "120",
            "trigger_price": "90",
            "limit_price": "89",
            "client_order_id": "limit",
            "stop_client_order_id": "stop",
        }
        placed = await at.ask("POST", "accounts/bob/order-pairs", pair)
        limit, stop = placed["order"], placed["linked"]
        assert (limit["state"], stop["state"], stop["type"]) == ("open", "waiting", "stop_limit")
        assert (limit["linked_order_id"], stop["linked_order_id"]) == (stop["order_id"], limit["order_id"])
        again = await at.ask("POST", "accounts/bob/order-pairs", pair)
        assert again == placed | {"repeated": True}
        await at.ask("DELETE", "accounts/bob/client-orders/stop")
        limit = await at.get("accounts/bob/client-orders/limit")
        assert (limit["state"], limit["reason"]) == ("cancelled", "linked")


async def test_a_pair_with_one_id_for_both_is_refused_with_that_reason(tmp_path: Path) -> None:
    async with served(tmp_path) as at:
        await at.begin()
        before = (await at.get("venue"))["sequence"]
        pair = {"instrument": "BTC-USD.LOCAL", "side": "sell", "size": "1", "price": "120", "trigger_price": "90"}
        pair |= {"client_order_id": "one", "stop_client_order_id": "one"}
        refused = await at.ask("POST", "accounts/bob/order-pairs", pair, 422)
        assert (refused["code"], "two orders need two ids" in refused["detail"]) == ("invalid_request", True)
        assert (await at.get("venue"))["sequence"] == before


async def test_a_venue_that_has_stopped_takes_nothing_and_says_so(tmp_path: Path) -> None:
    async with served(tmp_path) as at:
        await at.begin()
        await at.place("alice", "buy", "1", "100", client_order_id="before")
        at.venue.engine.stop()
        for _ in range(2):
            refused = await at.place("alice", "buy", "1", "100", status=503)
            assert (refused["code"], "nothing was sent" in refused["detail"]) == ("venue_unavailable", True)
        assert (await at.get("accounts/alice/client-orders/before"))["state"] == "open"


async def test_what_is_not_confirmed_in_time_is_answered_so_and_may_be_asked_for_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Method: the way to the venue keeps what it is given."""
    async with served(tmp_path, answer_timeout_s=0.05, waiting_max=1) as at:
        await at.begin()
        way = SlowWay(at.venue.desk._destinations[VENUE])  # type: ignore[arg-type]
        with monkeypatch.context() as patched:
            patched.setattr(at.venue.desk, "_destinations", {VENUE: way})
            lost = await at.place("alice", "buy", "1", "100", status=504, client_order_id="a")
            assert (lost["code"], "may still be carried" in lost["detail"]) == ("unconfirmed", True)
            full = await at.place("alice", "buy", "1", "100", status=503, client_order_id="b")
            assert (full["code"], "nothing was sent" in full["detail"]) == ("venue_unavailable", True)
            await way.go()
        assert [each["client_order_id"] for each in await at.get("accounts/alice/orders")] == ["a"]


async def test_the_kill_switch_cancels_all_and_refuses_what_comes(tmp_path: Path) -> None:
    async with served(tmp_path) as at:
        await at.begin()
        await at.place("alice", "buy", "1", "100")
        await at.place("alice", "buy", "1", "99")
        killed = await at.ask("POST", "operator/kill", {"account": "alice", "killed": True})
        # The cancels are a command of their own, journaled behind the switch: the answer comes when they are on disk.
        assert (killed["cancelled"], killed["durable"]) == (2, True)
        assert (await at.place("alice", "buy", "1", "100", status=422))["reason"] == "killed"
        assert await at.get("accounts/alice/orders") == []
        assert {row["account"]: row["killed"] for row in await at.get("venue/accounts")} == {
            "alice": True,
            "bob": False,
        }
        await at.ask("POST", "operator/kill", {"account": "alice", "killed": False})
        await at.place("alice", "buy", "1", "100")
        assert (await at.ask("POST", "operator/kill", {"all": True, "killed": True}))["cancelled"] == 1
        assert (await at.ask("POST", "operator/kill", {"all": True, "killed": True}))["cancelled"] == 0
        revived = await at.ask("POST", "operator/kill", {"all": True, "killed": False})
        assert (await at.get("venue"))["sequence"] == revived["sequence"]


async def test_an_instrument_with_a_slash_in_its_name_is_opened_and_traded(tmp_path: Path) -> None:
    async with served(tmp_path) as at:
        await at.begin()
        await at.ask("POST", "operator/instruments", BTC | {"instrument": "BTC/USD.LOCAL"})
        for path, session in (("BTC%2FUSD.LOCAL", "pre_open"), ("btc/usd.local", "continuous")):
            await at.ask("POST", f"operator/instruments/{path}/session", {"session": session})
        placed = await at.place("alice", "buy", "1", "100", instrument="BTC/USD.LOCAL")
        assert placed["order"]["instrument"] == "BTC/USD.LOCAL"
        assert len(await at.get("accounts/alice/orders?instrument=BTC%2FUSD.LOCAL")) == 1


async def test_orders_for_other_venues_and_what_is_not_there_are_refused_before_anything_is_sent(
    tmp_path: Path,
) -> None:
    async with served(tmp_path) as at:
        await at.begin()
        before = (await at.get("venue"))["sequence"]
        body = {"instrument": "BTCUSDT.BINANCE", "side": "buy", "size": "1", "price": "1"}
        refused = await at.ask("POST", "accounts/alice/orders", body, 422)
        assert refused["detail"].startswith(
            "BTCUSDT.BINANCE: orders for BINANCE cannot be sent from here; orders go to LOCAL"
        )
        refused = await at.ask("POST", "accounts/alice/orders", body | {"instrument": "BTC-USDT.LOCAL"}, 404)
        assert refused["code"] == "unknown_instrument"
        assert (await at.place("alise", "buy", "1", "1", status=404))[
            "detail"
        ] == "no account 'alise': did you mean alice?"
        here = body | {"instrument": "BTC-USD.LOCAL"}
        for wrong, said in (
            ({"size": 1.5}, 'body/size: a decimal is written as a string, "1.5"'),
            ({"size": "1e2"}, "body/size: '1e2' is no decimal: digits, and a point and digits if need be"),
            ({"size": "0.00"}, "body/size: 0.00 is not above 0"),
            ({"price": "-1"}, "body/price: -1 is not above 0"),
            ({"offset": "-1"}, "body/offset: -1 is below 0"),
            ({"prise": "1"}, "body/prise: "),
            ({"type": "iceberg"}, "body/type: "),
            ({"side": None}, "body/side: "),
        ):
            refused = await at.ask("POST", "accounts/alice/orders", here | wrong, 422)
            assert (refused["code"], said in refused["detail"]) == ("invalid_request", True), refused["detail"]
        half = json.dumps(body | {"instrument": "\ud800.LOCAL"})  # of a pair of surrogates
        answer = await at.client.post(
            "/api/v1/accounts/alice/orders", content=half, headers={"content-type": "application/json"}
        )
        assert (answer.status_code, "\\ud800.LOCAL" in answer.json()["detail"]) == (404, True)
        assert (await at.get("venue"))["sequence"] == before


async def test_a_page_of_another_server_may_not_send_orders(tmp_path: Path) -> None:
    async with served(tmp_path) as at:
        await at.begin()
        order = {"instrument": "BTC-USD.LOCAL", "side": "buy", "size": "1", "price": "1"}
        for origin, status in (("https://evil.example", 403), (f"http://{at.address}", 200)):
            answer = await at.client.post("/api/v1/accounts/alice/orders", json=order, headers={"origin": origin})
            assert answer.status_code == status
        for path in ("operator/kill", "operator/accounts"):
            answer = await at.client.post(f"/api/v1/{path}", json={}, headers={"origin": "https://evil.example"})
            assert (answer.status_code, answer.json()["code"]) == (403, "foreign_origin")


@pytest.mark.parametrize("wait", ["memory", "durable"])
async def test_an_account_is_answered_as_safely_as_it_asked_for(tmp_path: Path, wait: str) -> None:
    async with served(tmp_path) as at:
        await at.begin()
        await at.ask("POST", "operator/accounts", {"account": "alice", "wait": wait})
        placed = await at.place("alice", "buy", "1", "1")
        assert placed["durable"] or wait == "memory"
        assert at.venue.names.wait_of(1) == wait
        body = {"instrument": "BTC-USD.LOCAL", "side": "buy", "size": "1", "price": "1"}
        assert (await at.ask("POST", "accounts/alice/orders?wait=durable", body))["durable"] is True


async def test_more_that_wait_than_may_are_turned_away_and_nothing_of_them_is_sent(tmp_path: Path) -> None:
    async with served(tmp_path, waiting_of_account_max=2) as at:
        await at.begin()
        answers = await asyncio.gather(
            *(
                at.client.post(
                    "/api/v1/accounts/alice/orders",
                    json={"instrument": BTC["instrument"], "side": "buy", "size": "1", "price": "1"},
                )
                for _ in range(40)
            )
        )
        statuses = [answer.status_code for answer in answers]
        assert set(statuses) <= {200, 429}
        assert len(await at.get("accounts/alice/orders")) == statuses.count(200)
        assert at.venue.desk.counts["overload"] == statuses.count(429)
        # Whoever wants to get out is not held up.
        assert (await at.ask("DELETE", "accounts/alice/orders"))["cancelled"] == statuses.count(200)


async def test_what_the_gateway_knows_is_the_same_after_a_restart(tmp_path: Path) -> None:
    async def picture(at: Any) -> list[Any]:
        return [
            await at.get(path)
            for account in ("alice", "bob")
            for path in (
                f"accounts/{account}/orders",
                f"accounts/{account}/orders?state=ended",
                f"accounts/{account}/fills",
                f"accounts/{account}/positions",
                f"accounts/{account}/balances",
            )
        ] + [await at.get("venue/instruments"), await at.get("venue/accounts")]

    async with served(tmp_path) as at:
        await at.begin()
        for number in range(20):
            await at.place("alice", "buy", "0.1", str(100 + number), client_order_id=f"a{number}")
        await at.place("bob", "sell", "1.05", "110")
        await at.ask("DELETE", "accounts/alice/client-orders/a0")
        before, hash_before = await picture(at), (await at.get("venue"))["state_hash"]
    shutil.rmtree(tmp_path / "data/snapshots")  # so that every command is judged again
    async with served(tmp_path, recheck=True) as at:
        assert at.venue.engine.recovery["state"]["tail_count"] == at.venue.follower.sequence
        assert await picture(at) == before
        assert (await at.get("venue"))["state_hash"] == hash_before


async def test_a_stop_further_away_than_its_collar_trades_when_it_is_reached(tmp_path: Path) -> None:
    async with served(tmp_path) as at:
        await at.begin()
        await at.ask("POST", "operator/accounts/alice/transfers", {"asset": "BTC", "amount": "5"})
        await at.ask("POST", "operator/accounts/bob/transfers", {"asset": "USD", "amount": "1000"})
        await at.place("bob", "sell", "0.1", "100")
        await at.place("alice", "buy", "0.1", "100")  # the reference
        await at.ask("POST", "operator/accounts/alice/limits", {"collar_ppm": 20_000})
        stop: dict[str, Any] = {"type": "stop", "trigger_price": "90", "client_order_id": "s"}
        placed = await at.place("alice", "sell", "1", None, **stop)
        assert (placed["order"]["state"], placed["order"]["price"]) == ("waiting", "88.20")
        moved = await at.ask("PATCH", "accounts/alice/client-orders/s", {"trigger_price": "95"})
        assert (moved["order"]["trigger_price"], moved["order"]["price"]) == ("95.00", "93.10")
        await at.ask("PATCH", "accounts/alice/client-orders/s", {"size": "0.5"})
        await at.place("bob", "buy", "2", "95")
        await at.place("bob", "sell", "0.1", "95", self_trade="none", time_in_force="ioc")
        sold = await at.get("accounts/alice/client-orders/s")
        assert (sold["state"], sold["filled"], sold["average_price"]) == ("filled", "0.50000", "95")


async def test_a_stop_whose_trigger_moves_keeps_its_worst_price_where_risk_reckons_none(tmp_path: Path) -> None:
    async with served(tmp_path) as at:
        await at.begin()
        margin = {"margin": True, "initial_margin_ppm": 100_000, "maintenance_margin_ppm": 50_000}
        await at.ask("POST", "operator/accounts", {"account": "mia"} | margin)
        await at.ask("POST", "operator/accounts/mia/transfers", {"asset": "USD", "amount": "1000"})
        stop: dict[str, Any] = {"type": "stop", "trigger_price": "90", "client_order_id": "s"}

        async def moved(account: str, trigger: str) -> Any:
            path = f"accounts/{account}/client-orders/s"
            return (await at.ask("PATCH", path, {"trigger_price": trigger}))["order"]["price"]

        for account in ("bob", "mia"):
            await at.place(account, "sell", "1", "85", **stop)
            assert await moved(account, "91") == "85.00"
        # A collar of the account as a whole, and a band: of a margin account neither bounds a stop.
        for account in ("bob", "mia"):
            await at.ask("POST", f"operator/accounts/{account}/limits", {"collar_ppm": 20_000})
        assert (await moved("bob", "95"), await moved("mia", "95")) == ("93.10", "85.00")
        for account in ("bob", "mia"):
            await at.ask("POST", f"operator/accounts/{account}/limits", {})
        await at.ask("POST", "operator/instruments", {"instrument": "BTC-USD.LOCAL", "band_ppm": 100_000})
        assert (await moved("bob", "96"), await moved("mia", "96")) == ("86.40", "85.00")
        await at.ask("POST", "operator/instruments", {"instrument": "BTC-USD.LOCAL", "band_ppm": 0})
        assert await moved("bob", "97") == "86.40"


async def test_a_margin_account_is_told_its_margin_and_its_call(tmp_path: Path) -> None:
    async with served(tmp_path) as at:
        await at.begin()
        margin = {"margin": True, "initial_margin_ppm": 100_000, "maintenance_margin_ppm": 50_000}
        await at.ask("POST", "operator/accounts", {"account": "mia"} | margin)
        await at.ask("POST", "operator/accounts/mia/transfers", {"asset": "USD", "amount": "1000"})
        await at.place("bob", "sell", "1", "6000")
        await at.place("mia", "buy", "1", "6000")
        fee = Decimal("1.20")  # 200 ppm

        async def usd(account: str = "mia") -> dict[str, Any]:
            return next(row for row in await at.get(f"accounts/{account}/balances") if row["asset"] == "USD")

        found = await usd()
        assert (Decimal(found["balance"]), Decimal(found["equity"])) == (-5000 - fee, 1000 - fee)
        assert (found["initial_margin"], found["maintenance_margin"], found["called"]) == ("600", "300", False)
        assert Decimal(found["available"]) == 400 - fee
        for path, body in (
            ("accounts/mia/orders", {"instrument": "BTC-USD.LOCAL", "side": "buy", "size": "1", "price": "6000"}),
            ("operator/accounts/mia/transfers", {"asset": "USD", "amount": "-500"}),
        ):
            refused = await at.ask("POST", path, body, 422)
            assert refused["code"] == "rejected_margin"
            assert refused["lacks"]["available"] == found["available"]
            assert Decimal(refused["lacks"]["needed"]) == (600 + fee if "orders" in path else 500)
        assert await at.ask("POST", "operator/accounts/mia/transfers", {"asset": "USD", "amount": "-398.8"})
        assert (await usd())["available"] == "0"
        await at.place("bob", "sell", "0.1", "5600")
        await at.place("alice", "buy", "0.1", "5600")  # the mark: 400 less
        found = await usd()
        assert (found["equity"], found["maintenance_margin"]) == ("200", "280")
        await at.ask("POST", "operator/accounts/mia/transfers", {"asset": "USD", "amount": "1"})
        assert (await usd())["called"] is True
        spot = await usd("alice")
        assert (spot["equity"], spot["called"]) == (None, False)
        calls = {row["account"]: row["margin_calls"] for row in await at.get("venue/accounts")}
        assert (calls["mia"], calls["alice"], (await at.get("venue"))["margin_calls"]) == (["USD"], [], 1)
        await at.ask("POST", "operator/accounts/mia/transfers", {"asset": "USD", "amount": "100"})
        assert ((await usd())["called"], (await at.get("venue"))["margin_calls"]) == (False, 0)


async def test_terms_and_limits_in_force_are_read_and_kept_where_a_change_leaves_them_out(tmp_path: Path) -> None:
    async with served(tmp_path) as at:
        await at.begin()
        band = {"reference_price": "100", "band_ppm": 500_000, "band_action": "halt"}
        await at.ask("POST", "operator/instruments", {"instrument": "BTC-USD.LOCAL", **band})
        await at.ask("POST", "operator/instruments", {"instrument": "BTC-USD.LOCAL", "taker_ppm": 300})
        (listed,) = await at.get("venue/instruments")
        expected = {"reference_price": "100.00", "band_ppm": 500_000, "band_action": "halt", "maker_ppm": 100}
        assert expected.items() <= listed.items()
        assert listed["taker_ppm"] == 300
        for given, field in (({"tick": "1"}, "base"), ({"base": "ETH", "quote": "USD", "tick": "1"}, "lot")):
            asked = {"instrument": "ETH-USD.LOCAL"} | given
            missing = await at.ask("POST", "operator/instruments", asked, 422)
            assert missing["detail"] == f"{field}: a new instrument needs base, quote, tick and lot"
        assert len(await at.get("venue/instruments")) == 1
        rates = {"margin": True, "initial_margin_ppm": 100_000, "maintenance_margin_ppm": 50_000}
        await at.ask("POST", "operator/accounts", {"account": "mm", **rates})
        await at.ask("POST", "operator/accounts", {"account": "mm", "group": 3})
        (margin,) = [row for row in await at.get("venue/accounts") if row["account"] == "mm"]
        assert (rates | {"group": 3, "maker_ppm": None}).items() <= margin.items()
        unbounded = await at.ask("POST", "operator/accounts", {"account": "mz", "margin": True}, 422)
        assert "could owe without a bound" in unbounded["detail"]

        of_btc = {"instrument": "BTC-USD.LOCAL", "position_max": "2", "collar_ppm": 20_000}
        await at.ask("POST", "operator/accounts/alice/limits", of_btc)
        await at.ask("POST", "operator/accounts/alice/limits", {"exposure_max": "1000.5", "open_orders_max": 1})
        await at.ask("POST", "operator/accounts/bob/limits", {"open_orders_max": 5})
        await at.ask("POST", "operator/accounts/bob/limits", {})
        await at.ask("POST", "accounts/alice/cancel-all-after", {"timeout_ms": 3_600_000})
        armed = {row["account"]: row["cancel_all_after_ts"] for row in await at.get("venue/accounts")}
        assert [account for account, ts in armed.items() if ts is not None] == ["alice"]
        whole, btc = found = await at.get("accounts/alice/limits")
        assert (whole["instrument"], whole["exposure_max"], whole["open_orders_max"]) == (None, "1000.5", 1)
        assert of_btc.items() <= (btc | {"position_max": "2"}).items()
        assert (btc["position_max"], btc["order_size_max"], btc["account"]) == ("2.00000", None, "alice")
        assert await at.get("venue/limits") == found
        for price, size, said in (
            ("103", "1", "a price may be 20000 ppm (collar_ppm) from the reference, which is 100.00"),
            ("100", "3", "position_max is 2.00000: with the position, 0.00000, and open orders it would be passed"),
        ):
            refused = await at.place("alice", "buy", size, price, status=422)
            assert refused["detail"].endswith(said), refused["detail"]
        await at.place("alice", "buy", "1", "100")
        refused = await at.place("alice", "buy", "0.1", "99", status=422)
        assert refused["detail"].endswith("open_orders_max is 1 of the account")
    async with served(tmp_path) as at:
        assert await at.get("venue/limits") == found
        assert {row["account"]: row["cancel_all_after_ts"] for row in await at.get("venue/accounts")} == armed
        await at.ask("POST", "accounts/alice/cancel-all-after", {"timeout_ms": 0})
        assert [row["cancel_all_after_ts"] for row in await at.get("venue/accounts")] == [None] * 3


async def test_a_refusal_says_the_bound_that_was_crossed(tmp_path: Path) -> None:
    async with served(tmp_path) as at:
        await at.begin()
        coarse = {"instrument": "BTC-USD.LOCAL", "tick": "0.05", "lot": "0.01", "size_min": "0.02"}
        await at.ask("POST", "operator/instruments", coarse)
        for fields, said in (
            ({"price": "100.03"}, "price 100.03 is no multiple of the tick 0.05"),
            ({"size": "1.001"}, "size 1.00100 is no multiple of the lot 0.01000"),
            ({"size": "0.01"}, "size 0.01000 is not within size_min 0.02000 and size_max 10000000.00000"),
            ({"price": None, "type": "market"}, "give `price`, or list a band_ppm and a reference_price"),
            ({"time_in_force": "gtd", "expire_ts": 10**15}, "expire_ts is not later than the venue's time, 1"),
            (
                {"size": "1.01", "display_size": "0.01"},
                "display_size 0.01000 is less than a hundredth of the size 1.01",
            ),
            ({"display_size": "1"}, "display_size 1.00000 is not below the size 1.00000"),
        ):
            refused = await at.place("alice", **({"side": "buy", "size": "1", "price": "100"} | fields), status=422)
            assert said in refused["detail"], refused["detail"]
        margin = {"margin": True, "initial_margin_ppm": 100_000, "maintenance_margin_ppm": 50_000}
        await at.ask("POST", "operator/accounts", {"account": "mia"} | margin)
        refused = await at.place("mia", "buy", "1", None, type="market", status=422)
        assert refused["detail"].endswith("no reference price yet: give `price` or list a reference_price")
        pair = {"instrument": "BTC-USD.LOCAL", "side": "buy", "size": "1", "price": "99", "trigger_price": "110"}
        refused = await at.ask("POST", "accounts/mia/order-pairs", pair, 422)
        assert refused["detail"].endswith("no reference price yet: give `limit_price` or list a reference_price")
        await at.ask("POST", "operator/instruments", {"instrument": "BTC-USD.LOCAL", "reference_price": "100"})
        await at.ask("POST", "operator/accounts/alice/limits", {"collar_ppm": 20_000})
        far = "a price may be 20000 ppm (collar_ppm) from the reference, which is 100.00"
        stop: dict[str, Any] = {"type": "stop", "trigger_price": "110", "status": 422}
        assert (await at.place("alice", "buy", "1", "120", **stop))["detail"].endswith(f"{far}, or from the trigger")
        for price, limit_price, said in (("99", "120", f"{far}, or from the trigger"), ("90", "111", far)):
            asked = pair | {"price": price, "limit_price": limit_price}
            assert (await at.ask("POST", "accounts/alice/order-pairs", asked, 422))["detail"].endswith(said)
        session = "operator/instruments/BTC-USD.LOCAL/session"
        # A lost answer may be asked for again.
        counts = dict(at.venue.desk.counts)
        assert (await at.ask("POST", session, {"session": "continuous"}))["repeated"] is True
        assert at.venue.desk.counts == counts | {"repeated": 1}
        await at.ask("POST", session, {"session": "halted"})
        refused = await at.place("alice", "buy", "1", "100", status=422)
        assert refused["detail"].endswith("the session is halted, in which nothing is placed or replaced")


async def test_a_trailing_stop_says_its_trigger_and_older_fills_and_ended_orders_are_reached(tmp_path: Path) -> None:
    async with served(tmp_path) as at:
        await at.begin()

        async def trade(price: str) -> None:
            await at.place("bob", "sell", "0.1", price)
            await at.place("alice", "buy", "0.1", price)

        await trade("100")
        asked: dict[str, Any] = {"type": "trailing_stop", "offset": "10", "client_order_id": "t"}
        await at.place("bob", "sell", "0.5", None, **asked)
        await trade("120")
        assert (await at.get("accounts/bob/client-orders/t"))["trigger_price"] == "110.00"
        await trade("125")
        (stop,) = await at.get("accounts/bob/orders")
        assert stop["trigger_price"] == "115.00"

        told = past_trades(at.venue.desk, "BTC-USD.LOCAL", 12 << 24 | 1, 2)
        assert told[["price", "size", "trade_id", "side"]].tolist() == [(12_000, 10_000, 2, 1), (12_500, 10_000, 3, 1)]
        assert len(past_trades(at.venue.desk, "BTC-USD.KRAKEN", 1, 2)) == 0

        fills = await at.get("accounts/alice/fills")
        assert [fill["price"] for fill in fills] == ["100.00", "120.00", "125.00"]
        assert await at.get(f"accounts/alice/fills?before={fills[2]['sequence']}&limit=1") == [fills[1]]
        assert await at.get(f"accounts/alice/fills?start={fills[1]['ts']}&end={fills[2]['ts']}") == [fills[1]]
        ended = await at.get("accounts/alice/orders?state=ended")
        assert await at.get(f"accounts/alice/orders?state=ended&before={ended[0]['order_id']}&limit=1") == [ended[1]]
        assert await at.get(f"accounts/alice/orders?state=ended&end={ended[1]['changed_ts']}") == [ended[2]]
        assert (await at.get("accounts/alice/orders?state=ended&before=2", 404))["code"] == "unknown_order"
        assert (await at.get("accounts/alice/orders?before=2", 422))["code"] == "invalid_request"


async def test_an_order_that_is_told_again_as_durable_is_on_disk_as_it_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Method: for a while nobody tells the follower what is synced; in that the order is filled."""
    async with served(tmp_path) as at:
        await at.begin()
        asked: dict[str, Any] = {"side": "buy", "size": "1", "price": "100", "client_order_id": "a"}
        order_id = (await at.place("alice", **asked))["order"]["order_id"]
        body = {"instrument": "BTC-USD.LOCAL"} | asked
        follower = at.venue.follower
        with monkeypatch.context() as patched:
            patched.setattr(follower, "_is_durable", lambda _: None)
            filling = {"instrument": "BTC-USD.LOCAL", "side": "sell", "size": "1", "price": "100"}
            await at.ask("POST", "accounts/bob/orders?wait=memory", filling)
            at_once = await at.ask("POST", "accounts/alice/orders?wait=memory", body)
            assert (at_once["repeated"], at_once["durable"], at_once["order"]["state"]) == (True, False, "filled")
            by_id = f"accounts/alice/orders/{order_id}"
            waiting = [
                asyncio.create_task(at.ask("POST", "accounts/alice/orders?wait=durable", body)),
                asyncio.create_task(at.ask("DELETE", f"{by_id}?wait=durable", status=409)),
                asyncio.create_task(at.ask("PATCH", f"{by_id}?wait=durable", {"size": "2"}, status=409)),
            ]
            done, _ = await asyncio.wait(waiting, timeout=0.3)
            assert not done
        # What comes next is synced behind all of that, and told.
        await at.place("bob", "sell", "1", "101")
        again, *ended = await asyncio.gather(*waiting)
        assert (again["durable"], again["order"]["state"]) == (True, "filled")
        assert [(each["code"], each["order"]["state"]) for each in ended] == 2 * [("order_ended", "filled")]


async def test_an_order_that_is_told_as_durable_at_first_is_told_as_it_is_on_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Method: the follower is told what is synced up to the command itself, when a fill behind it has been taken in."""
    async with served(tmp_path) as at:
        await at.begin()
        follower = at.venue.follower
        orders = "accounts/alice/orders"
        body = {"instrument": "BTC-USD.LOCAL", "side": "buy", "size": "1", "price": "100", "client_order_id": "a"}
        pair = body | {"client_order_id": None, "price": "99", "trigger_price": "110", "limit_price": "111"}
        first = (await at.ask("POST", orders, body))["order"]

        async def told(method: str, path: str, asked: dict[str, Any], filling: str) -> Any:
            with monkeypatch.context() as patched:
                is_durable = follower._is_durable
                patched.setattr(follower, "_is_durable", lambda _: None)
                sequence = follower.sequence + 1
                asking = asyncio.create_task(at.ask(method, f"{path}?wait=durable", asked))
                while (await at.get("venue"))["sequence"] < sequence:
                    pass
                fill = {"instrument": "BTC-USD.LOCAL", "side": "sell", "size": "0.1", "price": filling}
                filled = await at.ask("POST", "accounts/bob/orders?wait=memory", fill)
                assert filled["order"]["state"] == "filled"
                assert not asking.done()
                is_durable(sequence)
                answer = await asking
            assert (answer["sequence"], answer["durable"]) == (sequence, True)
            return answer

        replaced = await told("PATCH", f"{orders}/{first['order_id']}", {"price": "101"}, "101")
        assert (replaced["order"]["price"], replaced["order"]["filled"]) == ("101.00", "0.00000")
        await at.ask("DELETE", f"{orders}/{first['order_id']}")
        placed = await told("POST", orders, body | {"client_order_id": "b", "price": "102"}, "102")
        assert (placed["order"]["state"], placed["order"]["filled"]) == ("open", "0.00000")
        assert (await at.get(f"{orders}/{placed['order']['order_id']}"))["filled"] == "0.10000"
        await at.ask("DELETE", orders)
        placed = await told("POST", "accounts/alice/order-pairs", pair, "99")
        assert (placed["order"]["filled"], placed["linked"]["state"]) == ("0.00000", "waiting")


async def test_an_account_or_instrument_of_more_digits_than_a_number_has_is_not_there(tmp_path: Path) -> None:
    async with served(tmp_path) as at:
        await at.begin()
        digits = "9" * 5_000
        assert (await at.get(f"accounts/{digits}/orders", status=404))["code"] == "unknown_account"
        assert (await at.get(f"accounts/alice/orders?instrument={digits}", status=404))["code"] == "unknown_instrument"
        assert await at.get("accounts/0001/orders") == await at.get("accounts/1/orders") == []
