"""All levels of a book, from a snapshot on, in groups that promise nobody a better price than there is."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.api.conftest import BTC, Desk, book
from tests.market import records
from tidebook._core import FeedDecoder, Recording
from tidebook.api.whole_book import WholeBook, group

CLEAR, CHANGE = 2, 1
SNAPSHOT, LAST = 32, 128
RETOLD = 1 << 19
BID, ASK = 1, -1


def change(side: int, price: int, size: int, **fields: Any) -> dict[str, Any]:
    row = {"instrument_id": BTC, "action": CHANGE, "side": side, "price": price, "size": size}
    return {**row, "price_exp": 2, "size_exp": 5, **fields}


def snapshot(*levels: dict[str, Any]) -> list[dict[str, Any]]:
    """All records of a snapshot, the last marked as that."""
    rows = [change(0, 0, 0, action=CLEAR), *levels]
    return [{**row, "flags": SNAPSHOT | (LAST if row is rows[-1] else 0)} for row in rows]


def taken(whole: WholeBook, *rows: dict[str, Any]) -> None:
    whole.take(records("md.depth", *rows))


@pytest.mark.parametrize(
    ("venue", "file"),
    [("binance", "binance-spot/btcusdt-20240808.log.zst"), ("kraken-v1", "kraken-v1/multi-20210417.book1000.log.zst")],
)
def test_the_whole_book_of_a_recording_is_that_of_its_changes(recordings: Path, venue: str, file: str) -> None:
    """Method: beside two dictionaries a book, compared whole now and then."""
    recording, decoder = Recording(recordings / file), FeedDecoder(venue)
    books: dict[int, WholeBook] = {}
    model: dict[tuple[int, int], dict[int, int]] = {}
    sequence, compared = 1, 0
    while len(messages := recording.next(100)):
        depth = decoder.decode(sequence, messages)["depth"]
        sequence += len(messages)
        for row in depth:
            key = int(row["instrument_id"])
            if row["action"] == CLEAR:
                model[key, BID], model[key, ASK] = {}, {}
            else:
                side = model[key, int(row["side"])]
                side[int(row["price"])] = int(row["size"])
        for number in np.unique(depth["instrument_id"]).tolist():
            whole = books.setdefault(number, WholeBook())
            whole.take(depth[depth["instrument_id"] == number])
            assert whole.whole
            if sequence % 7 == 0:
                compared += 1
                bids, asks = ({p: s for p, s in model[number, side].items() if s} for side in (BID, ASK))
                everything = max(whole.counts())
                found = whole.grouped(1, everything)
                assert dict(zip(*found[0], strict=True)) == bids
                assert dict(zip(*found[1], strict=True)) == asks
                assert (found[0][0][0], found[1][0][0]) == (max(bids), min(asks))
    assert compared >= 10


def test_a_book_is_whole_from_a_snapshot_to_the_next_loss() -> None:
    whole, states = WholeBook(), []
    for rows in (
        [change(BID, 100, 5)],
        [change(BID, 90, 5), *snapshot(change(BID, 100, 7), change(ASK, 101, 3)), change(BID, 99, 1)],
        [],
        [change(BID, 100, 0)],
        snapshot(change(ASK, 102, 4)),
    ):
        if rows:
            taken(whole, *rows)
        else:
            whole.lost()
        states.append((whole.whole, whole.grouped(1, 9) if whole.whole else None))
    assert states == [
        (False, None),
        (True, (([100, 99], [7, 1]), ([101], [3]))),
        (False, None),
        (False, None),
        (True, (([], []), ([102], [4]))),
    ]


def test_exponents_are_those_of_the_snapshot() -> None:
    whole = WholeBook()
    taken(whole, *snapshot(change(BID, 100, 7)))
    finer = {"price_exp": 4, "size_exp": 8}
    rows = [{**row, **finer} for row in snapshot(change(BID, 10_000, 7))]
    taken(whole, *rows)
    assert (whole.exponents, whole.grouped(1, 1)[0]) == ((4, 8), ([10_000], [7]))


def test_bids_are_rounded_down_and_asks_up_and_nothing_is_lost_between() -> None:
    bids = np.array([1_009, 1_005, 1_000, 999, 990, 0]), np.array([1, 2, 3, 4, 5, 0])
    asks = np.array([1_011, 1_020, 1_021, 1_040, 0, 0]), np.array([1, 2, 3, 4, 0, 0])
    assert group(*bids, -10, 9) == ([1_000, 990], [6, 9])
    assert group(*asks, 10, 9) == ([1_020, 1_030, 1_040], [3, 3, 4])
    assert group(*asks, 10, 2) == ([1_020, 1_030], [3, 3])
    assert group(np.zeros(5, np.int64), np.zeros(5, np.int64), 10, 2) == ([], [])


@given(
    st.dictionaries(st.integers(1, 400), st.integers(1, 1 << 40), min_size=1, max_size=60),
    st.sampled_from([1, 2, 5, 10, 50, 1_000]),
    st.sampled_from([BID, ASK]),
    st.integers(1, 30),
)
def test_groups_are_those_of_a_naive_count(levels: dict[int, int], step: int, side: int, count: int) -> None:
    """Method: a dictionary of rounded prices."""
    prices = sorted(levels, reverse=side == BID)
    naive: dict[int, int] = {}
    for price in prices:
        name = price // step * step if side == BID else (price + step - 1) // step * step
        naive[name] = naive.get(name, 0) + levels[price]
    found = group(np.array(prices), np.array([levels[price] for price in prices]), -side * step, count)
    assert list(zip(*found, strict=True)) == list(naive.items())[:count]


def test_a_book_that_is_told_again_in_pieces_is_whole_behind_the_last_whatever_changed_between_them() -> None:
    def told(*rows: dict[str, Any], last: bool = False) -> list[dict[str, Any]]:
        flags = [SNAPSHOT] * (len(rows) - 1) + [SNAPSHOT | (LAST if last else 0)]
        return [{**row, "source_index": RETOLD, "flags": flag} for row, flag in zip(rows, flags, strict=True)]

    whole = WholeBook()
    first = told(change(0, 0, 0, action=CLEAR, source_sequence=7), change(BID, 100, 5, source_sequence=7))
    pieces = [
        [*first, change(BID, 100, 4, source_sequence=8, flags=LAST)],  # of a level that was told
        [change(BID, 98, 6, source_sequence=9, flags=LAST)],  # of one still to be told
        told(change(BID, 99, 2, source_sequence=9), change(BID, 98, 6, source_sequence=9)),
        [change(BID, 99, 0, source_sequence=10, flags=LAST)],
    ]
    for rows in pieces:
        taken(whole, *rows)
        assert not whole.whole
    taken(whole, *told(change(ASK, 101, 3, source_sequence=10), last=True))
    assert whole.whole
    expected = (([100, 98], [4, 6]), ([101], [3]))
    assert whole.grouped(1, 9) == expected
    # Told to others, of which the last piece is still to come: it says what is known.
    taken(whole, *first)
    assert (whole.whole, whole.grouped(1, 9)) == (True, expected)
    # The end of one whose beginning was lost makes nothing whole.
    whole.lost()
    taken(whole, *told(change(ASK, 101, 3, source_sequence=10), last=True))
    assert not whole.whole


async def test_grouped_depth_is_of_all_levels_and_else_of_the_image(desk: Desk) -> None:
    """25 levels of an image a cent apart, and 60 of the whole book."""
    image = book([(10_000 - at, 100_000) for at in range(25)], [(10_001 + at, 100_000) for at in range(25)])
    desk.source.put("md.book", {**image, "venue_sequence": 4})
    desk.step()
    path = "/api/v1/depth?instrument=BTCUSDT.BINANCE&limit=100&step=0.1"
    said = (await desk.get(path)).json()
    assert (said["whole"], said["step"], said["last_update_id"]) == (False, "0.1", 4)
    assert said["bids"] == [["100.00", "1.00000"], ["99.90", "10.00000"], ["99.80", "10.00000"], ["99.70", "4.00000"]]
    assert said["asks"] == [["100.10", "10.00000"], ["100.20", "10.00000"], ["100.30", "5.00000"]]
    levels = (change(side, 10_000 - side * at + (side == ASK), 100_000) for side in (BID, ASK) for at in range(60))
    desk.source.put("md.depth", *snapshot(*levels), change(BID, 9_000, 1, venue_sequence=7))
    desk.step()
    said = (await desk.get(path)).json()
    assert (said["whole"], said["bid_count"], said["ask_count"], said["last_update_id"]) == (True, 61, 60, 7)
    assert [price for price, _ in said["bids"]] == [
        "100.00",
        "99.90",
        "99.80",
        "99.70",
        "99.60",
        "99.50",
        "99.40",
        "90.00",
    ]
    assert sum(float(size) for _, size in said["asks"]) == 60
    desk.source.put("md.depth", change(BID, 8_000, 1), missed=1)
    desk.step()
    assert (await desk.get(path)).json()["whole"] is False


@pytest.mark.parametrize("step", ["3", "0.3", "0.001", "-1", "1e3", "00.1", "", "100000000000000000000"])
async def test_a_step_that_cannot_be_is_refused_with_one_that_can(desk: Desk, step: str) -> None:
    desk.source.put("md.book", book([(100, 1)], [(101, 1)]))
    desk.step()
    answer = await desk.get(f"/api/v1/depth?instrument=BTCUSDT.BINANCE&step={step}")
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
    assert "step" in answer.json()["detail"]
