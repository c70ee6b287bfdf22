"""Market data of the node's own venue: `md.*` is what its executions and its books say, whatever was restarted or lost."""

import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tidebook as tb
from tests.venue.market import opening, stream
from tidebook._core import (
    Follower,
    MarketDataEngine,
    SnapshotStore,
    VenueEngine,
    compact_journal,
    schemas,
    usable_market_data_snapshots,
)
from tidebook.api import MarketView
from tidebook.api.whole_book import WholeBook
from tidebook.errors import ChannelError, SnapshotError
from tidebook.feeds.status import StatusKind
from tidebook.node.rings import RingSource
from tidebook.venue import LAYOUTS, CommandKind, ExecutionKind, Records, Session, Side, commands, place, session

LOCAL = 12
NAMES = """{"format": "tidebook-venue-names", "version": 1, "assets": {"BTC": 1, "USD": 2}, "accounts": {},
 "instruments": {"BTC-USD.LOCAL": {"number": 1, "base": "BTC", "quote": "USD"}}}"""


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "not within a minute"
        time.sleep(0.002)


class Venue:
    """The engine of a venue with the market data engine over it, and what has come of them so far."""

    def __init__(self, directory: Path) -> None:
        self.rings, self.journal, self.names = directory / "rings", directory / "orders", directory / "names.json"
        self.snapshots = directory / "snapshots"
        self.rings.mkdir(mode=0o700)
        self.names.write_text(NAMES)
        self.sent = 0

    @contextmanager
    def running(self, shards: int = 1, layout: str | None = None, **options: Any) -> Iterator["Venue"]:
        room: dict[str, Any] = {"orders_max": 1 << 14, "accounts_max": 64, "instruments_max": 8} | options
        room["segment_size_bytes"] = 1 << 18
        self.engine = VenueEngine(
            self.rings, self.journal, shards=shards, layout=layout, snapshots_dir=self.snapshots, **room
        )
        beside = self.engine if layout == "together" else None
        of_venue = (self.journal, self.names)
        self.market_data = MarketDataEngine({}, self.rings, venue=of_venue, snapshots_dir=self.snapshots, beside=beside)
        try:
            yield self
        finally:
            self.market_data.stop()
            self.engine.stop()

    def send(self, batch: Records) -> None:
        """Sends a batch and waits until it is durable."""
        with tb.open_producer("orders.in", directory=self.rings) as producer:
            for first in range(0, len(batch), 500):
                producer.write_batch(batch[first : first + 500])
        self.sent += len(batch)
        until(lambda: self.engine.status()["source_sequence"] == self.sent)
        until(lambda: self.engine.status()["durable"] == self.engine.status()["sequence"])

    def save(self) -> int:
        """Takes a snapshot of the venue and one of its market data; the command they stand behind."""
        of_venue = SnapshotStore(self.snapshots / "orders" / "orders", "orders")
        of_market_data = SnapshotStore(self.snapshots / "orders" / "market_data", "market_data")
        followers = [
            Follower.of_venue(self.journal, of_venue),
            Follower.of_market_data(self.journal, self.names, of_market_data),
        ]
        taken = {found["place"]["sequence"] for follower in followers if (found := follower.snapshot())}
        for follower in followers:
            follower.stop()
        (sequence,) = taken
        return int(sequence)

    @property
    def sequence(self) -> int:
        sequence: int = self.engine.status()["sequence"]
        return sequence

    def settle(self) -> None:
        """Waits until market data is where the venue is."""
        until(lambda: self.market_data.status()["feeds"]["local"]["sequence"] == self.sequence)
        until(lambda: bool(self.market_data.status()["live"]))

    def held(self, channel: str) -> np.ndarray:
        """All records that a channel holds."""
        with tb.open_consumer(channel, directory=self.rings, start="earliest", policy="overwrite") as consumer:
            found = []
            while (batch := consumer.poll_batch(1 << 16)) is not None:
                assert isinstance(batch, tb.Batch), batch
                with batch:
                    found.append(batch.array.copy())
        return np.concatenate(found) if found else np.zeros(0, schemas()[channel.removeprefix("md.")].dtype())

    def assert_newest_images(self) -> tb.Venue:
        """The newest image of each book is the venue's own depth at the same command."""
        replica = tb.Venue.open(self.journal, snapshots=self.snapshots / "orders" / "orders")
        assert replica.sequence == self.sequence
        images = {int(row["instrument_id"]): row for row in self.held("md.book")}
        for index, number in enumerate(replica.instrument_ids()):
            image = images[LOCAL << 24 | index]
            assert image["usable"] == 1
            prices, sizes = replica.depth(number, 25)
            for row, side in enumerate(("bid", "ask")):
                there = sizes[row] > 0
                assert image[f"{side}_price"][image[f"{side}_size"] > 0].tolist() == prices[row][there].tolist()
                assert image[f"{side}_size"][image[f"{side}_size"] > 0].tolist() == sizes[row][there].tolist()
            assert image["venue_sequence"] == image["source_sequence"] <= replica.sequence
        return replica

    def assert_books(self) -> None:
        """So it is, and so is what is told of all levels."""
        replica = self.assert_newest_images()
        for index, number in enumerate(replica.instrument_ids()):
            book = WholeBook()
            book.take(self.levels(LOCAL << 24 | index))
            all_prices, all_sizes = replica.depth(number, 1_000)
            assert book.whole
            for row, (told_prices, told_sizes) in enumerate(book.grouped(1, 1_000)):
                there = all_sizes[row] > 0
                assert (told_prices, told_sizes) == (all_prices[row][there].tolist(), all_sizes[row][there].tolist())

    def levels(self, instrument_id: int) -> np.ndarray:
        """Records of all levels of a book."""
        rows = self.held("md.depth")
        found: np.ndarray = rows[rows["instrument_id"] == instrument_id]
        return found

    def assert_in_order(self, channel: str) -> None:
        """No record twice and none behind a later one; a start may tell whole books again."""
        rows = self.held(channel)
        if channel in ("md.depth", "md.status"):
            rows = rows[rows["source_index"] < 1 << 19]
        places = list(zip(rows["source_sequence"].tolist(), rows["source_index"].tolist(), strict=True))
        assert places == sorted(set(places)), channel


