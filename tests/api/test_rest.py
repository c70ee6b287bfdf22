"""`/api/v1` answers with what the view holds, and refuses in problems."""

import logging
from pathlib import Path

import httpx
import pytest

from tests.api.conftest import BTC, SECOND, START, Desk, book, trade
from tests.gateway.serving import served
from tidebook.api import MarketView, create_app
from tidebook.api.problems import MEDIA_TYPE
from tidebook.feeds.status import StatusKind

PATHS = {
    "/api/v1/ping",
    "/api/v1/time",
    "/api/v1/version",
    "/api/v1/health/live",
    "/api/v1/health/ready",
    "/api/v1/status",
    "/api/v1/instruments",
    "/api/v1/analytics",
    "/api/v1/analytics/accounts/{account}",
    "/api/v1/analytics/markets",
    "/api/v1/depth",
    "/api/v1/trades",
    "/api/v1/klines",
    "/api/v1/outages",
    "/api/v1/bookTicker",
    "/api/v1/feeds",
    "/api/v1/session",
    "/api/v1/tops",
}


async def test_depth_is_the_best_levels_as_decimal_strings(desk: Desk) -> None:
    row = book([(100, 1), (99, 2), (98, 3)], [(101, 4)], venue_sequence=42, ts_event=START, ts_recv=START + 1_500)
    desk.source.put("md.book", row)
    desk.step()
    answer = await desk.get("/api/v1/depth?instrument=btcusdt.binance&limit=2")
    assert answer.json() == {
        "instrument": "BTCUSDT.BINANCE",
        "last_update_id": 42,
        "usable": True,
        "unusable_since": None,
        "unusable_reason": None,
        "ts_event": START // 1000,
        "ts_recv": START // 1000 + 1,
        "bid_count": 3,
        "ask_count": 1,
        "step": None,
        "whole": False,
        "bids": [["1.00", "0.00001"], ["0.99", "0.00002"]],
        "asks": [["1.01", "0.00004"]],
    }


async def test_a_book_between_a_gap_and_its_snapshot_says_that_it_is_unusable(desk: Desk) -> None:
    desk.source.put("md.book", book([(100, 1)], [(101, 4)], usable=0))
    desk.step()
    assert (await desk.get("/api/v1/depth?instrument=BTCUSDT.BINANCE")).json()["usable"] is False


async def test_trades_come_oldest_first_with_their_aggressor(desk: Desk) -> None:
    desk.source.put("md.trades", trade(1), trade(2, side=-1), trade(3, side=0))
    desk.step()
    answer = await desk.get("/api/v1/trades?instrument=BTCUSDT.BINANCE&limit=2")
    assert [(row["id"], row["side"], row["price"], row["size"]) for row in answer.json()] == [
        (2, "sell", "100.00", "1.00000"),
        (3, "none", "100.00", "1.00000"),
    ]


