"""The connector with Binance spot against the simulated venue on 127.0.0.1: real sockets, real protocol, no mocks."""

import asyncio
import gc
import json
import random
import ssl
import subprocess
import threading
import time
from contextlib import suppress
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from statistics import median

import aiohttp
import pytest

from tests.feeds.live import SYMBOLS, LiveFeed, running
from tidebook.config.settings import BinanceSettings
from tidebook.errors import ConfigError, SubscriptionsError, VenueError
from tidebook.feeds.backoff import Backoff
from tidebook.feeds.connector import Connector
from tidebook.feeds.line import ConnectorOptions
from tidebook.feeds.protocol import Endpoints
from tidebook.feeds.registry import build_connector
from tidebook.feeds.sink import MemorySink, MessageKind
from tidebook.feeds.subscriptions import Subscriptions, SubscriptionsFile
from tidebook.feeds.venues.binance import Binance
from tidebook.persistence.files import replace_durably
from tidebook.simulate import Simulator, VenueLimits, VenueOptions


async def test_books_are_the_venues_own_and_no_trade_is_missing() -> None:
    async with running() as bench:
        await bench.until(bench.books_good)
        for _ in range(3):
            await asyncio.sleep(0.5)
            await bench.equals_the_venue()
        assert [book.gap_count for book in bench.follower.books.values()] == [0, 0]
        for symbol in SYMBOLS:
            seen = bench.follower.trades[symbol]
            ids = sorted(seen)
            assert ids == list(range(ids[0], ids[-1] + 1))
            async with (
                aiohttp.ClientSession(bench.simulator.rest_url) as client,
                client.get(f"/sim/trades?symbol={symbol}&from={ids[0]}&limit={len(ids)}") as answer,
            ):
                assert await answer.json() == [seen[trade_id] for trade_id in ids]