@pytest.mark.parametrize(("shards", "layout"), [(1, None), (1, "together"), (2, None)])
def test_md_is_what_executions_and_depth_say_also_after_a_stop_without_market_data_and_when_rings_are_lost(
    tmp_path: Path, shards: int, layout: str | None
) -> None:
    venue = Venue(tmp_path)
    with venue.running(shards, layout):
        venue.send(opening())
        venue.send(stream(7, 3_000, begin=venue.sequence))
        venue.settle()
        venue.assert_books()
        definitions = venue.held("md.instruments")
        # What has no name is called by its number.
        assert [bytes(row["symbol"]).rstrip(b"\0").decode() for row in definitions] == ["BTC-USD.LOCAL", "2.LOCAL"]
        assert (definitions["price_exp"].tolist(), definitions["size_exp"].tolist()) == ([2, 2], [3, 3])
        executions = venue.held("executions")
        fills = executions[executions["kind"] == ExecutionKind.FILL]
        trades = venue.held("md.trades")
        assert len(fills) > 300
        for field in ("source_sequence", "price", "size", "trade_id", "side"):
            assert trades[field].tolist() == fills[field].tolist(), field
        assert trades["ts_event"].tolist() == fills["ts"].tolist()
        said = venue.held("md.status")
        # Where the engine's thread began behind the first commands it tells sessions as a start does.
        said = said[said["source_index"] < 1 << 19]
        assert said["found"][said["kind"] == StatusKind.SESSION_CHANGED].tolist() == [Session.CONTINUOUS] * 2
        for channel in ("md.trades", "md.depth", "md.quotes", "md.status", "md.bars"):
            venue.assert_in_order(channel)
    with pytest.raises(ChannelError):
        venue.market_data.status()

    # The venue alone, then both: nothing is left out and nothing said twice.
    alone = VenueEngine(venue.rings, venue.journal)
    venue.engine = alone
    venue.send(stream(8, 500, begin=venue.sequence))
    alone.stop()
    with venue.running(layout=layout):
        assert venue.market_data.made_anew is None
        venue.send(stream(9, 500, begin=venue.sequence))
        venue.settle()
        venue.assert_books()
        executions = venue.held("executions")
        fills = executions[executions["kind"] == ExecutionKind.FILL]
        trades = venue.held("md.trades")
        assert trades["trade_id"].tolist() == fills["trade_id"].tolist()
        for channel in ("md.trades", "md.depth", "md.quotes", "md.status", "md.bars"):
            venue.assert_in_order(channel)

    # As after a reboot.
    shutil.rmtree(venue.rings)
    venue.rings.mkdir(mode=0o700)
    with venue.running(layout=layout):
        venue.settle()
        venue.assert_books()
        assert len(venue.held("md.instruments")) == 2
        assert len(venue.held("md.trades")) == 0, "history is not told again"
        venue.send(stream(10, 500, begin=venue.sequence))
        venue.settle()
        venue.assert_books()


