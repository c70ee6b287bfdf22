"""The market-data engine from Python: several feeds, one set of channels, readers it does not wait for."""

import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import tidebook as tb
from tidebook._core import FeedChannel, MarketDataEngine
from tidebook.errors import ChannelUsageError
from tidebook.feeds.sink import MessageKind
from tidebook.node.metrics import node_metrics

START_NS = 1_700_000_000_000_000_000
WHOLE_FEED = (1 << 24) - 1


@pytest.fixture
def rings(tmp_path: Path) -> Path:
    directory = tmp_path / "rings"
    directory.mkdir(mode=0o700)
    return directory


def wait_for(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not done():
        assert time.monotonic() < deadline, "not within a minute"
        time.sleep(0.002)


def opened(tmp_path: Path, rings: Path, *venues: str) -> tuple[dict[str, FeedChannel], dict[str, Path]]:
    journals = {venue: tmp_path / "journal" / f"feed.{venue}" for venue in venues}
    return {venue: FeedChannel(f"feed.{venue}", rings, journals[venue]) for venue in venues}, journals


def write_trades(feed: FeedChannel, ids: range) -> int:
    """Sequence of the last."""
    sequence = 0
    for number in ids:
        body = (
            f'{{"e":"trade","E":1,"s":"BTCUSDT","t":{number},"p":"10.01","q":"0.5",'
            f'"T":{START_NS // 10**6},"m":false,"M":true}}'
        )
        sequence = feed.write(START_NS + number, 1, MessageKind.WS, b"", body.encode())
    return sequence


def trades(rings: Path) -> list[tuple[int, int]]:
    """(venue, trade id) of all that the channel holds."""
    with tb.open_consumer("md.trades", directory=rings, start="earliest") as consumer:
        batch = consumer.poll_batch(100_000)
        if batch is None:
            return []
        assert isinstance(batch, tb.Batch)
        with batch:
            return [(int(row["instrument_id"]) >> 24, int(row["trade_id"])) for row in batch.array]


def test_feeds_of_several_venues_are_published_into_one_set_of_channels(tmp_path: Path, rings: Path) -> None:
    feeds, journals = opened(tmp_path, rings, "binance", "binance-us")
    engine = MarketDataEngine(journals, rings, stages_every=8)
    assert engine.made_anew is None
    last = {venue: write_trades(feed, range(1, 30)) for venue, feed in feeds.items()}
    feeds["binance-us"].write(START_NS, 7, MessageKind.STATE, b"", b'{"event":"connected"}')
    last["binance-us"] += 1
    wait_for(lambda: all(engine.status()["feeds"][venue]["sequence"] == at for venue, at in last.items()))
    status = engine.status()
    assert status["live"]
    assert (status["failure"], status["messages"]) == (None, sum(last.values()))
    assert sorted(trades(rings)) == [(venue, number) for venue in (1, 5) for number in range(1, 30)]
    with tb.open_consumer("md.status", directory=rings, start="earliest") as consumer:
        batch = consumer.poll_batch(10)
        assert isinstance(batch, tb.Batch)
        with batch:
            told = [(int(row["instrument_id"]), int(row["found"])) for row in batch.array]
    assert told == [(5 << 24 | WHOLE_FEED, 7)]
    latency = engine.latency()
    assert list(latency) == ["binance", "binance-us"]
    whole, published = latency["binance"]["received_published"], latency["binance"]["book_published"]
    # One message in eight is timed, whichever feed it is of.
    counts = [latency[venue]["received_published"]["count"] for venue in last]
    assert sum(counts) == sum(last.values()) // 8
    assert 0 < published["count"] <= whole["count"]
    assert sum(count for _, count in whole["buckets"]) == whole["count"]
    assert whole["p50_ns"] <= whole["p99_ns"] <= whole["max_ns"] == whole["buckets"][-1][0]
    engine.stop()
    for feed in feeds.values():
        feed.close()


def test_metrics_say_how_feeds_do_and_how_long_messages_take(tmp_path: Path, rings: Path) -> None:
    feeds, journals = opened(tmp_path, rings, "binance")
    engine = MarketDataEngine(journals, rings, stages_every=1)
    feed = feeds["binance"]
    feed.write(START_NS, 1, MessageKind.STATE, b"", b'{"event":"connected"}')
    write_trades(feed, range(1, 11))
    feed.write(START_NS + 10**9, 0, MessageKind.TIMER, b"", b"")
    last = feed.write(START_NS + 3 * 10**9, 0, MessageKind.TIMER, b"", b"")
    wait_for(lambda: engine.status()["feeds"]["binance"]["sequence"] == last)
    health = engine.status()["feeds"]["binance"]["health"]
    assert (health["interval_ns"], health["messages"], health["connections"]) == (2 * 10**9, 0, 1)
    assert (health["lag_min_ns"], health["clock_offset_ns"]) == (None, 1)
    found = {
        (sample.name, *sample.labels.values()): sample.value
        for metric in node_metrics([], engine)
        for sample in metric.samples
    }
    assert found["tidebook_feed_sessions", "binance"] == 1
    assert found["tidebook_feed_message_rate", "binance"] == 0
    assert found["tidebook_feed_clock_offset_seconds", "binance"] == 1e-9
    whole = ("binance", "received_published")
    assert found["tidebook_latency_seconds_count", *whole] == last
    # The messages of this test are years old: beyond every bound but the last.
    assert found["tidebook_latency_seconds_bucket", *whole, "5.0"] == 0
    assert found["tidebook_latency_seconds_bucket", *whole, "+Inf"] == last
    published = ("binance", "book_published")
    assert found["tidebook_latency_seconds_count", *published] == 10
    assert found["tidebook_latency_seconds_bucket", *published, "5.0"] == 10
    engine.stop()
    feed.close()


def test_a_reader_that_asks_the_engine_to_wait_is_refused_and_one_that_asks_nothing_is_overwritten(
    tmp_path: Path, rings: Path
) -> None:
    feeds, journals = opened(tmp_path, rings, "binance")
    engine = MarketDataEngine(journals, rings)
    with pytest.raises(ChannelUsageError, match="waits for nobody; join with overwrite"):
        tb.open_consumer("md.trades", directory=rings, policy="block")
    with tb.open_consumer("md.trades", "notebook", directory=rings) as still:
        last = write_trades(feeds["binance"], range(1, 20_001))
        wait_for(lambda: engine.status()["feeds"]["binance"]["sequence"] == last)
        missed = still.poll_batch(10)
        assert isinstance(missed, tb.Gap)
        assert missed.first == 1
    engine.stop()
    feeds["binance"].close()


def test_channels_ahead_of_a_journal_put_back_from_a_backup_are_made_anew(tmp_path: Path, rings: Path) -> None:
    feeds, journals = opened(tmp_path, rings, "binance")
    engine = MarketDataEngine(journals, rings)
    write_trades(feeds["binance"], range(1, 100))
    feeds["binance"].close()
    shutil.copytree(journals["binance"], tmp_path / "backup")
    engine.stop()
    feeds, journals = opened(tmp_path, rings, "binance")
    engine = MarketDataEngine(journals, rings)
    last = write_trades(feeds["binance"], range(100, 150))
    wait_for(lambda: engine.status()["feeds"]["binance"]["sequence"] == last)
    engine.stop()
    feeds["binance"].close()
    shutil.rmtree(journals["binance"])
    # As an image of the disk does: what tells a copy, which goes on in a new epoch, is not there.
    shutil.copytree(tmp_path / "backup", journals["binance"], ignore=shutil.ignore_patterns("birth"))
    (rings / "feed.binance.ring").unlink()
    feeds, journals = opened(tmp_path, rings, "binance")
    engine = MarketDataEngine(journals, rings)
    assert engine.made_anew == "they hold what followed from feed.binance up to 149, which ends at 99"
    last = write_trades(feeds["binance"], range(200, 240))
    wait_for(lambda: engine.status()["feeds"]["binance"]["sequence"] == last)
    assert trades(rings) == [(1, number) for number in range(200, 240)]
    engine.stop()
    feeds["binance"].close()
