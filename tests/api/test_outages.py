"""When a book could not be used and when a feed was silent, by the records that say so."""

from typing import Any

import pytest

from tests.api.conftest import BTC, BTC_DEFINITION, SECOND, START, XRP, Desk, book
from tidebook.api.outages import OUTAGES_KEPT, BookOutages, FeedSilences, Outages
from tidebook.feeds.status import StatusKind, said

UNUSABLE, USABLE, WANTED = StatusKind.BOOK_UNUSABLE, StatusKind.BOOK_USABLE, StatusKind.SNAPSHOT_WANTED
GAP, CHECKSUM, STARTED, DISCONNECTED = (
    StatusKind.GAP,
    StatusKind.CHECKSUM_MISMATCH,
    StatusKind.STARTED,
    StatusKind.DISCONNECTED,
)


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ([(UNUSABLE, GAP, 5), (USABLE, 0, 9)], [(5, 9, "gap")]),
        ([(UNUSABLE, CHECKSUM, 5)], [(5, None, "checksum_mismatch")]),
        # The first reason is what began it; what else happens meanwhile is no new outage.
        ([(UNUSABLE, GAP, 5), (WANTED, GAP, 5), (WANTED, DISCONNECTED, 7), (USABLE, 0, 9)], [(5, 9, "gap")]),
        ([(UNUSABLE, GAP, 1), (USABLE, 0, 2), (UNUSABLE, 200, 3)], [(1, 2, "gap"), (3, None, "status_200")]),
        # A book that has never been usable is waited for from the first word about it.
        ([(WANTED, STARTED, 3), (WANTED, STARTED, 4), (USABLE, 0, 8)], [(3, 8, "started")]),
        # A usable book that is subscribed anew wants a snapshot without being unusable.
        ([(USABLE, 0, 2), (WANTED, STARTED, 3)], []),
        ([(USABLE, 0, 2), (GAP, 0, 3), (StatusKind.TRADE_GAP, 0, 3)], []),
    ],
)
def test_an_outage_lasts_from_unusable_to_usable(
    told: list[tuple[int, int, int]], expected: list[tuple[int, int | None, str]]
) -> None:
    outages = BookOutages()
    for record in told:
        outages.happened(*record)
    assert list(outages) == expected


def test_an_image_tells_only_while_no_status_has() -> None:
    outages = BookOutages()
    outages.shown(usable=False, ts_recv=3)
    outages.shown(usable=False, ts_recv=4)
    assert list(outages) == [(3, None, "unknown")]
    outages.shown(usable=True, ts_recv=6)
    outages.happened(UNUSABLE, GAP, 8)
    outages.shown(usable=True, ts_recv=7)  # an image from before, read later
    assert list(outages) == [(3, 6, "unknown"), (8, None, "gap")]


def health(second: float, messages: int, interval: float = 1.0) -> dict[str, Any]:
    """A record of `md.health` at so many seconds."""
    return {"ts_recv": round(second * SECOND), "interval_ns": round(interval * SECOND), "messages": messages}


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ([health(1, 9), health(2, 0), health(3, 9)], []),
        ([health(1, 9), health(2, 0), health(3, 0)], [(1, None)]),
        ([health(1, 9), health(2, 0), health(3, 0), health(4, 0), health(5, 2)], [(1, 4)]),
        # The feed's clock stood still: nobody ran it, whatever came before and after.
        ([health(1, 9), health(9, 4, interval=8), health(10, 5)], [(1, 9)]),
        ([health(1, 0), health(2, 0), health(9, 4, interval=7)], [(0, 9)]),
        # A second that came a little late is none.
        ([health(1, 9), health(3.5, 4, interval=2.5)], []),
    ],
)
def test_a_feed_is_silent_after_two_seconds_without_a_frame(
    told: list[dict[str, Any]], expected: list[tuple[int, int | None]]
) -> None:
    silences = FeedSilences()
    for record in told:
        silences.told(record)
    assert [(outage.since / SECOND, outage.until and outage.until / SECOND, outage.reason) for outage in silences] == [
        (since, until, "silent") for since, until in expected
    ]


def test_only_the_newest_outages_are_kept() -> None:
    outages = Outages()
    for number in range(OUTAGES_KEPT + 5):
        outages.begin(2 * number, "gap")
        outages.end(2 * number + 1)
    kept = list(outages)
    assert (len(kept), kept[0].since) == (OUTAGES_KEPT, 10)
    assert outages.version == 2 * (OUTAGES_KEPT + 5)


def test_words_are_those_of_the_engine() -> None:
    assert [said(kind) for kind in (1, 7, 15, 23, 99)] == [
        "gap",
        "checksum_mismatch",
        "disconnected",
        "started",
        "status_99",
    ]


