"""The market view keeps the newest state, exactly, and says what it has missed."""

import gc
import tracemalloc
from dataclasses import asdict
from typing import Any

import numpy as np
import pytest

from tests.api.conftest import (
    BTC,
    BTC_DEFINITION,
    SECOND,
    START,
    XRP,
    XRP_DEFINITION,
    Clock,
    Desk,
    book,
    open_desk,
    trade,
)
from tests.market import records
from tidebook.api import MarketView
from tidebook.api.view import TRADES_KEPT
from tidebook.errors import UnknownInstrumentError
from tidebook.feeds.status import StatusKind


def test_levels_are_exact_decimals_best_first_without_the_missing_ones(desk: Desk) -> None:
    desk.source.put("md.book", book([(6_183_763, 5), (6_183_762, 12_345_678)], [(6_183_764, 100_000)]))
    desk.step()
    depth = desk.view.instrument("BTCUSDT.BINANCE").depth(20)
    assert depth is not None
    assert depth.bids == [("61837.63", "0.00005"), ("61837.62", "123.45678")]
    assert depth.asks == [("61837.64", "1.00000")]


def test_the_newest_image_of_a_batch_wins_and_every_batch_raises_the_version_once(desk: Desk) -> None:
    desk.source.put("md.book", *(book([(price, 1)], [(price + 1, 1)], venue_sequence=price) for price in (1, 2, 3)))
    desk.step()
    view = desk.view.instrument("BTCUSDT.BINANCE")
    depth = view.depth(1)
    assert depth is not None
    assert (depth.last_update_id, view.book_version) == (3, 1)


def test_the_top_is_the_venues_own_quote_and_else_that_of_our_book(desk: Desk) -> None:
    view = desk.view.instrument("BTCUSDT.BINANCE")
    assert view.top() is None
    desk.source.put("md.book", book([(10_000, 7)], []))
    desk.step()
    top = view.top()
    assert top is not None
    assert (top.derived, top.bid_price, top.bid_size, top.ask_price) == (True, "100.00", "0.00007", None)
    quote = {"instrument_id": BTC, "bid_price": 1, "bid_size": 2, "ask_price": 3, "ask_size": 4, "price_exp": 2}
    desk.source.put("md.quotes", quote)
    desk.step()
    top = view.top()
    assert top is not None
    assert (top.derived, top.bid_price, top.ask_price, top.ask_size) == (False, "0.01", "0.03", "4")


def test_a_lost_book_takes_its_tops_along_until_it_is_good_again_or_the_venue_says_one(desk: Desk) -> None:
    """A book in a table: what is published, and the bid and whether it is usable that the top and the line then say."""
    view = desk.view.instrument("BTCUSDT.BINANCE")

    def quote(sequence: int, bid: int, flags: int = 16) -> tuple[str, dict[str, Any]]:
        row = {"instrument_id": BTC, "source_sequence": sequence, "flags": flags, "price_exp": 2, "size_exp": 5}
        return "md.quotes", {**row, "bid_price": bid, "bid_size": 1, "ask_price": bid + 1, "ask_size": 1}

    def image(sequence: int, bid: int, usable: int) -> tuple[str, dict[str, Any]]:
        return "md.book", book([(bid, 1)], [(bid + 1, 1)], source_sequence=sequence, usable=usable)

    for published, bid, usable in (
        ([image(4, 100, 0)], None, False),  # a book that was never good
        ([quote(5, 200), image(5, 200, 1)], "2.00", True),
        ([image(7, 200, 0)], None, False),
        ([quote(8, 300, flags=0)], "3.00", True),  # the venue's own
        ([quote(9, 400)], "4.00", True),  # of a book that is good again, whose image is still to come
        ([image(9, 400, 1), quote(10, 500), image(11, 500, 0)], None, False),
        ([image(12, 600, 1), quote(12, 600)], "6.00", True),
    ):
        before = view.top_version
        for channel, row in published:
            desk.source.put(channel, row)
        desk.step()
        top, line = view.top(), view.line()
        assert top is not None
        assert (top.bid_price, top.ask_price is not None, top.usable) == (bid, bid is not None, usable)
        assert (line.bid_price, line.ask_price, line.bid_size) == (top.bid_price, top.ask_price, top.bid_size)
        assert view.top_version > before, "subscribers of the top hear of it"