@pytest.mark.parametrize(("shards", "layout"), [(1, "fused"), (1, "together"), (2, "split")])
def test_a_bar_with_a_trade_is_given_though_nobody_sends_a_command_more(
    tmp_path: Path, shards: int, layout: str
) -> None:
    venue = Venue(tmp_path)
    with venue.running(shards, layout, closes_bars=True):
        venue.send(opening())
        first = venue.sequence
        venue.send(commands([place(11, 1, Side.BUY, 10_000, 5), place(12, 1, Side.SELL, 10_000, 3)]))
        until(lambda: len(venue.held("md.bars")) > 0)
        (trade,) = venue.held("md.trades")
        bars = venue.held("md.bars")
        bar = bars[bars["interval_s"] == 1][0]
        assert (bar["volume"], bar["trade_count"], bar["close"]) == (3, 1, 10_000)
        assert bar["ts_open"] <= trade["ts_event"] < bar["ts_open"] + 10**9
        assert bar["source_sequence"] > first + 2, "of a command that nobody sent"
    assert tb.Venue.open(venue.journal, recheck=True).sequence >= bar["source_sequence"]


def test_market_data_begins_behind_a_snapshot_with_what_all_commands_give_also_where_the_first_are_gone(
    tmp_path: Path,
) -> None:
    """One venue's market data is made of all commands and another's of a snapshot and what came behind it, which is all that its journal has."""
    venue, whole = Venue(tmp_path), tmp_path / "whole"
    with venue.running():
        venue.send(opening())
        venue.send(stream(7, 6_000, begin=venue.sequence))
        venue.settle()
        behind = venue.save()
        assert behind == venue.sequence
        venue.send(stream(8, 3_000, begin=venue.sequence))
        venue.settle()
        venue.assert_books()
        levels, trades = venue.held("md.depth"), venue.held("md.trades")
        levels = levels[levels["source_index"] < 1 << 19]
    shutil.copytree(venue.journal, whole)

    removed = compact_journal(venue.journal, behind + 1)
    assert 1 < removed["first_sequence"] <= behind + 1
    found, refused = usable_market_data_snapshots(venue.journal, venue.names, venue.snapshots, 1 << 62, 5)
    assert (found, refused) == ([behind], [])
    # A start with the rings there goes on; one after a reboot begins behind the snapshot.
    images: dict[int, np.void] = {}
    sequence = 0
    for lost in (False, True):
        if lost:
            shutil.rmtree(venue.rings)
            venue.rings.mkdir(mode=0o700)
        with venue.running():
            assert venue.market_data.taken_up == [("local", behind, [])]
            assert venue.market_data.made_anew is None
            venue.settle()
            images = {int(row["instrument_id"]): row for row in venue.held("md.book")}
            definitions = [bytes(row["symbol"]).rstrip(b"\0").decode() for row in venue.held("md.instruments")]
            assert definitions == ["BTC-USD.LOCAL", "2.LOCAL"]
            if not lost:
                assert venue.held("md.trades").tobytes() == trades.tobytes()
                again = venue.held("md.depth")
                assert again[again["source_index"] < 1 << 19].tobytes() == levels.tobytes()
            sequence = venue.sequence
    # It is what one says that has carried all commands out.
    (tmp_path / "other").mkdir()
    other = Venue(tmp_path / "other")
    shutil.copytree(whole, other.journal)
    with other.running():
        assert other.market_data.taken_up == [("local", 0, [])]
        other.settle()
        for number, image in {int(row["instrument_id"]): row for row in other.held("md.book")}.items():
            for field in ("source_sequence", "venue_sequence", "bid_price", "bid_size", "ask_price", "ask_size"):
                assert np.array_equal(image[field], images[number][field]), field
    with venue.running():
        venue.sent = venue.engine.status()["source_sequence"]
        venue.send(stream(9, 1_000, begin=sequence))
        venue.settle()
        venue.assert_books()
        for channel in ("md.trades", "md.depth", "md.quotes", "md.bars"):
            venue.assert_in_order(channel)
            assert len(venue.held(channel)), channel

    # Without a snapshot there is nothing to begin with, and it says what to do.
    shutil.rmtree(venue.snapshots / "orders" / "market_data")
    with (
        pytest.raises(
            SnapshotError,
            match=rf"orders begins with command {removed['first_sequence']}.*snapshots/orders/market_data",
        ),
        venue.running(),
    ):
        pass
    venue.engine.stop()


