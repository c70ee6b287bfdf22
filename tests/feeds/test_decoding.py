"""Raw messages to records from Python: what holds on recordings, and books made from depth records."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from benches import binance_flow
from tests.conftest import NO_RECORDINGS
from tidebook import DepthBook
from tidebook._core import FeedDecoder, Payloads, Recording, pack_message, schemas
from tidebook.errors import TidebookError

RECORDINGS = Path(os.environ.get("TIDEBOOK_DATA_RECORDINGS", Path(__file__).parents[3] / "shared" / "data"))
WS, REST = 1, 2


def decoded(files: list[str]) -> tuple[FeedDecoder, dict[str, NDArray[Any]]]:
    """Recordings read one after the other through one decoder, with all records; skips when there are none."""
    if not RECORDINGS.is_dir():
        pytest.skip(NO_RECORDINGS)
    opened = [Recording(RECORDINGS / name) for name in files]
    decoder, sequence = FeedDecoder(opened[0].venue), 1
    batches: dict[str, list[NDArray[Any]]] = {}
    for recording in opened:
        while messages := recording.next(1_000):
            for name, records in decoder.decode(sequence, messages).items():
                batches.setdefault(name, []).append(records)
            sequence += len(messages)
    return decoder, {name: np.concatenate(arrays) for name, arrays in batches.items()}


def oracle(decoder: FeedDecoder, name: str) -> tuple[int, int]:
    """Times an oracle held and did not."""
    found = {entry["name"]: (entry["passed"], entry["failed"]) for entry in decoder.report()["oracles"]}
    return found.get(name, (0, 0))


def flow(count: int) -> Payloads:
    """A synthetic Binance depth feed."""
    target = binance_flow.TARGET.encode()
    return Payloads(
        [
            pack_message(ts_recv, 1, REST if rest else WS, text.encode(), target if rest else b"")
            for ts_recv, rest, text in binance_flow.messages(count)
        ]
    )


def test_the_recorded_binance_days_hold_their_chain_ticker_and_trade_ids() -> None:
    decoder, records = decoded(["binance-spot/btcusdt-20240808.log.zst", "binance-spot/btcusdt-20240809.log.zst"])
    assert oracle(decoder, "binance.depth_chain") == (6_494, 0)
    passed, failed = oracle(decoder, "binance.book_ticker")
    assert passed >= 6_490
    assert failed <= 2
    trades = records["trades"]
    assert np.all(np.diff(trades["trade_id"].astype(np.int64)) == 1)
    assert len(trades) == 9_757 + 10_147
    report = decoder.report()
    assert (report["messages"], report["gaps"], report["quarantined"]) == (99_574, 0, [])


@pytest.mark.parametrize(
    ("name", "count"), [("kraken_btcusd_l2", 301), ("kraken_btcusd_sample", 2_052), ("kraken_xrpusd_sample", 1_147)]
)
def test_each_recorded_kraken_checksum_holds(name: str, count: int) -> None:
    decoder, _ = decoded([f"kraken-v2/{name}.cbcap.zst"])
    assert oracle(decoder, "kraken.book_checksum") == (count, 0)


def test_recorded_kraken_trades_make_the_venue_s_own_bars() -> None:
    names = ["kraken-rest/xbtusdt-trades-20251110.json.zst", "kraken-rest/xbtusdt-ohlc-20251110.json.zst"]
    decoder, _ = decoded(names)
    assert oracle(decoder, "kraken.ohlc") == (272, 0)


def test_a_book_from_depth_records_has_the_tops_of_the_derived_quotes() -> None:
    """Method: after each message of the venue, the book's best levels are those of the last derived quote."""
    decoder, book = FeedDecoder("binance"), DepthBook()
    records = decoder.decode(1, flow(300))
    depth, quotes = records["depth"], records["quotes"]
    ends = np.flatnonzero(depth["flags"] & 128) + 1
    assert len(ends) == 301
    start = quoted = 0
    for end in ends.tolist():
        book.apply(depth[start:end])
        while quoted < len(quotes) and quotes["source_sequence"][quoted] <= depth["source_sequence"][end - 1]:
            quoted += 1
        fields = ("bid_price", "bid_size", "ask_price", "ask_size")
        assert book.best() == tuple(int(quotes[field][quoted - 1]) for field in fields)
        start = end
    assert book.venue_sequence == depth["venue_sequence"][-1]