def own_quote(sequence: int, bid: int) -> dict[str, Any]:
    row = {"instrument_id": BTC, "source_sequence": sequence, "flags": 0, "price_exp": 2, "size_exp": 5}
    return {**row, "bid_price": bid, "bid_size": 1, "ask_price": bid + 1, "ask_size": 1}


def test_the_venues_own_top_ends_with_what_brings_it(desk: Desk) -> None:
    """Sessions and subscriptions in a table: what is published, and the bid that the top and the line then say."""
    view = desk.view.instrument("BTCUSDT.BINANCE")

    def told(kind: StatusKind, sequence: int, **more: int) -> tuple[str, dict[str, Any]]:
        row = {"kind": kind, "instrument_id": BTC, "source_sequence": sequence, "ts_recv": desk.clock.now}
        return "md.status", {**row, **more}

    def lost(sequence: int, reason: StatusKind) -> list[tuple[str, dict[str, Any]]]:
        image = book([(100, 1)], [(101, 1)], source_sequence=sequence, usable=0)
        return [told(StatusKind.BOOK_UNUSABLE, sequence, reason=reason), ("md.book", image)]

    good = told(StatusKind.BOOK_USABLE, 0), ("md.book", book([(100, 1)], [(101, 1)], source_sequence=0))
    for published, bid in (
        ([*good, told(StatusKind.CONNECTED, 1, found=1), told(StatusKind.CONNECTED, 2, found=2)], "1.00"),
        ([("md.quotes", own_quote(3, 200))], "2.00"),
        (lost(4, StatusKind.GAP), "2.00"),  # the venue's own is none of the book's
        ([told(StatusKind.DISCONNECTED, 5, found=1)], "2.00"),  # the other one may bring quotes
        ([told(StatusKind.DISCONNECTED, 6, found=2)], None),
        ([told(StatusKind.CONNECTED, 7, found=3)], None),
        ([("md.quotes", own_quote(8, 300))], "3.00"),
        ([told(StatusKind.BOOK_USABLE, 9), *lost(10, StatusKind.DISCONNECTED)], None),  # of its own session
        ([("md.quotes", own_quote(11, 400))], "4.00"),  # of another one
        ([told(StatusKind.BOOK_USABLE, 12), *lost(13, StatusKind.UNSUBSCRIBED)], None),
        ([("md.quotes", own_quote(14, 500))], None),  # on its way when the market was given up
    ):
        before = view.version
        for channel, row in published:
            desk.source.put(channel, row)
        desk.step()
        top, line = view.top(), view.line()
        assert top is not None
        assert (top.bid_price, top.usable, line.bid_price) == (bid, bid is not None, bid), published
        assert view.version > before, "subscribers hear of it"