async def test_an_instrument_has_its_books_outages_and_its_feeds_silences(desk: Desk) -> None:
    """BTC has a gap while the feed falls silent; XRP only the silence; Kraken neither."""
    kraken = {**BTC_DEFINITION, "instrument_id": 2 << 24, "symbol": "BTC/USD.KRAKEN"}
    desk.source.put("md.instruments", kraken)
    desk.source.put("md.book", book([(100, 1)], [(101, 1)]))
    desk.source.put("md.status", {"kind": UNUSABLE, "reason": GAP, "instrument_id": BTC, "ts_recv": START})
    feed = (1 << 24) + (1 << 24) - 1
    for second in (1, 2, 3):
        seconds = health(START / SECOND + second, 0)
        desk.source.put("md.health", {**seconds, "ts_recv": START + second * SECOND, "instrument_id": feed})
    desk.step()
    said_of_btc = (await desk.get("/api/v1/outages?instrument=BTCUSDT.BINANCE")).json()
    silence = {"since": START // 1000, "until": None, "reason": "silent"}
    assert said_of_btc == [{"since": START // 1000, "until": None, "reason": "gap"}, silence]
    assert (await desk.get("/api/v1/outages?instrument=XRPUSDT.BINANCE")).json() == [silence]
    assert (await desk.get("/api/v1/outages?instrument=BTC/USD.KRAKEN")).json() == []
    assert desk.view.feeds["binance"].age_ns(desk.clock.now) == 0, "health is told by a clock and is no sign of life"
    assert XRP in desk.view._by_id


async def test_outages_are_those_that_overlap_what_is_asked_for(desk: Desk) -> None:
    for second, kind in ((10, UNUSABLE), (20, USABLE), (30, UNUSABLE)):
        row = {"kind": kind, "reason": GAP, "instrument_id": BTC, "ts_recv": START + second * SECOND}
        desk.source.put("md.status", row)
    desk.step()
    desk.clock.now = START + 60 * SECOND
    us = START // 1000
    for query, expected in (
        ("", [10, 30]),
        (f"&end={us + 10_000_000}", []),
        (f"&start={us + 20_000_000}", [30]),
        (f"&start={us + 19_000_000}&end={us + 21_000_000}", [10]),
        (f"&start={us + 50_000_000}", [30]),
    ):
        found = (await desk.get(f"/api/v1/outages?instrument=BTCUSDT.BINANCE{query}")).json()
        assert [(outage["since"] - us) // 1_000_000 for outage in found] == expected, query


def test_a_depth_says_why_and_since_when_it_is_unusable(desk: Desk) -> None:
    """The image of the gap comes before its status is read, and again after the snapshot."""
    told = []
    for usable, kind in ((0, None), (0, UNUSABLE), (1, USABLE)):
        if kind is not None:
            row = {"kind": kind, "reason": CHECKSUM, "instrument_id": BTC, "ts_recv": START + kind * SECOND}
            desk.source.put("md.status", row)
        desk.source.put("md.book", book([(100, 1)], [(101, 1)], usable=usable, ts_recv=START))
        desk.step()
        depth = desk.view.instrument("BTCUSDT.BINANCE").depth(1)
        line = desk.view.instrument("BTCUSDT.BINANCE").line()
        assert depth is not None
        assert (line.unusable_since, line.unusable_reason) == (depth.unusable_since, depth.unusable_reason)
        told.append((depth.usable, depth.unusable_since, depth.unusable_reason))
    us = START // 1000
    assert told == [(False, us, "unknown"), (False, us + 2_000_000, "checksum_mismatch"), (True, None, None)]


def test_what_is_told_of_a_silent_feed_is_no_sign_of_its_life(desk: Desk) -> None:
    """Its session ends ten seconds after its last frame, while another one is open."""
    feed = (1 << 24) + (1 << 24) - 1
    desk.source.put(
        "md.status", {"kind": StatusKind.CONNECTED, "found": 2, "instrument_id": feed, "source_sequence": 1}
    )
    desk.source.put("md.book", book([(100, 1)], [(101, 1)], ts_recv=START, source_sequence=2))
    desk.step()
    for second in range(1, 11):
        row = {**health(0, 0), "ts_recv": START + second * SECOND, "instrument_id": feed}
        desk.source.put("md.health", row)
    desk.clock.now = START + 10 * SECOND
    row = {"kind": DISCONNECTED, "found": 1, "instrument_id": feed, "source_sequence": 3, "ts_recv": desk.clock.now}
    desk.source.put("md.status", row)
    desk.step()
    (said_of_feed,) = desk.view.health()
    assert (said_of_feed.state, said_of_feed.age_us) == ("quiet", 10_000_000)
    row = {**health(0, 5), "ts_recv": START + 11 * SECOND, "instrument_id": feed}
    desk.source.put("md.health", row)
    desk.step()
    assert desk.view.health()[0].state == "live"