def test_levels_are_two_rows_from_the_best_outwards_and_missing_ones_have_no_size() -> None:
    book = DepthBook()
    depth = np.zeros(4, schemas()["depth"].dtype())
    depth["instrument_id"], depth["action"] = 7, 1
    depth["side"] = [1, 1, -1, 1]
    depth["price"] = [99, 98, 101, 98]
    depth["size"] = [5, 6, 7, 0]
    book.apply(depth)
    prices, sizes = book.levels(2)
    assert prices.tolist() == [[99, 0], [101, 0]]
    assert sizes.tolist() == [[5, 0], [7, 0]]
    assert book.counts() == (1, 1)
    assert book.best() == (99, 5, 101, 7)
    before = book.state_hash()
    book.apply(depth[::-1])
    assert book.counts() == (2, 1)
    assert book.state_hash() != before


def test_a_book_refuses_other_arrays_and_other_instruments() -> None:
    book = DepthBook()
    with pytest.raises(TypeError, match="schemas"):
        book.apply(np.zeros(1))
    depth = np.zeros(2, schemas()["depth"].dtype())
    depth["instrument_id"] = [1, 2]
    with pytest.raises(ValueError, match="instrument 2 in a book of 1"):
        book.apply(depth)


def test_the_same_messages_in_other_batches_give_the_same_records() -> None:
    messages = flow(100)
    whole = FeedDecoder("binance").decode(1, messages)
    one_by_one = FeedDecoder("binance")
    parts = [one_by_one.decode(index + 1, Payloads([messages[index]])) for index in range(len(messages))]
    for name, records in whole.items():
        assert np.array_equal(np.concatenate([part[name] for part in parts]), records)


def test_frames_that_make_no_sense_are_reported_and_stop_nothing() -> None:
    decoder = FeedDecoder("binance")
    frames = [b"{", b"\xff\xfe", b'{"e":"trade"}', b"", b'{"result":null,"id":1}']
    records = decoder.decode(1, Payloads([pack_message(1, 1, WS, frame) for frame in frames]))
    report = decoder.report()
    assert report["counters"]["malformed"] == 4
    assert [entry["sequence"] for entry in report["quarantined"]] == [1, 2, 3, 4]
    assert records["status"]["kind"].tolist() == [12] * 4
    with pytest.raises(TidebookError, match="mtgox"):
        FeedDecoder("mtgox")


def test_trades_of_one_kraken_message_with_different_decimals_keep_their_prices() -> None:
    """The second trade needs more decimals than the first: both must come in those."""
    trades = [
        {"symbol": "BTC/USD", "side": "buy", "price": "63388.8", "qty": "0.50", "trade_id": 1},
        {"symbol": "BTC/USD", "side": "buy", "price": "63388.85", "qty": "0.12345678", "trade_id": 2},
    ]
    entries = ",".join(
        f'{{"symbol":"{t["symbol"]}","side":"{t["side"]}","price":{t["price"]},"qty":{t["qty"]},"ord_type":"limit",'
        f'"trade_id":{t["trade_id"]},"timestamp":"2026-08-02T03:35:51.302928Z"}}'
        for t in trades
    )
    body = f'{{"channel":"trade","type":"update","data":[{entries}]}}'.encode()
    message = pack_message(1_785_641_751_302_928_000, 1, 1, body)
    rows = FeedDecoder("kraken").decode(1, Payloads([message]))["trades"]
    prices = [int(row["price"]) / 10 ** int(row["price_exp"]) for row in rows]
    sizes = [int(row["size"]) / 10 ** int(row["size_exp"]) for row in rows]
    assert (prices, sizes) == ([63388.8, 63388.85], [0.5, 0.12345678])
