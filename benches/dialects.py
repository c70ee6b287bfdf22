"""Every dialect's messages, recorded where there is a recording: what one costs, beside cryptofeed's own handler of the feed.

Ours also checks chains, checksums and numbers and writes every level change as a record. Both must end with the same best
prices of every instrument. cryptofeed is fed by hand as its connections would. Its `coinbase` is Advanced Trade and its
`kraken` is v1, so for Coinbase Exchange and Kraken v2 it has nothing to measure; nor has it for order-by-order feeds, of
which every event becomes a record.
"""

import asyncio
import importlib
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from benches import itch_flow
from benches.harness import Bench, Sample, measure
from tidebook._core import (
    DepthBook,
    FeedDecoder,
    Payloads,
    instrument_name,
    pack_message,
    parse_units,
    unpack_message,
)
from tidebook.node.recordings import Recordings

WS, REST, STATE = 1, 2, 3
ITCH_DAY = f'{{"event":"capture","format":"itch50","midnight_ns":{itch_flow.MIDNIGHT_NS}}}'.encode()
# Messages of one hand-over: what a follower gets from the journal at once.
BATCH = 512
SMALL_MESSAGES = 1_000
PEER = "cryptofeed"

Text = tuple[int, bool, str]
"""Receive time in ns, whether it is an answer of REST, JSON."""
Best = tuple[Any, Any, Any, Any]
"""Bid price, bid size, ask price, ask size."""


@dataclass(frozen=True)
class Handler:
    """cryptofeed's handler of a feed, with its pairs and their names at the venue."""

    module: str
    name: str
    pairs: dict[str, str]
    kind: str = "spot"
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Dialect:
    """A recorded feed of books."""

    venue: str
    files: tuple[str, ...]
    peer: Handler | None = None
    only: bytes = b""
    """What stands in the messages that are fed, snapshots apart; empty: all are, since they are numbered together."""


KRAKEN_V1_PAIRS = [
    "WAVES/EUR",
    "XMR/USD",
    "KSM/XBT",
    "GRT/ETH",
    "SC/EUR",
    "ETH/CHF",
    "OCEAN/XBT",
    "OMG/USD",
    "XBT/CHF",
    "ADA/XBT",
]

DIALECTS = (
    Dialect(
        "binance-usdm",
        ("binance-usdm/btcusdt-20240808.log.zst",),
        Handler("binance_futures", "BinanceFutures", {"BTC-USDT-PERP": "BTCUSDT"}, "perpetual"),
        only=b'"depthUpdate"',
    ),
    Dialect(
        "binance-coinm",
        ("binance-coinm/btcusd_perp-20240808.log.zst", "binance-coinm/btcusd_perp-20240809.log.zst"),
        Handler("binance_delivery", "BinanceDelivery", {"BTC-USD-PERP": "BTCUSD_PERP"}, "perpetual"),
        only=b'"depthUpdate"',
    ),
    Dialect("coinbase", ("coinbase-exchange/multi-20210417.log.zst",)),
    Dialect(
        "coinbase-advanced",
        ("coinbase-advanced/btcusd-ethusd-20260809.jsonl.zst",),
        Handler("coinbase", "Coinbase", {"BTC-USD": "BTC-USD", "ETH-USD": "ETH-USD"}),
    ),
    Dialect("kraken", ("kraken-v2/kraken_btcusd_sample.cbcap.zst",)),
    Dialect(
        "kraken-v1",
        ("kraken-v1/multi-20210417.book1000.log.zst",),
        Handler(
            "kraken",
            "Kraken",
            {pair.replace("XBT", "BTC").replace("/", "-"): pair for pair in KRAKEN_V1_PAIRS},
            options={"checksum_validation": True},
        ),
    ),
)


ORDER_BY_ORDER = (
    Dialect("bitstamp", ("l3-bitstamp/btcusd-20150501.log.zst",)),
    Dialect("lobster", ("l3-lobster/aapl-20120621-message.csv.zst",)),
)


def dialects(bench: Bench, recordings: Path) -> None:
    """The figures of this file, for the area `feeds`; a dialect without a recording at hand has none."""
    for dialect in (*DIALECTS, *ORDER_BY_ORDER):
        files = [recordings / name for name in dialect.files]
        if not all(file.exists() for file in files):
            continue
        if dialect in DIALECTS:
            one_dialect(bench, dialect, files)
        else:
            payloads = fed(dialect, files, SMALL_MESSAGES if bench.small else None)
            order_by_order(bench, dialect.venue, payloads, "recorded")
    itch = [pack_message(itch_flow.MIDNIGHT_NS, 1, STATE, ITCH_DAY)]
    itch += [pack_message(ts_recv, 1, WS, body) for ts_recv, body in itch_flow.messages(bench.size(400_000, 500))]
    order_by_order(bench, "nasdaq", itch, f"synthetic, {itch_flow.STOCKS} stocks")