async def test_the_server_says_its_time_version_and_health(desk: Desk) -> None:
    assert (await desk.get("/api/v1/ping")).json() == {}
    assert (await desk.get("/api/v1/time")).json() == {"server_time": START // 1000}
    assert (await desk.get("/api/v1/version")).json()["name"] == "tidebook"
    assert (await desk.get("/api/v1/health/live")).json() == {"status": "alive", "detail": ""}
    assert (await desk.get("/api/v1/health/ready")).json() == {"status": "ready", "detail": ""}
    assert [row["instrument"] for row in (await desk.get("/api/v1/instruments")).json()] == [
        "BTCUSDT.BINANCE",
        "XRPUSDT.BINANCE",
    ]
    assert (await desk.get("/api/v1/feeds")).json()[0]["venue"] == "binance"


async def test_readiness_says_what_is_missing(desk: Desk) -> None:
    desk.view._by_name.clear()
    answer = await desk.get("/api/v1/health/ready")
    assert answer.status_code == 503
    assert "no instrument" in answer.json()["detail"]


async def test_a_node_that_cannot_store_is_not_ready_and_says_why(desk: Desk) -> None:
    app = create_app(desk.view, desk.source, unwell=lambda: "storing binance is stalled: no space")
    app.state.pump.step()
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1:8080") as client:
        answer = await client.get("/api/v1/health/ready")
        status = (await client.get("/api/v1/status")).json()
    assert (answer.status_code, answer.json()["detail"]) == (503, "storing binance is stalled: no space")
    assert status == {"channels": [], "engines": [], "problems": ["storing binance is stalled: no space"]}


async def test_a_node_on_which_something_beside_has_failed_is_ready_degraded_and_says_of_what(desk: Desk) -> None:
    failed = "no windows of analytics are made: it was damaged"
    app = create_app(desk.view, desk.source, degraded=lambda: failed)
    app.state.pump.step()
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1:8080") as client:
        answer = await client.get("/api/v1/health/ready")
        status = (await client.get("/api/v1/status")).json()
    assert (answer.status_code, answer.json()) == (200, {"status": "degraded", "detail": failed})
    assert status["problems"] == [failed]


@pytest.mark.parametrize(
    ("path", "status", "code", "said"),
    [
        ("/api/v1/depth?instrument=BTCUSD.BINANCE", 404, "unknown_instrument", "did you mean BTCUSDT.BINANCE"),
        ("/api/v1/depth?instrument=BTCUSDT.BINANCE", 404, "no_book", "no book has been published yet"),
        ("/api/v1/depth?instrument=BTCUSDT.BINANCE&limit=26", 422, "invalid_request", "query/limit"),
        ("/api/v1/depth?instrument=BTCUSDT.BINANCE&limit=201&step=1", 422, "invalid_request", "query/limit"),
        ("/api/v1/trades?limit=1", 422, "invalid_request", "query/instrument"),
        ("/api/v1/nothing", 404, "not_found", "/api/v1/nothing"),
    ],
)
async def test_a_refusal_is_a_problem_with_code_detail_and_trace_id(
    desk: Desk, path: str, status: int, code: str, said: str
) -> None:
    answer = await desk.get(path, traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
    problem = answer.json()
    assert (answer.status_code, answer.headers["content-type"]) == (status, MEDIA_TYPE)
    assert (problem["status"], problem["code"]) == (status, code)
    assert said in problem["detail"]
    assert problem["trace_id"] == answer.headers["x-trace-id"] == "0af7651916cd43dd8448eb211c80319c"
    assert problem["instance"] == path.partition("?")[0]


async def test_a_failure_of_ours_hides_its_cause_and_logs_it_under_the_trace_id(
    desk: Desk, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(_: MarketView) -> None:
        raise RuntimeError("secret of the house")

    monkeypatch.setattr(MarketView, "health", fails)
    with caplog.at_level(logging.ERROR, "tidebook.api"):
        answer = await desk.get("/api/v1/feeds")
    assert (answer.status_code, answer.json()["code"]) == (500, "internal_error")
    assert "secret" not in answer.text
    assert vars(caplog.records[0])["trace_id"] == answer.json()["trace_id"]


async def test_only_loopback_names_are_answered_and_only_reading_is_offered(desk: Desk) -> None:
    async with desk.client() as client:
        foreign = await client.get("/api/v1/ping", headers={"host": "rebound.example"})
        assert (foreign.status_code, foreign.json()["code"]) == (403, "foreign_host")
        assert (await client.get("/api/v1/ping", headers={"host": "[::1]:8080"})).status_code == 200
        assert (await client.post("/api/v1/depth")).json()["code"] == "method_not_allowed"


async def test_metrics_are_what_the_view_and_the_hub_count(desk: Desk) -> None:
    desk.source.put("md.trades", trade(1, source_sequence=5, ts_recv=desk.clock.now - 2_000_000_000))
    desk.source.put(
        "md.status", {"kind": StatusKind.GAP, "instrument_id": BTC, "source_sequence": 6, "ts_recv": desk.clock.now}
    )
    desk.step()
    answer = await desk.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    lines = dict(line.rsplit(" ", 1) for line in answer.text.splitlines() if not line.startswith("#"))
    assert lines['tidebook_feed_messages_total{venue="binance"}'] == "6.0"
    assert lines['tidebook_feed_gaps_total{venue="binance"}'] == "1.0"
    assert lines['tidebook_feed_state{state="live",venue="binance"}'] == "1.0"
    assert lines["tidebook_hub_clients"] == "0.0"


async def test_a_session_is_the_newest_that_was_told_and_an_auctions_price_goes_with_it(desk: Desk) -> None:
    path = "/api/v1/session?instrument=btcusdt.binance"
    assert (await desk.get(path)).json()["code"] == "no_session"

    def told(kind: StatusKind, found: int, count: int = 0, ts_recv: int = START) -> None:
        # It is told again, later, with the time it began.
        row = {
            "kind": kind,
            "found": found,
            "count": count,
            "ts_recv": ts_recv + 9,
            "ts_event": ts_recv,
            "instrument_id": BTC,
        }
        desk.source.put("md.status", row)
        desk.step()

    told(StatusKind.SESSION_CHANGED, 2)
    auction = {"instrument": "BTCUSDT.BINANCE", "session": "auction", "since": START // 1000}
    assert (await desk.get(path)).json() == auction | {"indicative_price": None, "indicative_size": None}
    told(StatusKind.INDICATIVE_PRICE, 6_183_763, 150_000)
    assert (await desk.get(path)).json() == auction | {"indicative_price": "61837.63", "indicative_size": "1.50000"}
    told(StatusKind.INDICATIVE_PRICE, 0, 0)
    assert (await desk.get(path)).json() == auction | {"indicative_price": None, "indicative_size": None}
    told(StatusKind.INDICATIVE_PRICE, 6_183_763, 150_000)
    told(StatusKind.SESSION_CHANGED, 3, ts_recv=START + SECOND)
    found = (await desk.get(path)).json()
    assert (found["session"], found["since"], found["indicative_price"]) == (
        "continuous",
        (START + SECOND) // 1000,
        None,
    )


async def test_the_schema_lists_every_route_and_knows_problems_only(desk: Desk) -> None:
    schema = (await desk.get("/openapi.json")).json()
    assert set(schema["paths"]) == PATHS
    assert "HTTPValidationError" not in schema["components"]["schemas"]
    refused = schema["paths"]["/api/v1/depth"]["get"]["responses"]["422"]["content"]
    assert refused == {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    described = schema["components"]["schemas"]["Depth"]["properties"]["usable"]["description"]
    assert "must not be traded on" in described


async def test_a_query_parameter_that_a_route_does_not_take_is_an_error_on_every_route(tmp_path: Path) -> None:
    """Method: each operation of the schema with one that is unknown, and with one of its own twice; nothing is sent of any."""
    async with served(tmp_path) as at:
        await at.begin()
        before = (await at.get("venue"))["sequence"]
        schema = (await at.client.get("/openapi.json")).json()
        asked = 0
        for path, operations in schema["paths"].items():
            filled = path.replace("{account}", "alice").replace("{instrument}", "BTC-USD.LOCAL")
            filled = filled.replace("{order_id}", "1").replace("{client_order_id}", "a")
            for method, operation in operations.items():
                own = [part["name"] for part in operation.get("parameters", ()) if part["in"] == "query"]
                for query in ("foo=1", *(f"{name}=1&{name}=1" for name in own)):
                    answer = await at.client.request(method, f"{filled}?{query}")
                    assert answer.status_code == 422, (method, path, query, answer.text)
                    name, says = query.partition("=")[0], "is no query parameter" if query == "foo=1" else "given twice"
                    assert name in answer.json()["detail"]
                    assert says in answer.json()["detail"]
                    asked += 1
        assert asked > 30
        assert (await at.get("venue"))["sequence"] == before
