"""A recording goes in by replay, exactly its trades come out, whatever interrupts it."""

import gzip
import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import tidebook as tb
from tests.node.test_feed_snapshots import Feed
from tidebook._core import FeedChannel
from tidebook.errors import CaptureLogError, JournalDamagedError, StorageConflictError
from tidebook.feeds.capture_log import FILE_NAME, CaptureLog
from tidebook.node.feed_snapshots import SnapshotOptions
from tidebook.node.recordings import RecordingJournal, Recordings
from tidebook.node.replay import replay, replay_into

KILLS_SCRIPT = Path(__file__).parent / "replay_kills.py"
BTCUSDT = ("binance-spot/btcusdt-20240808.log.zst", "binance-spot/btcusdt-20240809.log.zst")


def trades_of(*paths: Path) -> list[tuple[int, Decimal, Decimal, int, int, int]]:
    """The trades of hftbacktest captures, read with nothing of ours: id, price, size, side, venue ns, receive ns."""
    trades = []
    for path in paths:
        compression = "zstd" if path.suffix == ".zst" else None
        with pa.input_stream(path, compression=compression) as stream:
            for line in stream.read().splitlines():
                received, _, text = line.partition(b" ")
                data = json.loads(text).get("data", {})
                if data.get("e") == "trade":
                    side = -1 if data["m"] else 1
                    trades.append(
                        (data["t"], Decimal(data["p"]), Decimal(data["q"]), side, data["T"] * 1_000_000, int(received))
                    )
    return trades


def stored_trades(data: Path) -> list[tuple[int, Decimal, Decimal, int, int, int]]:
    frame = tb.open(data).scan("trades").collect()
    scale = Decimal(10) ** -8
    columns = [
        frame["trade_id"].to_list(),
        [Decimal(repr(price)).quantize(scale) for price in frame["price"].to_list()],
        [Decimal(repr(size)).quantize(scale) for size in frame["size"].to_list()],
        [{"buy": 1, "sell": -1}.get(side, side) for side in frame["side"].to_list()],
        frame["ts_event"].dt.timestamp("ns").to_list(),
        frame["ts_recv"].dt.timestamp("ns").to_list(),
    ]
    return list(zip(*columns, strict=True))