def order_by_order(bench: Bench, venue: str, payloads: list[bytes], source: str) -> None:
    """One message of order flow decoded; every event is looked up in what rests and written as a record.

    Raises: RuntimeError when a message of the synthetic flow was not understood.
    """
    batches = [Payloads(payloads[start : start + BATCH]) for start in range(0, len(payloads), BATCH)]
    counters = decoded(venue, batches).report()["counters"]
    if counters["malformed"] or counters["unknown"]:
        raise RuntimeError(f"{venue}: {counters}")
    samples = measure({"ours": partial(decoded, venue, batches)}, rounds=bench.size(9, 2))
    each = samples["ours"].per(len(payloads)).in_unit("ns")
    bench.figure(
        f"{venue}, decode a message of order flow",
        each,
        note=f"{len(payloads):,} messages, {source}; {counters['orders'] / len(payloads):.2f} order events each; "
        f"{1e9 / each.value:,.0f} messages/s; cryptofeed missing, it has no handler of this feed",
    )


def one_dialect(bench: Bench, dialect: Dialect, files: list[Path]) -> None:
    """One message decoded and applied, ours and theirs in turn."""
    payloads = fed(dialect, files, SMALL_MESSAGES if bench.small else None)
    batches = [Payloads(payloads[start : start + BATCH]) for start in range(0, len(payloads), BATCH)]
    # Short recordings are read several times in one round, each time from the beginning.
    repeats = bench.size(max(1, 5_000 // len(payloads)), 1)
    work: dict[str, Callable[[], object]] = {
        "ours": partial(repeated, partial(decoded, dialect.venue, batches), repeats)
    }
    peer = None if dialect.peer is None else with_cryptofeed(dialect.peer)
    if peer is not None:
        texts = [text_of(payload) for payload in payloads]
        compare(dialect, batches, peer(texts))
        work[PEER] = partial(repeated, partial(peer, texts), repeats)
    samples = measure(work, rounds=bench.size(5, 2))
    each = {name: sample.per(len(payloads) * repeats).in_unit("ns") for name, sample in samples.items()}
    levels = level_count(dialect.venue, batches) / len(payloads)
    rate = 1e9 / each["ours"].value
    note = f"{len(payloads):,} recorded messages, {levels:.1f} levels each; {rate:,.0f} messages/s"
    if dialect.peer is None:
        bench.figure(
            f"{dialect.venue}, decode and apply a message",
            each["ours"],
            note=f"{note}; cryptofeed missing, it has no handler of this feed",
        )
    else:
        theirs = each.get(PEER)
        if theirs is not None:
            note += f" against {1e9 / theirs.value:,.0f}"
        bench.figure(
            f"{dialect.venue}, decode and apply a message",
            each["ours"],
            peers={PEER: theirs},
            note=note,
        )
    bench.figure(f"{dialect.venue}, a level", per_level(each["ours"], levels), note="the same, all work by level")


def per_level(message: Sample, levels: float) -> Sample:
    """What one level change cost, everything else of its message included."""
    return Sample(message.value / levels, message.spread / levels, message.unit)


def fed(dialect: Dialect, files: list[Path], count: int | None) -> list[bytes]:
    """The messages that both sides get, in order, at most `count`."""
    recordings = Recordings(files)
    if recordings.venue != dialect.venue:
        raise RuntimeError(f"{files[0]} is of {recordings.venue}")
    payloads = []
    for _, recording in recordings.files:
        while messages := recording.next(BATCH):
            payloads += [messages[index] for index in range(len(messages))]
    if dialect.only:
        payloads = book_only(payloads, dialect.only)
    return payloads[:count]


def book_only(payloads: list[bytes], only: bytes) -> list[bytes]:
    """The snapshot first, then what it does not hold already: some of that was received before it."""
    snapshots: list[tuple[int, bytes]] = []
    changes: list[tuple[int, bytes]] = []
    for payload in payloads:
        _, _, kind, _, body = unpack_message(payload)
        if kind == REST:
            snapshots.append((number(body, b'"lastUpdateId":'), payload))
        elif only in body:
            changes.append((number(body, b'"u":'), payload))
    ((last, snapshot),) = snapshots
    return [snapshot, *(payload for update, payload in changes if update >= last)]


def number(body: bytes, key: bytes) -> int:
    """The whole number behind the first `key`."""
    start = body.index(key) + len(key)
    end = body.index(b",", start)
    return int(body[start:end])


def text_of(payload: bytes) -> Text:
    ts_recv, _, kind, _, body = unpack_message(payload)
    return ts_recv, kind == REST, body.decode()


def repeated(call: Callable[[], object], times: int) -> None:
    for _ in range(times):
        call()


def decoded(venue: str, batches: list[Payloads]) -> FeedDecoder:
    decoder, sequence = FeedDecoder(venue), 1
    for batch in batches:
        decoder.decode(sequence, batch)
        sequence += len(batch)
    return decoder


def level_count(venue: str, batches: list[Payloads]) -> int:
    """Level changes that come out, those of snapshots included."""
    decoder, sequence, count = FeedDecoder(venue), 1, 0
    for batch in batches:
        count += len(decoder.decode(sequence, batch)["depth"])
        sequence += len(batch)
    return count


def compare(dialect: Dialect, batches: list[Payloads], theirs: dict[str, Best]) -> None:
    """Both sides end with the same best prices and sizes of every instrument, and ours found nothing wrong.

    Raises: RuntimeError when they do not: then one of them was not measured at the same work.
    """
    decoder, sequence = FeedDecoder(dialect.venue), 1
    books: dict[int, tuple[DepthBook, int, int]] = {}
    names: dict[int, str] = {}
    for batch in batches:
        records = decoder.decode(sequence, batch)
        sequence += len(batch)
        for row in records["instruments"]:
            names[int(row["instrument_id"])] = bytes(row["symbol"]).rstrip(b"\0").decode()
        depth = records["depth"]
        for instrument_id in set(depth["instrument_id"].tolist()):
            rows = depth[depth["instrument_id"] == instrument_id]
            book = books[instrument_id][0] if instrument_id in books else DepthBook()
            book.apply(rows)
            books[instrument_id] = (book, int(rows["price_exp"][-1]), int(rows["size_exp"][-1]))
    ours = {names[key]: book.best() for key, (book, _, _) in books.items()}
    exponents = {names[key]: (price_exp, size_exp) for key, (_, price_exp, size_exp) in books.items()}
    found = {}
    for symbol, best in theirs.items():
        name = instrument_name(dialect.venue, symbol.replace("XBT", "BTC"))
        price_exp, size_exp = exponents[name]
        found[name] = tuple(
            parse_units(f"{value:f}", exp) for value, exp in zip(best, (price_exp, size_exp) * 2, strict=True)
        )
    if ours != found:
        raise RuntimeError(f"{PEER} ends with {found}, we with {ours}")
    counters = decoder.report()["counters"]
    if counters["gaps"] or counters["malformed"]:
        raise RuntimeError(f"{dialect.venue}: {counters}")


def with_cryptofeed(handler: Handler) -> Callable[[list[Text]], dict[str, Best]] | None:
    """The handler of cryptofeed, fed by hand; None when the package is not installed."""
    try:
        defines = importlib.import_module("cryptofeed.defines")
        symbols = importlib.import_module("cryptofeed.symbols")
        types = importlib.import_module("cryptofeed.types")
        exchange = getattr(importlib.import_module(f"cryptofeed.exchanges.{handler.module}"), handler.name)
        json = importlib.import_module("yapic.json")
    except ImportError:
        return None
    decimal = importlib.import_module("decimal").Decimal
    # What it does not know it would log, which is not what is measured.
    logging.getLogger("feedhandler").setLevel(logging.CRITICAL)
    pairs = list(handler.pairs)
    symbols.Symbols.set(exchange.id, handler.pairs, {"instrument_type": dict.fromkeys(pairs, handler.kind)})

    async def seen(book: Any, receipt: float) -> None:
        """A subscriber that does nothing."""

    async def refuse(pair: str) -> None:
        raise RuntimeError(f"cryptofeed lost its book of {pair} and wants to fetch one")

    async def feed(texts: list[Text]) -> dict[str, Best]:
        running = exchange(
            symbols=pairs, channels=[defines.L2_BOOK], callbacks={defines.L2_BOOK: seen}, **handler.options
        )
        running._snapshot = refuse  # noqa: SLF001 - a bench uses no network
        books = running._l2_book  # noqa: SLF001 - the place where its handler keeps them
        for ts_recv, rest, text in texts:
            if not rest:
                await running.message_handler(text, None, ts_recv / 1e9)
            elif '"lastUpdateId"' in text:
                # What its `_snapshot` does with the answer of its own request.
                answer = json.loads(text, parse_float=decimal)
                sides = [{decimal(price): decimal(size) for price, size in answer[side]} for side in ("bids", "asks")]
                (pair,) = pairs
                running.last_update_id[pair] = answer["lastUpdateId"]
                books[pair] = types.OrderBook(
                    running.id, pair, max_depth=running.max_depth, bids=sides[0], asks=sides[1]
                )
        return {
            handler.pairs[pair]: (*book.book.bids.index(0), *book.book.asks.index(0)) for pair, book in books.items()
        }

    return lambda texts: asyncio.run(feed(texts))