def test_a_start_tells_every_book_again_to_who_has_heard_of_none(tmp_path: Path) -> None:
    """Images of other venues have taken the place of the old ones by then, and a quiet instrument sends no new one."""
    venue = Venue(tmp_path)
    with venue.running():
        venue.send(opening())
        venue.send(stream(7, 300, begin=venue.sequence))
        venue.settle()
        before = {int(row["instrument_id"]): row for row in venue.held("md.book")}
    with tb.open_consumer("md.book", directory=venue.rings, start="latest", policy="overwrite") as consumer:
        with venue.running():
            venue.settle()
            told = consumer.poll_batch(1 << 16, timeout=60)
        assert isinstance(told, tb.Batch), told
        with told:
            rows = told.array.copy()
    assert sorted(rows["instrument_id"].tolist()) == sorted(before)
    assert set(rows["source_index"].tolist()) == {1 << 19}
    for row in rows:
        old = before[int(row["instrument_id"])]
        for field in ("source_sequence", "venue_sequence", "usable", "bid_price", "bid_size", "ask_price", "ask_size"):
            assert np.array_equal(row[field], old[field]), field


def test_who_was_overtaken_is_told_again_what_he_lost_and_doubts_nothing_else_meanwhile(tmp_path: Path) -> None:
    """A burst that is larger than the rings, read late. One book is larger than the ring of its levels by then."""
    venue, levels = Venue(tmp_path), 40_000
    with venue.running(orders_max=1 << 16):
        venue.send(opening())
        venue.send(commands([place(11, 1, Side.BUY, price=10_000, size=7), session(1, Session.HALTED)]))
        venue.settle()
        source = RingSource(venue.rings, venue.market_data.whose)
        view = MarketView(["local"])

        missed = Counter[str]()

        def poll() -> None:
            for batch in source.poll():
                missed[batch.channel] += batch.missed
                if batch.missed:
                    assert batch.missed_of is not None
                    assert sum(batch.missed_of.values()) == batch.missed
                    view.missed(batch.channel, batch.missed, batch.missed_of)
                view.feed(batch.channel, batch.records)

        poll()
        quiet, busy = view.instrument("BTC-USD.LOCAL"), view.instrument("2.LOCAL")
        assert (quiet.whole_book.whole, busy.whole_book.whole) == (True, True)
        # Without a spread to cross: every order is a level of its own.
        one = commands([place(12, 2, Side.SELL, price=10_001, size=1)])
        many = np.repeat(one, levels)
        many.view(LAYOUTS[CommandKind.PLACE])["price"] = 10_001 + np.arange(levels)
        venue.send(many)
        venue.send(np.tile(commands([session(2, Session.AUCTION), session(2, Session.HALTED)]), 1_500))
        venue.settle()
        poll()
        assert min(missed["md.depth"], missed["md.status"]) > 0
        # What was not lost is as good as it was.
        assert (quiet.whole_book.whole, quiet.trading_lost, quiet.usable) == (True, False, True)
        said = quiet.session()
        assert said is not None
        assert said.session == "halted"

        def is_known() -> bool:
            poll()
            said = busy.session()
            # Never anything but the truth, and that in the end.
            assert said is None or said.session == "halted"
            return busy.whole_book.whole and said is not None and busy.usable

        until(is_known)
        venue.assert_newest_images()
        assert busy.whole_book.counts() == (0, levels)
        prices, sizes = tb.Venue.open(venue.journal).depth(2, levels)
        assert busy.whole_book.grouped(1, levels)[1] == (prices[1].tolist(), sizes[1].tolist())
        assert view.health()[0].missed_records == missed["md.status"]
        source.close()

    # A start tells it to who has heard nothing, without overrunning him.
    with venue.running(orders_max=1 << 16):
        source, view = RingSource(venue.rings, venue.market_data.whose), MarketView(["local"])

        def is_told() -> bool:
            poll()
            return view.instrument("2.LOCAL").whole_book.counts() == (0, levels)

        until(is_told)
        assert view.instrument("2.LOCAL").whole_book.whole
        source.close()