@pytest.fixture
def market(tmp_path: Path) -> Path:
    """A synthetic capture of 40,000 messages: a snapshot, then diffs, tickers and trades that fit each other."""
    lines = []
    ts = 1_723_161_254_000_000_000

    def add(stream: str | None, body: dict[str, Any]) -> None:
        nonlocal ts
        ts += 1_000_000
        lines.append(f"{ts} {json.dumps(body if stream is None else {'stream': stream, 'data': body})}\n")

    add("btcusdt@depth@100ms", diff(100))
    add(None, {"lastUpdateId": 100, "bids": [["10.00000000", "1.00000000"]], "asks": [["10.01000000", "1.00000000"]]})
    for n in range(1, 20_000):
        add("btcusdt@depth@100ms", diff(100 + n))
        trade = {"e": "trade", "E": ts // 1_000_000, "s": "BTCUSDT", "t": n, "p": "10.01000000", "q": f"0.{n:08d}"}
        add("btcusdt@trade", trade | {"T": ts // 1_000_000, "m": n % 3 == 0, "M": True})
    path = tmp_path / "btcusdt.log"
    path.write_text("".join(lines))
    return path


def diff(id: int) -> dict[str, Any]:
    levels = {"b": [["10.00000000", f"{1 + id % 5}.00000000"]], "a": [["10.01000000", f"{1 + id % 3}.50000000"]]}
    return {"e": "depthUpdate", "E": 1_723_161_254_000, "s": "BTCUSDT", "U": id, "u": id} | levels


def test_a_store_holds_exactly_the_trades_of_the_recording(tmp_path: Path, market: Path) -> None:
    report = replay_into(tmp_path / "data", Recordings([market]))
    assert (report.messages, report.stored, report.gaps, report.checks_failed) == (40_000, 40_000, 0, 0)
    assert stored_trades(tmp_path / "data") == trades_of(market)
    assert tb.open(tmp_path / "data").verify().ok


def test_a_second_replay_adds_nothing(tmp_path: Path, market: Path) -> None:
    first = replay_into(tmp_path / "data", Recordings([market]))
    again = replay_into(tmp_path / "data", Recordings([market]))
    assert (again.rows, again.new, again.messages) == ({}, 0, 40_000)
    assert again.state_hash == first.state_hash == replay(Recordings([market])).state_hash
    assert stored_trades(tmp_path / "data") == trades_of(market)


def test_a_recording_is_known_in_another_compression_and_under_another_name(tmp_path: Path, market: Path) -> None:
    data = tmp_path / "data"
    replay_into(data, Recordings([market]))
    packed = tmp_path / "btcusdt-again.log.gz"
    packed.write_bytes(gzip.compress(market.read_bytes()))
    again = replay_into(data, Recordings([packed]))
    assert (again.rows, again.stored) == ({}, 40_000)
    assert len(CaptureLog(data / "journal/feed.binance").captures) == 1


def test_a_replay_that_an_older_release_interrupted_goes_on_and_is_known_by_its_content(
    tmp_path: Path, market: Path
) -> None:
    """Method: a log as version 1 wrote it, with the hash of the compressed file; then the same content plain."""
    data, packed = tmp_path / "data", tmp_path / "btcusdt.log.gz"
    packed.write_bytes(gzip.compress(market.read_bytes()))
    with RecordingJournal(data, Recordings([packed])) as journal:
        next(journal.take_in())
    log = data / "journal/feed.binance" / FILE_NAME
    digest = hashlib.blake2b(packed.read_bytes(), digest_size=16).hexdigest()
    old = {"name": "btcusdt.log.gz", "digest": digest, "first_sequence": 1, "message_count": None}
    log.write_text(json.dumps({"version": 1, "captures": [old]}))
    assert replay_into(data, Recordings([packed])).stored == 40_000
    assert stored_trades(data) == trades_of(market)
    assert json.loads(log.read_text())["version"] == 2
    assert replay_into(data, Recordings([market])).rows == {}


@pytest.mark.parametrize(("seed", "kills"), [(1, 12), pytest.param(2, 1_000, marks=pytest.mark.soak)])
def test_killed_at_random_moments_and_resumed_it_holds_exactly_the_trades(
    tmp_path: Path, market: Path, seed: int, kills: int
) -> None:
    """Children of one process are killed with SIGKILL after up to 250 ms; the last one may finish. With as many kills
    as the replay is short it starts over in a new directory.
    """
    expected = trades_of(market)
    done = rounds = 0
    while done < kills:
        rounds += 1
        data = tmp_path / f"data-{rounds}"
        words = [str(market), str(data), str(seed * 1_000 + rounds), str(kills - done)]
        result = subprocess.run([sys.executable, KILLS_SCRIPT, *words], capture_output=True, text=True, check=False)
        assert result.returncode == 0, f"seed {words[2]}: {result.stderr}"
        done += int(result.stdout.split()[-1])
        assert stored_trades(data) == expected, f"seed {words[2]}"
        assert tb.open(data).verify().ok


def test_the_recorded_exchange_goes_in_and_exactly_its_trades_come_out(tmp_path: Path, recordings: Path) -> None:
    paths = [recordings / name for name in BTCUSDT]
    words = ["replay", *map(str, paths), "--data", str(tmp_path / "data"), "--json"]
    result = subprocess.run([sys.executable, "-m", "tidebook", *words], capture_output=True, check=True)
    report = json.loads(result.stdout)
    oracles = {oracle["name"]: (oracle["passed"], oracle["failed"]) for oracle in report["oracles"]}
    assert oracles["binance.depth_chain"] == (6_494, 0)
    assert oracles["binance.book_ticker"][0] >= 6_490
    assert oracles["binance.book_ticker"][1] == 2
    assert oracles["binance.trade_ids"] == (19_903, 0)
    assert (report["messages"], report["gaps"]) == (99_574, 0)
    assert report["checks_passed"] == sum(passed for passed, _ in oracles.values())
    assert stored_trades(tmp_path / "data") == trades_of(*paths)


@pytest.mark.parametrize(
    ("names", "oracle", "count"),
    [
        (["binance-usdm/btcusdt-20240808.log.zst"], "binance.book_ticker", 6_546),
        ([f"binance-usdm/btcusdt-{day}.log.zst" for day in (20230404, 20230405)], "binance.depth_chain", 16_109),
        ([f"binance-usdm/multi-20210722.{part}.log.zst" for part in ("http", "ws")], "binance.depth_chain", 760),
        ([f"binance-coinm/btcusd_perp-{day}.log.zst" for day in (20240808, 20240809)], "binance.depth_chain", 44_794),
        ([f"binance-us/multi-20211012.{part}.log.zst" for part in ("http", "ws")], "binance.depth_chain", 332),
        (
            [f"binance-spot/multi-20211012.{part}.log.zst" for part in ("info", "http", "ws")],
            "binance.depth_chain",
            173,
        ),
        (["binance-spot/multi-20210404.log.zst"], "binance.depth_chain", 2_685),
        (["kraken-v2/kraken_btcusd_l2.cbcap.zst"], "kraken.book_checksum", 301),
        (["kraken-v2/kraken_btcusd_sample.cbcap.zst"], "kraken.book_checksum", 2_052),
        (["kraken-v2/kraken_xrpusd_sample.cbcap.zst"], "kraken.book_checksum", 1_147),
        (["kraken-v1/multi-20210417.book1000.log.zst"], "kraken-v1.book_checksum", 4_269),
        (
            [f"kraken-v1/multi-20210417.{part}.log.zst" for part in ("assetpairs", "ticker", "trade", "book1000")],
            "kraken-v1.book_checksum",
            4_269,
        ),
        (
            ["kraken-rest/xbtusdt-trades-20251110.json.zst", "kraken-rest/xbtusdt-ohlc-20251110.json.zst"],
            "kraken.ohlc",
            272,
        ),
        (["coinbase-advanced/btcusd-ethusd-20260809.jsonl.zst"], "coinbase.sequence_num", 611),
        (
            ["coinbase-exchange/products-20210417.log.zst", "coinbase-exchange/multi-20210417.log.zst"],
            "coinbase.trade_ids",
            36,
        ),
    ],
)
def test_recordings_pass_the_checks_of_their_venue(recordings: Path, names: list[str], oracle: str, count: int) -> None:
    report = replay(Recordings([recordings / name for name in names]))
    tallies = {entry["name"]: (entry["passed"], entry["failed"]) for entry in report.oracles}
    assert tallies[oracle] == (count, 0)
    # The one check that fails is of the ticker that comes with Coinbase's subscription; docs/feeds.md tells why.
    assert report.checks_failed == tallies.get("coinbase.ticker", (0, 0))[1]


@pytest.mark.parametrize(
    ("name", "instrument", "actions", "trades"),
    [
        ("l3-bitstamp/btcusd-20150501.log.zst", "BTC/USD.BITSTAMP", {1: 14_907, 2: 386, 5: 14_919}, 359),
        (
            "l3-lobster/aapl-20120621-message.csv.zst",
            "AAPL.LOBSTER",
            {1: 20_273, 3: 233, 4: 2_079 + 1_123, 5: 18_495},
            2_079 + 1_123,
        ),
    ],
)
def test_order_by_order_recordings_are_stored_event_by_event(
    tmp_path: Path, recordings: Path, name: str, instrument: str, actions: dict[int, int], trades: int
) -> None:
    report = replay_into(tmp_path / "data", Recordings([recordings / name]))
    assert (report.counters["malformed"], report.counters["unknown"]) == (0, 0)
    store = tb.open(tmp_path / "data")
    orders = store.scan("orders", instrument).collect()
    assert dict(orders.group_by("action").len().iter_rows()) == actions
    assert store.scan("trades", instrument).collect().height == trades


def test_what_was_exported_replays_to_the_same_state(tmp_path: Path, market: Path) -> None:
    def tidebook(*words: str) -> bytes:
        result = subprocess.run(
            [sys.executable, "-m", "tidebook", *words], cwd=tmp_path, capture_output=True, check=True
        )
        return result.stdout

    tidebook("record", market.name, "--data", "d")
    tidebook("export", "copy.tbcap.zst", "--data", "d")
    original, copy = (json.loads(tidebook("replay", name, "--json")) for name in (market.name, "copy.tbcap.zst"))
    facts = ("messages", "rows", "oracles", "counters", "state_hash")
    assert {fact: original[fact] for fact in facts} == {fact: copy[fact] for fact in facts}


def test_a_journal_behind_the_store_is_refused(tmp_path: Path, market: Path) -> None:
    """Somebody deletes the journal and keeps the Parquet files: going on would give old sequences to new messages."""
    data = tmp_path / "data"
    replay_into(data, Recordings([market]))
    for file in (data / "journal/feed.binance").iterdir():
        file.unlink()
    with pytest.raises((JournalDamagedError, StorageConflictError)):
        replay_into(data, Recordings([market]))


@pytest.mark.parametrize("proof", ["rows", "snapshot"])
@pytest.mark.parametrize("take_in", [replay_into, RecordingJournal])
def test_a_journal_that_lacks_what_rows_or_a_snapshot_prove_takes_no_recording_in(
    tmp_path: Path, market: Path, proof: str, take_in: Callable[[Path, Recordings], object]
) -> None:
    """Somebody puts the journal back to an older state; either proof alone is enough, for `record` as for `replay`."""
    data, older = tmp_path / "data", tmp_path / "older"
    feed = Feed(data, SnapshotOptions(interval_s=3600.0))
    feed.write(200)
    feed.writer.close()
    shutil.copytree(feed.journal, older)
    feed = Feed(data, SnapshotOptions(interval_s=3600.0))
    feed.write(100)
    feed.store()
    feed.writer.close()
    assert len(feed.snapshot_files()) == 1
    gone = [data / "snapshots"] if proof == "rows" else [data / "_manifest", data / "warm"]
    for path in [feed.journal, *gone]:
        shutil.rmtree(path)
    shutil.copytree(older, feed.journal)
    before = {path: path.read_bytes() for path in feed.journal.glob("*.segment")}
    with pytest.raises(JournalDamagedError, match="ends with message 200, and message 300 is known"):
        take_in(data, Recordings([market]))
    assert {path: path.read_bytes() for path in feed.journal.glob("*.segment")} == before


def test_an_interrupted_replay_goes_on_only_where_it_ended(tmp_path: Path, market: Path) -> None:
    """Other messages behind its first part would be taken for the rest of the recording."""
    data = tmp_path / "data"
    with RecordingJournal(data, Recordings([market])) as journal:
        next(journal.take_in())
    rings = tmp_path / "rings"
    rings.mkdir(mode=0o700)
    words = [sys.executable, "-m", "tidebook", "run", "--data", str(data), "--port", "0"]
    refused = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
    assert (refused.returncode, len(refused.stderr.splitlines())) == (1, 1)
    assert "the replay of btcusdt.log was interrupted; finish it first" in refused.stderr

    live = FeedChannel("feed.binance", rings, data / "journal/feed.binance")
    for _ in range(500):
        live.write(1_723_161_254_000_000_000, 1, 4, b"", b"")
    live.close()
    with pytest.raises(
        CaptureLogError, match=r"other messages follow it up to 16884, so it cannot be taken in whole here"
    ):
        replay_into(data, Recordings([market]))


def test_bad_input_is_one_line_and_no_traceback(tmp_path: Path) -> None:
    (tmp_path / "noise.log").write_bytes(b"\x00\x01\x02 no capture")
    (tmp_path / "empty.log").touch()
    (tmp_path / "cut.log.zst").write_bytes(bytes.fromhex("28b52ffd") + b"cut")
    for words, said in [
        (["noise.log"], "no capture format begins with"),
        (["empty.log"], "the capture is empty"),
        (["cut.log.zst"], "cannot be read"),
        (["nowhere.log"], "does not exist"),
        ([], "no recording named"),
    ]:
        result = subprocess.run(
            [sys.executable, "-m", "tidebook", "replay", *words],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert result.returncode in (1, 2), words
        assert said in result.stderr, result.stderr
        assert len(result.stderr.splitlines()) == 1, result.stderr