def test_what_the_channels_hold_of_a_venue_that_nobody_feeds_any_more_is_not_usable() -> None:
    for no_others in (False, True):
        view = MarketView(["kraken"], Clock(), Clock(), no_others=no_others)
        view.feed("md.instruments", records("md.instruments", BTC_DEFINITION))
        view.feed("md.book", records("md.book", book([(100, 1)], [(101, 1)], ts_recv=START)))
        view.feed("md.quotes", records("md.quotes", own_quote(3, 200)))
        found = view.instrument("BTCUSDT.BINANCE")
        depth, top, line = found.depth(5), found.top(), found.line()
        assert depth is not None
        assert top is not None
        assert (depth.usable, top.usable, line.book) == (
            (False, False, "unusable") if no_others else (True, True, "usable")
        )
        if no_others:
            assert (depth.unusable_since, top.bid_price, line.bid_price) == (START // 1000, None, None)
            assert depth.unusable_reason == line.unusable_reason
            assert depth.unusable_reason is not None
        assert {feed.venue: feed.books_usable for feed in view.health()} == {"binance": 1 - no_others, "kraken": 0}


def test_a_name_of_another_case_hides_no_market() -> None:
    view = MarketView()
    names = ("BTCUSDT.BINANCE", "BTCUSDt.BINANCE", "Xusdt.BINANCE", "xUSDT.BINANCE")
    for number, name in enumerate(names):
        view.feed("md.instruments", records("md.instruments", {"instrument_id": BTC + number, "symbol": name}))
    assert [view.instrument(name).name for name in names] == list(names)
    assert [view.instrument(name).name for name in ("btcusdt.binance", "XUSDT.BINANCE")] == [names[0], names[2]]
    assert [found.name for found in view.instruments()] == sorted(names)


def test_a_burst_beyond_what_is_kept_is_counted_and_not_hidden(desk: Desk) -> None:
    view = desk.view.instrument("BTCUSDT.BINANCE")
    desk.source.put("md.trades", *(trade(number) for number in range(1, TRADES_KEPT + 11)))
    desk.step()
    trades, missed = view.trades_after(0)
    assert ([trades[0].id, trades[-1].id], len(trades), missed) == ([11, TRADES_KEPT + 10], TRADES_KEPT, 10)
    desk.source.put("md.trades", trade(7_000))
    desk.step()
    assert [found.id for found in view.trades_after(TRADES_KEPT + 10)[0]] == [7_000]
    assert [found.id for found in view.last_trades(2)] == [TRADES_KEPT + 10, 7_000]


def test_records_overwritten_before_we_read_them_are_said_on_the_feed_and_on_the_trades(desk: Desk) -> None:
    desk.source.put("md.trades", trade(9), missed=4)
    desk.step()
    assert desk.view.health()[0].missed_records == 4
    trades, missed = desk.view.instrument("BTCUSDT.BINANCE").trades_after(0)
    assert ([found.id for found in trades], missed) == ([9], 4)


KRAKEN = 2 << 24
LOCAL = 12 << 24


def test_what_was_missed_counts_for_whom_it_was_of_and_for_all_where_nobody_knows(desk: Desk) -> None:
    other = {**BTC_DEFINITION, "instrument_id": KRAKEN, "symbol": "BTC/USD.KRAKEN"}
    desk.source.put("md.instruments", other)
    desk.source.put("md.depth", *(row for number in (BTC, XRP, KRAKEN) for row in cleared(number)))
    desk.step()

    def whole() -> list[bool]:
        names = ("BTCUSDT.BINANCE", "XRPUSDT.BINANCE", "BTC/USD.KRAKEN")
        return [desk.view.instrument(name).whole_book.whole for name in names]

    def counted() -> dict[str, int]:
        return {feed.venue: feed.missed_records for feed in desk.view.health()}

    assert whole() == [True, True, True]
    desk.source.put("md.depth", *cleared(KRAKEN), missed=70, missed_of={XRP: 60, KRAKEN: 10})
    desk.source.put("md.trades", trade(9), missed=5, missed_of={BTC: 2, KRAKEN: 3})
    desk.source.put("md.status", {"instrument_id": BTC}, missed=3, missed_of={KRAKEN | 0xFFFFFF: 3})
    desk.step()
    assert whole() == [True, False, True]
    assert counted() == {"binance": 2, "kraken": 6}
    assert desk.view.instrument("BTCUSDT.BINANCE").trades_after(0)[1] == 2
    desk.source.put("md.depth", *cleared(KRAKEN), missed=1)
    desk.source.put("md.status", {"instrument_id": BTC}, missed=4)
    desk.step()
    assert whole() == [False, False, True]
    assert counted() == {"binance": 6, "kraken": 10}


def cleared(number: int) -> list[dict[str, Any]]:
    """An empty book, told whole."""
    return [{"instrument_id": number, "action": 2, "flags": 128 | 32}]


async def test_what_may_have_been_overwritten_unread_is_not_shown_as_current(desk: Desk) -> None:
    """Of an instrument whose newest image, quote or session this server has not read nothing is said until it is told again."""
    own = {**BTC_DEFINITION, "instrument_id": LOCAL, "symbol": "BTC-USD.LOCAL"}
    session = {"instrument_id": LOCAL, "kind": StatusKind.SESSION_CHANGED, "ts_event": START}
    quote = {"instrument_id": BTC, "bid_price": 1, "bid_size": 2, "ask_price": 3, "ask_size": 4, "price_exp": 2}
    desk.source.put("md.instruments", own)
    desk.source.put("md.status", {**session, "found": 3})
    desk.source.put("md.book", book([(100, 1)], [(101, 1)]))
    desk.source.put("md.quotes", quote)
    desk.step()
    view, venue = desk.view.instrument("BTCUSDT.BINANCE"), desk.view.instrument("BTC-USD.LOCAL")
    assert (view.usable, venue.line().session) == (True, "continuous")
    versions = (view.book_version, view.top_version, venue.trading_version)
    desk.source.put("md.book", book([(1, 1)], [(2, 1)], instrument_id=XRP), missed=1, missed_of={BTC: 1})
    desk.source.put("md.quotes", {"instrument_id": XRP}, missed=1, missed_of={BTC: 1})
    desk.source.put("md.status", {"instrument_id": XRP}, missed=1, missed_of={LOCAL: 1})
    desk.step()
    depth, top = view.depth(20), view.top()
    assert depth is not None
    assert (depth.usable, depth.unusable_reason) == (False, "overtaken")
    assert top is not None
    assert (top.usable, top.bid_price, top.ask_price) == (False, None, None)
    assert (view.line().book, view.line().unusable_reason) == ("unusable", "overtaken")
    assert (venue.session(), venue.line().session) == (None, None)
    answer = await desk.get("/api/v1/session?instrument=BTC-USD.LOCAL")
    assert (answer.status_code, answer.json()["code"]) == (503, "session_unknown")
    assert all(
        now > then
        for now, then in zip((view.book_version, view.top_version, venue.trading_version), versions, strict=True)
    )
    desk.source.put("md.status", {**session, "found": 4, "source_index": 1 << 19})
    desk.source.put("md.book", book([(98, 1)], [(99, 1)], source_index=1 << 19))
    desk.step()
    top = view.top()
    assert top is not None
    assert (view.usable, top.usable, top.bid_price) == (True, True, "0.98")
    assert (await desk.get("/api/v1/session?instrument=BTC-USD.LOCAL")).json()["session"] == "halted"


def test_what_is_told_again_is_no_sign_of_life_and_says_nothing_of_delays(desk: Desk) -> None:
    desk.source.put("md.book", book([(100, 1)], [(101, 1)], ts_recv=START - SECOND, source_sequence=3))
    desk.step()
    before = desk.view.health()[0]
    assert (before.delay_us, before.messages) == (1_000_000, 3)
    desk.clock.now += 60 * SECOND
    again = book([(100, 1)], [(101, 1)], ts_recv=START - SECOND, source_sequence=3, source_index=1 << 19)
    desk.source.put("md.book", again)
    desk.step()
    now = desk.view.health()[0]
    assert (now.delay_us, now.last_message_at) == (before.delay_us, before.last_message_at)


def test_books_and_quotes_overtaken_by_newer_ones_are_not_missed(desk: Desk) -> None:
    desk.source.put("md.book", book([(1, 1)], [(2, 1)]), missed=900)
    desk.source.put("md.quotes", {"instrument_id": BTC}, missed=900)
    desk.step()
    assert desk.view.health()[0].missed_records == 0


def test_a_record_of_an_instrument_nobody_defined_is_counted_as_missed(desk: Desk) -> None:
    desk.source.put("md.trades", trade(1, instrument_id=BTC | 77))
    desk.step()
    assert desk.view.health()[0].missed_records == 1


def test_rows_are_copied_because_the_ring_will_overwrite_them(desk: Desk) -> None:
    batch = records("md.trades", trade(1))
    desk.view.feed("md.trades", batch)
    batch["trade_id"] = 99
    assert [found.id for found in desk.view.instrument("BTCUSDT.BINANCE").last_trades(9)] == [1]


def test_what_is_kept_of_a_quiet_market_holds_nothing_of_the_busy_ones_it_came_with(desk: Desk) -> None:
    """Method: what Python and numpy allocate while each batch has one record of one market and 400 of another."""
    kinds = {"md.trades": trade(1), "md.quotes": {"instrument_id": BTC}, "md.book": book([(1, 1)], [(2, 1)])}
    batches = {}
    for channel, row in kinds.items():
        batches[channel] = np.repeat(records(channel, row), 401)
        batches[channel]["instrument_id"][200] = XRP
    tracemalloc.start()
    try:
        for _ in range(200):
            for channel, batch in batches.items():
                desk.view.feed(channel, batch)
        gc.collect()
        held_bytes, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(desk.view.instrument("XRPUSDT.BINANCE").last_trades(TRADES_KEPT)) == 200
    row_bytes = batches["md.trades"].itemsize + 8
    assert held_bytes < 2 * 2 * TRADES_KEPT * row_bytes + 100_000, "two tapes with twice their room, and little else"


def test_an_unknown_instrument_is_refused_with_the_nearest_names(desk: Desk) -> None:
    assert desk.view.instrument("btcusdt.binance").name == "BTCUSDT.BINANCE"
    with pytest.raises(UnknownInstrumentError, match=r"'BTCUSD.BINANCE'.*BTCUSDT.BINANCE") as caught:
        desk.view.instrument("BTCUSD.BINANCE")
    assert caught.value.facts["near"] == ["BTCUSDT.BINANCE", "XRPUSDT.BINANCE"]


def test_a_definition_says_steps_only_where_they_are_known(desk: Desk) -> None:
    btc, xrp = (view.said() for view in desk.view.instruments())
    assert (btc.tick, btc.lot, btc.venue, btc.version) == ("0.01", "0.00001", "binance", 1)
    assert (xrp.tick, xrp.lot, xrp.price_decimals, xrp.version) == (None, None, 8, 3)


def test_feed_states_follow_its_records(desk: Desk) -> None:
    """Waiting until the first clocked record, live, quiet after two silent seconds, live again."""
    seen = []
    for seconds, sequence in ((0, None), (0, 5), (2, None), (2.1, None), (3, 6)):
        desk.clock.now = START + int(seconds * SECOND)
        if sequence:
            row = trade(sequence, source_sequence=sequence, ts_recv=desk.clock.now, ts_event=desk.clock.now - 7_000_000)
            desk.source.put("md.trades", row)
        desk.step()
        feed = desk.view.health()[0]
        seen.append((feed.state, feed.age_us))
    assert seen == [("waiting", None), ("live", 0), ("live", 2_000_000), ("quiet", 2_100_000), ("live", 0)]
    assert desk.view.health()[0].venue_delay_us == 7_000


def test_the_message_rate_is_the_rise_of_the_feeds_sequence_over_two_seconds(desk: Desk) -> None:
    """A feed of 50 messages in each tenth of a second, joined at message 1,000,000."""
    for tenth in range(31):
        desk.clock.now = START + tenth * SECOND // 10
        row = trade(1, source_sequence=1_000_000 + 50 * tenth, ts_recv=desk.clock.now)
        desk.source.put("md.trades", row)
        desk.step()
        desk.view.tick()
        assert desk.view.health()[0].messages_per_second == (0.0 if tenth == 0 else 500.0)
    desk.clock.now += 2 * SECOND
    desk.view.tick()
    desk.clock.now += SECOND // 10
    desk.view.tick()
    assert desk.view.health()[0].messages_per_second == 0.0


def test_usable_books_are_counted_per_venue(desk: Desk) -> None:
    desk.source.put("md.book", book([(1, 1)], [(2, 1)]), book([(1, 1)], [(2, 1)], instrument_id=XRP, usable=0))
    desk.step()
    feed = desk.view.health()[0]
    assert (feed.instruments, feed.books_usable) == (2, 1)


def test_an_empty_batch_changes_nothing(desk: Desk) -> None:
    desk.view.feed("md.book", np.zeros(0, records("md.book").dtype))
    assert desk.view.instrument("BTCUSDT.BINANCE").book_version == 0


def test_an_instrument_belongs_to_the_venue_of_its_number_whatever_its_name_ends_in() -> None:
    view = MarketView()
    for code, name in ((1, "BTCUSDT.BINANCE"), (3, "BTCUSDT-PERP.BINANCE"), (4, "BTCUSD-PERP.BINANCE")):
        view.feed("md.instruments", records("md.instruments", {"instrument_id": code << 24, "symbol": name}))
    assert {found.name: found.venue for found in view.instruments()} == {
        "BTCUSDT.BINANCE": "binance",
        "BTCUSDT-PERP.BINANCE": "binance-usdm",
        "BTCUSD-PERP.BINANCE": "binance-coinm",
    }
    assert sorted(view.feeds) == ["binance", "binance-coinm", "binance-usdm"]


def test_status_records_count_towards_the_health_of_their_feed(desk: Desk) -> None:
    """A session in a table: what happens, and what the feed says then."""
    for kinds, expected in (
        ([StatusKind.CONNECTED, StatusKind.SNAPSHOT_APPLIED], {}),
        ([StatusKind.GAP], {"gaps": 1}),
        ([StatusKind.SNAPSHOT_APPLIED], {"resyncs": 1}),
        ([StatusKind.TRADE_GAP, StatusKind.MALFORMED, StatusKind.MALFORMED], {"gaps": 2, "quarantined": 2}),
        ([StatusKind.CHECKSUM_MISMATCH, StatusKind.ORACLE_DISAGREES, StatusKind.CROSSED], {"checks_failed": 3}),
        ([StatusKind.DISCONNECTED], {"reconnects": 1, "state": "disconnected"}),
        ([StatusKind.CONNECTED], {"state": "live"}),
        ([4, 23, 200], {}),  # no matter of health, or of a later version
    ):
        before = asdict(desk.view.health()[0])
        at = before["messages"] + 1
        rows = [
            {"kind": kind, "instrument_id": BTC, "ts_recv": desk.clock.now, "source_sequence": at + index}
            for index, kind in enumerate(kinds)
        ]
        desk.source.put("md.status", *rows)
        desk.step()
        after = asdict(desk.view.health()[0])
        changed = {name: value for name, value in after.items() if before[name] != value}
        ignored = {"messages", "last_message_at", "age_us", "delay_us", "state"} - expected.keys()
        assert {name: value for name, value in changed.items() if name not in ignored} == expected


@pytest.mark.parametrize(
    ("told", "state"),
    [
        (["connected 1 @1", "disconnected 1 @5"], "disconnected"),
        (["connected 1 @1", "connected 2 @3", "disconnected 1 @5"], "live"),
        (["connected 1 @1", "connected 2 @3", "disconnected 1 @5", "disconnected 2 @6"], "disconnected"),
        (["disconnected 1 @5", "trade @4"], "disconnected"),  # of the session that ended, read after its end
        (["disconnected 1 @5", "trade @5"], "disconnected"),  # what the end brings about, as a book that is lost
        (["disconnected 1 @5", "trade @7"], "live"),  # of a session whose beginning was overwritten unread
    ],
)
def test_a_feed_is_disconnected_when_nothing_after_its_last_end_says_otherwise(
    desk: Desk, told: list[str], state: str
) -> None:
    for line in told:
        *words, sequence = line.replace("@", "").split()
        common = {"source_sequence": int(sequence), "ts_recv": desk.clock.now}
        if words[0] == "trade":
            desk.source.put("md.trades", trade(1, **common))
        else:
            kind = StatusKind[words[0].upper()]
            desk.source.put("md.status", {"kind": kind, "found": int(words[1]), "instrument_id": BTC, **common})
        desk.step()
    assert desk.view.health()[0].state == state


def test_a_snapshot_of_a_book_that_was_in_use_when_we_came_is_a_resync(desk: Desk) -> None:
    desk.source.put("md.book", book([(1, 1)], [(2, 1)]))
    desk.source.put("md.status", {"kind": StatusKind.SNAPSHOT_APPLIED, "instrument_id": BTC})
    desk.step()
    assert desk.view.health()[0].resyncs == 1


def test_status_of_a_whole_feed_is_of_the_venue_its_id_names() -> None:
    view = MarketView(["binance", "kraken"], Clock(), Clock())
    kraken = 2 << 24 | (1 << 24) - 1
    view.feed("md.status", records("md.status", {"kind": StatusKind.DISCONNECTED, "instrument_id": kraken}))
    assert [(feed.venue, feed.reconnects) for feed in view.health()] == [("binance", 0), ("kraken", 1)]


def test_a_channel_that_is_not_kept_is_refused(desk: Desk) -> None:
    with pytest.raises(KeyError, match=r"md\.orders"):
        desk.view.feed("md.orders", records("md.orders", {}))


def test_trades_from_before_the_server_are_on_the_tape_once_whoever_tells_them_again() -> None:
    desk = open_desk(Clock())
    past = records("md.trades", trade(1), trade(2, price=10_100))
    desk.view.past_trades = lambda name, instrument_id, count: (
        past[-count:] if (name, instrument_id) == ("BTCUSDT.BINANCE", BTC) else past[:0]
    )
    desk.source.put("md.instruments", BTC_DEFINITION, XRP_DEFINITION)
    desk.step()
    market = desk.view.instrument("BTCUSDT.BINANCE")
    assert ([found.id for found in market.last_trades(9)], market.line().last_price) == ([1, 2], "101.00")
    assert desk.view.instrument("XRPUSDT.BINANCE").line().last_price is None
    desk.source.put("md.trades", trade(2), trade(3))
    desk.step()
    assert [found.id for found in market.last_trades(9)] == [1, 2, 3]
    assert ([found.id for found in market.trades_after(2)[0]], market.trade_sequence) == ([3], 3)