def test_sessions_halts_and_the_price_of_an_auction_are_told(tmp_path: Path) -> None:
    venue = Venue(tmp_path)

    def orders(*prices: tuple[int, Side]) -> Records:
        return commands(
            [
                place(account, 1, side, price=price, size=10)
                for account, (price, side) in zip((11, 12), prices, strict=True)
            ]
        )

    with venue.running():
        venue.send(opening(1))
        venue.send(commands([session(1, Session.AUCTION)]))
        venue.send(orders((10_010, Side.BUY), (10_000, Side.SELL)))
        venue.settle()
        # Orders of an auction cross, and are shown as they are.
        image = venue.held("md.book")[-1]
        assert (image["bid_price"][0], image["ask_price"][0], image["usable"]) == (10_010, 10_000, 1)
        venue.assert_books()
        venue.send(
            commands([session(1, Session.CONTINUOUS), session(1, Session.HALTED), session(1, Session.CONTINUOUS)])
        )
        venue.settle()
        venue.assert_books()
        trade = venue.held("md.trades")[-1]
        price = int(trade["price"])
        said = [
            (StatusKind(int(row["kind"])).name.lower(), int(row["found"]), int(row["count"]))
            for row in venue.held("md.status")
            if row["kind"] >= StatusKind.TRADING_HALTED and row["source_index"] < 1 << 19
        ]
        venue.send(commands([session(1, Session.AUCTION)]))
        venue.send(orders((10_010, Side.BUY), (10_000, Side.SELL)))
        venue.settle()
    # A start tells where trading stands.
    with venue.running():
        venue.settle()
        *_, begun, indicative = venue.held("md.status")
        assert (begun["kind"], begun["found"]) == (StatusKind.SESSION_CHANGED, Session.AUCTION)
        assert (indicative["kind"], indicative["found"], indicative["count"]) == (
            StatusKind.INDICATIVE_PRICE,
            price,
            10,
        )
        assert begun["source_index"] + 1 == indicative["source_index"]
    assert (int(trade["size"]), int(trade["side"])) == (10, 0)
    assert said == [
        ("session_changed", Session.CONTINUOUS, 0),
        ("session_changed", Session.AUCTION, 0),
        ("indicative_price", price, 10),
        ("session_changed", Session.CONTINUOUS, 0),
        ("uncrossed", price, 10),
        ("session_changed", Session.HALTED, 0),
        ("trading_halted", 0, 0),
        ("session_changed", Session.CONTINUOUS, 0),
        ("trading_resumed", 0, 0),
    ]


def test_names_that_cannot_be_read_end_market_data_by_the_name_of_their_file(tmp_path: Path) -> None:
    venue = Venue(tmp_path)
    venue.names.write_text("{")
    venue.engine = VenueEngine(venue.rings, venue.journal)
    engine = MarketDataEngine({}, venue.rings, venue=(venue.journal, venue.names))
    venue.send(opening(1))
    until(lambda: engine.status()["failure"] is not None)
    assert "names.json" in engine.status()["failure"]
    with pytest.raises(ChannelError, match=r"names\.json"):
        engine.stop()
    venue.engine.stop()


def test_an_engine_over_nothing_is_refused(tmp_path: Path) -> None:
    venue = Venue(tmp_path)
    arguments: dict[str, Any] = {"venue": (venue.journal, venue.names)}
    with pytest.raises(ChannelError, match="orders"):
        MarketDataEngine({}, venue.rings, **arguments)


def test_market_data_takes_turns_only_with_a_venue_whose_thread_is_for_others_too(tmp_path: Path) -> None:
    venue = Venue(tmp_path)
    engine = VenueEngine(venue.rings, venue.journal, layout="fused", orders_max=100)
    with pytest.raises(ChannelError, match='layout = "together"'):
        MarketDataEngine({}, venue.rings, venue=(venue.journal, venue.names), beside=engine)
    engine.stop()
    with pytest.raises(ChannelError, match="is stopped"):
        MarketDataEngine({}, venue.rings, venue=(venue.journal, venue.names), beside=engine)