async def test_messages_tell_the_story_of_a_session_in_order() -> None:
    async with running() as bench:
        await bench.until(bench.books_good)
        await asyncio.sleep(0.35)
    messages = bench.sink.messages
    assert [message.ts_recv_ns for message in messages] == sorted(message.ts_recv_ns for message in messages)
    of_feed = [message for message in messages if message.connection == 0]
    assert {message.kind for message in of_feed} == {MessageKind.STATE, MessageKind.REST, MessageKind.TIMER}
    assert json.loads(of_feed[0].body) == {"event": "started"}, "what belongs to no session"
    assert {message.connection for message in messages if message not in of_feed} == {1}
    assert bench.states("connected")[0]["streams"] == [
        f"{symbol.lower()}@{stream}" for symbol in SYMBOLS for stream in ("trade", "bookTicker", "depth@100ms")
    ]
    kinds = [message.kind for message in messages]
    assert kinds[0] is MessageKind.STATE, "nothing comes before the connection it came from"
    rest = [message for message in messages if message.kind == MessageKind.REST]
    assert sorted((message.connection, message.context) for message in rest) == [
        (0, b"/api/v3/exchangeInfo?symbols=%5B%22BTCUSDT%22,%22ETHUSDT%22%5D"),
        (1, b"/api/v3/depth?symbol=BTCUSDT&limit=1000"),
        (1, b"/api/v3/depth?symbol=ETHUSDT&limit=1000"),
    ]
    events = [json.loads(message.body)["event"] for message in messages if message.kind == MessageKind.STATE]
    assert events == ["started", "connected", "subscribed", "disconnected"]
    assert bench.states("disconnected")[0]["reason"] == "stopped"
    timers = [message for message in messages if message.kind == MessageKind.TIMER]
    assert {(message.context, message.body) for message in timers} == {(b"", b"")}
    steps = {after.ts_recv_ns // 10**8 - before.ts_recv_ns // 10**8 for before, after in pairwise(timers)}
    assert steps <= {1, 2}, "timers stand on full tenths of a second"


async def test_a_lost_diff_is_healed_by_a_snapshot() -> None:
    async with running() as bench:
        await bench.until(bench.books_good)
        await bench.fault(kind="drop", stream="btcusdt@depth@100ms")
        book = bench.follower.book("BTCUSDT")
        await bench.until(lambda: book.gap_count == 1)
        assert await bench.until(bench.books_good) < 1.0
        await bench.equals_the_venue()


async def test_malformed_frames_are_written_as_they_came_and_stop_nothing() -> None:
    async with running() as bench:
        await bench.until(bench.books_good)
        await bench.fault(kind="malformed", count=4, stream="*@trade")
        await bench.until(lambda: bench.follower.malformed_count == 4)
        await bench.fault(kind="malformed", count=1, stream="ethusdt@depth@100ms")
        await bench.until(lambda: bench.follower.malformed_count == 5)
        await bench.until(lambda: bench.follower.book("ETHUSDT").gap_count == 1)
        await bench.until(bench.books_good)
        await bench.equals_the_venue()
        assert bench.states("disconnected") == []


@pytest.mark.parametrize(
    ("kind", "reason"), [("disconnect", "connection lost"), ("close", "closed by venue: 1001 going away")]
)
async def test_after_a_disconnect_books_are_good_again_within_a_second(kind: str, reason: str) -> None:
    """Method: median of three, so that one interruption by the machine does not decide."""
    took = []
    async with running(stable_after_s=0.0) as bench:
        await bench.until(bench.books_good)
        for ended in range(1, 4):
            await bench.fault(kind=kind)
            await bench.until(lambda ended=ended: len(bench.states("disconnected")) == ended)  # type: ignore[misc]
            subscribed = ended + 1
            took.append(
                await bench.until(
                    lambda subscribed=subscribed: (  # type: ignore[misc]
                        len(bench.states("subscribed")) == subscribed and bench.books_good()
                    )
                )
            )
            await bench.equals_the_venue()
        assert {state["reason"] for state in bench.states("disconnected")} == {reason}
        assert bench.connector.status().connection == 4
        after = [message.connection for message in bench.sink.messages if message.kind == MessageKind.WS]
        assert after == sorted(after)
    assert median(took) < 1.0


async def test_a_campaign_of_faults_ends_with_the_venues_books() -> None:
    """Method: seeded drops, malformed frames and disconnects, then both sides compared whole."""
    choose = random.Random(77)
    async with running(stable_after_s=0.2) as bench:
        await bench.until(bench.books_good)
        for _ in range(12):
            stream = f"{choose.choice(SYMBOLS).lower()}@depth@100ms"
            kind = choose.choice(["drop", "malformed", "disconnect", "duplicate", "reorder"])
            await bench.fault(kind=kind, stream=stream, count=choose.randint(1, 2))
            await asyncio.sleep(choose.uniform(0.05, 0.4))
            bench.follow()
        await bench.until(lambda: not bench.simulator.faults.pending and bench.books_good())
        await asyncio.sleep(0.3)
        await bench.until(bench.books_good)
        await bench.equals_the_venue()
        assert bench.connector.status().session_count > 1


async def test_a_silent_session_is_given_up_and_a_quiet_one_is_not() -> None:
    """A quiet stream answers our ping; a stalled one answers nothing."""
    quiet = VenueOptions(symbols=SYMBOLS, rate=0.001, seed=2)
    async with running(quiet, ping_after_s=0.2, stalled_after_s=0.5) as bench:
        await bench.until(lambda: bool(bench.states("subscribed")))
        await asyncio.sleep(1.2)
        assert bench.states("disconnected") == []
    async with running(ping_after_s=0.2, stalled_after_s=0.5) as bench:
        await bench.until(bench.books_good)
        await bench.fault(kind="stall", seconds=5, connection=1)
        took = await bench.until(lambda: bool(bench.states("disconnected")))
        assert took < 1.5
        assert bench.states("disconnected")[0]["reason"].startswith("stalled: no frame for 0.")
        await bench.until(lambda: len(bench.states("subscribed")) == 2 and bench.books_good())


async def test_pings_of_the_venue_are_answered() -> None:
    async with running(limits=VenueLimits(ping_interval_s=0.3, pong_timeout_s=0.5)) as bench:
        await bench.until(bench.books_good)
        await asyncio.sleep(1.3)
        assert bench.states("disconnected") == []


async def test_a_shutdown_notice_is_obeyed_at_once() -> None:
    async with running(stable_after_s=0.0) as bench:
        await bench.until(bench.books_good)
        await bench.fault(kind="shutdown", seconds=5, connection=1)
        await bench.until(lambda: bool(bench.states("disconnected")))
        assert await bench.until(lambda: len(bench.states("connected")) == 2) < 0.2
        assert bench.states("disconnected")[0]["reason"] == "server shutdown"
        await bench.until(bench.books_good)


async def test_rotation_changes_over_without_losing_a_trade() -> None:
    async with running(rotate_after_s=0.6) as bench:
        await bench.until(lambda: len(bench.states("connected")) >= 4)
        await bench.until(bench.books_good)
        for symbol in SYMBOLS:
            ids = sorted(bench.follower.trades[symbol])
            assert ids == list(range(ids[0], ids[-1] + 1))
    reasons = {state["reason"] for state in bench.states("disconnected")}
    assert reasons == {"rotation", "stopped"}
    frames = [message.connection for message in bench.sink.messages if message.kind == MessageKind.WS]
    assert frames == sorted(frames), "no frame of a retired session follows one of its successor"


async def test_the_venues_stop_sign_is_obeyed() -> None:
    async with running() as bench:
        await bench.until(bench.books_good)
        await bench.fault(kind="rest", status=429, seconds=1)
        began = time.monotonic()
        await bench.connector.request_snapshot("BTCUSDT")
        assert 0.9 < time.monotonic() - began < 5.0
        assert bench.states("snapshot_failed")[0]["reason"].startswith("HTTP 429: ")
        await bench.fault(kind="rest", status=503)
        await bench.connector.request_snapshot("BTCUSDT")
        assert [state["symbol"] for state in bench.states("snapshot_failed")] == ["BTCUSDT", "BTCUSDT"]
        assert bench.connector.status().snapshot_count == 4


async def test_snapshot_requests_for_one_symbol_share_one_fetch() -> None:
    async with running() as bench:
        await bench.until(bench.books_good)
        await asyncio.gather(*(bench.connector.request_snapshot("ETHUSDT") for _ in range(20)))
        assert bench.connector.status().snapshot_count == 3
        with pytest.raises(VenueError, match="DOGEUSDT"):
            await bench.connector.request_snapshot("DOGEUSDT")


async def test_an_unreachable_venue_is_tried_again_with_growing_delays() -> None:
    async with Simulator(VenueOptions()) as simulator:
        port = simulator.port
    sink = MemorySink()
    options = ConnectorOptions(symbols=SYMBOLS, first_retry_s=0.02, max_retry_s=0.1, seed=3)
    connector = Connector(Binance(Binance.local(port)), options, sink)
    job = asyncio.create_task(connector.run())
    await asyncio.sleep(0.5)
    async with Simulator(VenueOptions(rate=500), port=port):
        bench = LiveFeed(simulator, connector, sink)
        await bench.until(bench.books_good)
        job.cancel()
        with suppress(asyncio.CancelledError):
            await job
    delays = [state["retry_s"] for state in bench.states("connect_failed")]
    assert len(delays) >= 4
    assert delays[0] <= 0.02
    assert max(delays) <= 0.1
    assert "Connect call failed" in bench.states("connect_failed")[0]["reason"]


async def test_subscriptions_resume_after_a_restart_with_a_new_connection_number(tmp_path: Path) -> None:
    state_file = tmp_path / "feeds" / "binance.json"
    async with running(state_file=state_file, symbols=("BTCUSDT",)) as bench:
        await bench.until(lambda: bool(bench.states("subscribed")))
        await bench.connector.subscribe(["ethusdt", "BTCUSDT"])
        await bench.until(lambda: bench.books_good() and len(bench.states("subscribed")) == 2)
        await bench.equals_the_venue()
    async with running(state_file=state_file, symbols=None) as bench:
        await bench.until(bench.books_good)
        assert bench.connector.status().symbols == SYMBOLS
        assert {message.connection for message in bench.sink.messages} == {0, 2}
        await bench.connector.unsubscribe(["BTCUSDT"])
        assert bench.states("unsubscribed")[0]["streams"][0] == "btcusdt@trade"
        await asyncio.sleep(0.1)
        mark = len(bench.sink.messages)
        await asyncio.sleep(0.3)
        assert not any(b"btcusdt" in message.body for message in bench.sink.messages[mark:])
    async with running(state_file=state_file, symbols=None) as bench:
        assert bench.connector.status().symbols == ("ETHUSDT",)


async def test_no_frame_waits_for_the_disk_that_keeps_numbers_of_sessions_and_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Method: the file is written by a disk that answers when the test lets it."""
    disk, asked = threading.Event(), threading.Event()
    disk.set()

    def replace_slowly(path: Path, data: bytes) -> None:
        asked.set()
        assert disk.wait(20), "everything waits for the disk"
        replace_durably(path, data)

    monkeypatch.setattr("tidebook.feeds.subscriptions.replace_durably", replace_slowly)
    state_file = tmp_path / "binance.json"

    async with running(
        state_file=state_file, symbols=("BTCUSDT",), symbols_per_connection=1, stable_after_s=0.0
    ) as bench:
        await bench.until(lambda: bool(bench.states("subscribed")))

        async def frames_go_on() -> None:
            await bench.until(asked.is_set)
            mark = len(bench.sink.messages)
            kinds = {MessageKind.WS, MessageKind.TIMER}
            await bench.until(lambda: {message.kind for message in bench.sink.messages[mark:]} >= kinds)

        asked.clear()
        disk.clear()
        change = asyncio.create_task(bench.connector.subscribe(["ETHUSDT"]))
        gone = asyncio.create_task(bench.connector.unsubscribe(["ETHUSDT"]))
        await frames_go_on()
        assert bench.connector.status().symbols == ("BTCUSDT",), "what is not on disk does not count"
        # Who asked is gone; what was begun is done, and in its order.
        change.cancel()
        disk.set()
        with suppress(asyncio.CancelledError):
            await change
        await gone
        assert bench.connector.status().symbols == ("BTCUSDT",)
        await bench.connector.subscribe(["ETHUSDT"])
        await bench.until(bench.books_good)
        # A new session's number is waited for by its own connection alone.
        asked.clear()
        disk.clear()
        await bench.fault(kind="disconnect", stream="ethusdt@trade")
        await frames_go_on()
        disk.set()
        await bench.until(lambda: bench.connector.status().connected and bench.books_good())
        number = bench.connector.status().connection
    kept = SubscriptionsFile(state_file).load()
    assert kept == Subscriptions(symbols=SYMBOLS, connection=number)


async def test_many_streams_are_subscribed_partly_by_message() -> None:
    """157 streams do not fit the request target; the rest follows in requests the venue answers."""
    symbols = (*SYMBOLS, *(f"COIN{number}USDT" for number in range(51)))
    async with running(symbols=symbols) as bench:
        await bench.until(lambda: bool(bench.states("subscribed")), seconds=10)
        async with (
            aiohttp.ClientSession(bench.simulator.rest_url) as client,
            client.get("/sim/status") as answer,
        ):
            assert len((await answer.json())["connections"][0]["streams"]) == 159


async def test_a_failing_sink_ends_the_connector_with_its_error() -> None:
    class FullDisk(MemorySink):
        def write(self, ts_recv_ns: int, connection: int, kind: int, context: bytes, body: bytes) -> None:
            if len(self.messages) >= 50:
                raise OSError(28, "No space left on device")
            super().write(ts_recv_ns, connection, kind, context, body)

    async with Simulator(VenueOptions(rate=1_000)) as simulator:
        protocol = Binance(Binance.local(simulator.port))
        with pytest.raises(OSError, match="No space left"):
            async with asyncio.timeout(5):
                await Connector(protocol, ConnectorOptions(symbols=SYMBOLS), FullDisk()).run()


async def test_a_connector_that_is_cancelled_while_it_ends_leaves_no_client_open() -> None:
    """Its journal ended it, and the node saw the same: at each of the first steps of its ending."""

    class FullDisk(MemorySink):
        def __init__(self) -> None:
            super().__init__()
            self.full = asyncio.Event()

        def write(self, ts_recv_ns: int, connection: int, kind: int, context: bytes, body: bytes) -> None:
            if len(self.messages) >= 20:
                self.full.set()
                raise OSError(28, "No space left on device")
            super().write(ts_recv_ns, connection, kind, context, body)

    said: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: said.append(context["message"]))
    async with Simulator(VenueOptions(rate=1_000)) as simulator:
        for steps in range(12):
            sink = FullDisk()
            connector = Connector(Binance(Binance.local(simulator.port)), ConnectorOptions(symbols=SYMBOLS), sink)
            job = asyncio.create_task(connector.run())
            await sink.full.wait()
            for _ in range(steps):
                await asyncio.sleep(0)
            job.cancel()
            await asyncio.wait([job])
            assert job.cancelled() or isinstance(job.exception(), OSError)
            del connector, job
            gc.collect()
            assert not said, f"cancelled {steps} steps after the failure"


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A self-signed certificate for 127.0.0.1 with its key in one file."""
    path = tmp_path / "certificate.pem"
    request = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=simulator"
    command = [*request.split(), "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", "-"]
    path.write_bytes(subprocess.run(command, check=True, capture_output=True).stdout)
    return path


async def test_wss_and_https_are_verified(certificate: Path) -> None:
    venue_tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    venue_tls.load_cert_chain(certificate)
    async with running(venue_tls=venue_tls, tls=ssl.create_default_context(cafile=certificate)) as bench:
        await bench.until(bench.books_good)
        assert bench.states("connected")[0]["url"].startswith("wss://127.0.0.1:")
        await bench.equals_the_venue(ssl.create_default_context(cafile=certificate))
    async with running(venue_tls=venue_tls) as stranger:
        await stranger.until(lambda: bool(stranger.states("connect_failed")))
        assert "CERTIFICATE_VERIFY_FAILED" in stranger.states("connect_failed")[0]["reason"]


def open_files() -> set[str]:
    return {path.name for path in Path("/proc/self/fd").iterdir()}


async def test_no_socket_and_no_task_is_left_behind() -> None:
    gc.collect()  # what tests before this one left is not closed in the middle of it
    before = open_files()
    async with running(stable_after_s=0.0) as bench:
        await bench.until(bench.books_good)
        for number in range(2, 5):
            await bench.fault(kind="disconnect")
            await bench.until(lambda number=number: len(bench.states("subscribed")) == number)  # type: ignore[misc]
    await asyncio.sleep(0.05)
    assert [task for task in asyncio.all_tasks() if task is not asyncio.current_task()] == []
    assert open_files() == before


async def test_a_step_of_the_wall_clock_is_a_message(monkeypatch: pytest.MonkeyPatch) -> None:
    """Method: the connector's wall clock jumps by an hour, the steady one does not."""
    real = time.time_ns
    async with running() as bench:
        await bench.until(bench.books_good)
        monkeypatch.setattr("tidebook.feeds.connector.time.time_ns", lambda: real() + 3_600_000_000_000)
        await bench.until(lambda: bool(bench.states("clock_stepped")))
        monkeypatch.undo()
        await bench.until(lambda: len(bench.states("clock_stepped")) == 2)
    forth, back = (state["step_ns"] for state in bench.states("clock_stepped"))
    assert forth == pytest.approx(3_600_000_000_000, abs=10_000_000)
    assert back == pytest.approx(-3_600_000_000_000, abs=10_000_000)


async def test_a_start_before_the_newest_message_of_the_feed_says_that_the_clock_was_stepped() -> None:
    hour_ns = 3_600_000_000_000
    async with running(last_ts_recv_ns=time.time_ns() + hour_ns) as bench:
        await bench.until(bench.books_good)
        assert bench.states("clock_stepped")[0]["step_ns"] == pytest.approx(-hour_ns, rel=0.01)
        kinds = [json.loads(message.body)["event"] for message in bench.sink.messages[:2]]
        assert kinds == ["clock_stepped", "started"]
    async with running(last_ts_recv_ns=time.time_ns()) as bench:
        await bench.until(bench.books_good)
        assert bench.states("clock_stepped") == []


def test_settings_become_a_connector_of_the_real_venue() -> None:
    connector = build_connector("binance", BinanceSettings(symbols=("btcusdt",)), MemorySink())
    assert connector.protocol.endpoints == Endpoints("wss://stream.binance.com:9443", "https://api.binance.com")
    assert connector.protocol.routes[0].streams == ("trade", "bookTicker", "depth@100ms")
    assert connector.status().symbols == ("BTCUSDT",)
    section = BinanceSettings(symbols=("BTCUSDT",), ws_url="ws://127.0.0.1:1/", symbols_per_connection=1)
    connector = build_connector("binance", section, MemorySink(), symbols=SYMBOLS)
    assert connector.protocol.endpoints.ws == "ws://127.0.0.1:1"
    assert [line.symbols for line in connector.status().lines] == [("BTCUSDT",), ("ETHUSDT",)]


@pytest.mark.parametrize("number", [-5, 1 << 32])
def test_a_connection_number_that_no_message_carries_is_damage_of_the_file(tmp_path: Path, number: int) -> None:
    file = tmp_path / "binance.json"
    file.write_text(json.dumps({"version": 1, "symbols": ["BTCUSDT"], "connection": number}))
    with pytest.raises(
        SubscriptionsError, match=r"not a list of subscriptions .* delete it and name the symbols again"
    ):
        Connector(Binance(Binance.local(1)), ConnectorOptions(state_file=file), MemorySink())


def test_options_that_cannot_be_are_named(tmp_path: Path) -> None:
    protocol = Binance(Binance.local(1))
    with pytest.raises(ConfigError, match="'BTC/USDT' is no Binance symbol"):
        Connector(protocol, ConnectorOptions(symbols=("BTC/USDT",)), MemorySink())

    class Narrow(Binance):
        limits = replace(Binance.limits, streams_per_connection=2)

    greedy = Narrow(Binance.local(1), ["trade", "aggTrade", "bookTicker"])
    with pytest.raises(ConfigError, match="3 streams a symbol exceed the 2 that binance allows"):
        Connector(greedy, ConnectorOptions(symbols=SYMBOLS), MemorySink())
    with pytest.raises(ConfigError, match="no symbols are named"):
        Connector(protocol, ConnectorOptions(), MemorySink())
    damaged = tmp_path / "binance.json"
    for content, why in ((b"{", "not a list of subscriptions"), (b'{"version":2}', "version 2")):
        damaged.write_bytes(content)
        with pytest.raises(SubscriptionsError, match=why):
            Connector(protocol, ConnectorOptions(state_file=damaged), MemorySink())


def test_delays_double_up_to_their_bound_and_start_anew_after_success() -> None:
    backoff = Backoff(0.1, 1.0, random.Random(5))
    delays = [backoff.next_s() for _ in range(50)]
    for number, delay in enumerate(delays):
        full = min(1.0, 0.1 * 2**number)
        assert full / 2 <= delay <= full
    backoff.reset()
    assert backoff.next_s() <= 0.1


async def test_symbols_over_several_sockets_are_one_feed(tmp_path: Path) -> None:
    """Two symbols on two sockets, one cut off: the other goes on, and both books are the venue's own."""
    state_file = tmp_path / "binance.json"
    async with running(symbols_per_connection=1, stable_after_s=0.0, state_file=state_file) as bench:
        await bench.until(bench.books_good)
        opened = {state["streams"][0]: state for state in bench.states("connected")}
        assert opened.keys() == {"btcusdt@trade", "ethusdt@trade"}
        await bench.fault(kind="disconnect", stream="btcusdt@*")
        await bench.until(lambda: len(bench.states("connected")) == 3 and bench.books_good())
        assert [state["reason"] for state in bench.states("disconnected")] == ["connection lost"]
        assert bench.follower.book("ETHUSDT").gap_count == 0
        await bench.equals_the_venue()
        status = bench.connector.status()
        assert (status.connected, status.connection, status.session_count) == (True, 3, 3)
        assert [line.symbols for line in status.lines] == [("BTCUSDT",), ("ETHUSDT",)]
        ids = sorted(bench.follower.trades["ETHUSDT"])
        assert ids == list(range(ids[0], ids[-1] + 1))
    frames = [message for message in bench.sink.messages if message.kind == MessageKind.WS]
    by_symbol = {
        symbol: {message.connection for message in frames if f'"s":"{symbol}"'.encode() in message.body}
        for symbol in SYMBOLS
    }
    assert by_symbol["BTCUSDT"].isdisjoint(by_symbol["ETHUSDT"])
    snapshots = [message for message in bench.sink.messages if b"depth?" in message.context]
    assert {(m.connection, m.context[21:28].decode()) for m in snapshots} == {
        (number, symbol) for symbol, numbers in by_symbol.items() for number in numbers
    }, "a snapshot belongs to the session that feeds the book"


async def test_a_socket_is_opened_and_closed_with_the_symbols_that_need_it() -> None:
    async with running(symbols=("BTCUSDT",), symbols_per_connection=1) as bench:
        await bench.until(lambda: bool(bench.states("subscribed")))
        await bench.connector.subscribe(["ETHUSDT"])
        await bench.until(lambda: len(bench.states("subscribed")) == 2 and bench.books_good())
        assert [line.connection for line in bench.connector.status().lines] == [1, 2]
        await bench.connector.unsubscribe(["ETHUSDT"])
        assert bench.states("disconnected")[-1]["reason"] == "nothing left to carry"
        assert [line.symbols for line in bench.connector.status().lines] == [("BTCUSDT",)]
        with pytest.raises(VenueError, match="ETHUSDT"):
            await bench.connector.request_snapshot("ETHUSDT")
        await bench.connector.subscribe(["ethusdt"])
        await bench.until(lambda: len(bench.states("connected")) == 3)


async def test_a_symbol_added_while_a_connection_opens_is_not_forgotten() -> None:
    async with running(symbols=("BTCUSDT",)) as bench:
        while bench.connector.status().connection == 0:  # noqa: ASYNC110 - each turn of the loop counts
            await asyncio.sleep(0)
        adding = asyncio.create_task(bench.connector.subscribe(["ETHUSDT"]))
        await asyncio.sleep(0)
        assert not bench.states("connected"), "it is under way, and its address named one symbol"
        await bench.until(bench.books_good)
        await adding
        assert bench.states("subscribed")[-1]["streams"][-1] == "ethusdt@depth@100ms"
        await bench.equals_the_venue()


def test_symbols_are_spread_evenly_over_as_few_sockets_as_will_do() -> None:
    names = tuple(f"S{number}" for number in range(1_000))
    connector = Connector(Binance(Binance.local(1)), ConnectorOptions(symbols=names), MemorySink())
    lines = [line.symbols for line in connector.status().lines]
    assert [len(line) for line in lines] == [333, 333, 334], "1,024 streams allow 341 symbols of three"
    assert tuple(symbol for line in lines for symbol in line) == names
    fewer = ConnectorOptions(symbols=names, symbols_per_connection=100)
    assert len(Connector(Binance(Binance.local(1)), fewer, MemorySink()).status().lines) == 10


def test_snapshots_have_as_many_levels_as_the_budget_gives_all_symbols() -> None:
    protocol = Binance(Binance.local(1))
    targets = {count: protocol.snapshot_request("BTCUSDT", count).target for count in (1, 100, 101, 201, 5_000)}
    assert [target.rpartition("=")[2] for target in targets.values()] == ["1000", "1000", "500", "100", "100"]
