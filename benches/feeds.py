"""Feeds: one depth message decoded and applied, a recording replayed at full speed.

The peers get the same messages as text and keep the same book: cryptofeed through its own message handler, and what a
careful Python programmer would write with msgspec and sortedcontainers (exact integers, best price read after each
message). All must end with the same best prices. Data is the recorded day of BTCUSDT where recordings are at hand,
else a synthetic flow of the same shape.
"""

import asyncio
import gc
import importlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import msgspec

from benches import binance_flow
from benches.dialects import dialects
from benches.engine_thread import engine_thread
from benches.harness import Bench, Sample, at_least, at_most, measure, times_better
from benches.many_symbols import many_symbols
from benches.reconnect import reconnecting
from benches.socket_to_book import socket_to_book
from tidebook._core import DepthBook, FeedDecoder, Payloads, Recording, pack_message, unpack_message
from tidebook.node.recordings import Recordings
from tidebook.node.replay import replay_into
from tidebook.storage.store import Store

RECORDINGS = Path(os.environ.get("TIDEBOOK_DATA_RECORDINGS", Path(__file__).parents[2] / "shared" / "data"))
DAY = ("binance-spot/btcusdt-20240808.log.zst", "binance-spot/btcusdt-20240809.log.zst")
UNITS = 100_000_000
WS, REST = 1, 2
# Messages of one hand-over: what a follower gets from the journal at once.
BATCH = 512

Message = tuple[int, bool, str]
Top = tuple[int, int, int, int]
Peer = Callable[[list[Message]], Top]


def run(bench: Bench) -> None:
    recorded = not bench.small and all((RECORDINGS / name).exists() for name in DAY)
    # On a disk and not on a tmpfs, where a sync would cost nothing.
    with tempfile.TemporaryDirectory(prefix="tidebook-bench-", dir="/var/tmp") as folder:
        if recorded:
            files = [RECORDINGS / name for name in DAY]
            messages = recorded_depth(files)
        else:
            messages = list(binance_flow.messages(bench.size(6_000, 60)))
            files = [Path(folder) / "btcusdt.log"]
            write_log(files[0], messages)
        source = "recorded BTCUSDT, 2024-08-08 and 09" if recorded else "synthetic flow"
        decoding(bench, messages, source)
        replaying(bench, files, source)
        storing(bench, files, source, Path(folder))
        batches = read(files)
        payloads = [batch[index] for batch in batches for index in range(len(batch))]
        engine_thread(bench, payloads, source)
    dialects(bench, RECORDINGS)
    if not bench.small:  # their small sizes are tests of their own in tests/benches
        socket_to_book(bench)
        reconnecting(bench)
        many_symbols(bench)


def write_log(path: Path, messages: Iterable[Message]) -> None:
    """A capture file of these messages."""
    with path.open("w") as file:
        file.writelines(f"{ts_recv} {text}\n" for ts_recv, _, text in messages)


def read(files: list[Path]) -> list[Payloads]:
    """Every message of the files, in order."""
    batches = []
    for file in files:
        recording = Recording(file)
        while messages := recording.next(BATCH):
            batches.append(messages)
    return batches


def recorded_depth(files: list[Path]) -> list[Message]:
    """The REST snapshot, then the depth messages that it does not hold already."""
    snapshot: Message | None = None
    last_update_id = 0
    depth: list[tuple[int, Message]] = []
    for batch in read(files):
        for index in range(len(batch)):
            ts_recv, _, kind, _, body = unpack_message(batch[index])
            if kind == REST:
                last_update_id = msgspec.json.decode(body)["lastUpdateId"]
                snapshot = (ts_recv, True, body.decode())
            elif b'"depthUpdate"' in body:
                depth.append((msgspec.json.decode(body)["data"]["u"], (ts_recv, False, body.decode())))
    if snapshot is None:
        raise RuntimeError(f"no snapshot in {files}")
    return [snapshot, *(message for last, message in depth if last > last_update_id)]


def decoding(bench: Bench, messages: list[Message], source: str) -> None:
    """One depth message from its bytes into the book; ours also writes every level change as a record."""
    payloads = [
        pack_message(ts_recv, 1, REST if rest else WS, text.encode(), binance_flow.TARGET.encode() if rest else b"")
        for ts_recv, rest, text in messages
    ]
    batches = [Payloads(payloads[start : start + BATCH]) for start in range(0, len(payloads), BATCH)]

    def ours() -> FeedDecoder:
        decoder = FeedDecoder("binance")
        sequence = 1
        for batch in batches:
            decoder.decode(sequence, batch)
            sequence += len(batch)
        return decoder

    peers = {name: available(maker) for name, maker in PEERS.items()}
    expected = final_top(batches)
    for name, peer in peers.items():
        if peer is not None and (found := peer(messages)) != expected:
            raise RuntimeError(f"{name} ends with {found}, we with {expected}")
    work: dict[str, Callable[[], object]] = {"ours": ours}
    work |= {name: partial(peer, messages) for name, peer in peers.items() if peer is not None}
    samples = measure(work, rounds=bench.size(7, 2))
    count = len(messages)
    levels = ours().report()["counters"]["depth_levels"] / count

    def each(name: str) -> Sample | None:
        return samples[name].per(count).in_unit("ns") if name in samples else None

    bench.figure(
        "decode and apply a depth message",
        samples["ours"].per(count).in_unit("ns"),
        peers={name: each(name) for name in PEERS},
        goals=[
            at_most(500 + 60 * levels),
            times_better(20, "cryptofeed"),
            times_better(5, "msgspec + sortedcontainers"),
        ],
        note=f"{source}; {levels:.1f} levels a message, goal 500 ns + 60 ns a level",
    )


def final_top(batches: list[Payloads]) -> Top:
    """Best prices and sizes that our depth records end with."""
    decoder, book, sequence = FeedDecoder("binance"), DepthBook(), 1
    for batch in batches:
        book.apply(decoder.decode(sequence, batch)["depth"])
        sequence += len(batch)
    return book.best()


def replaying(bench: Bench, files: list[Path], source: str) -> None:
    """Capture files through reader, decoder and books to arrays of records, every kind of message they hold."""
    whole: list[float] = []
    opened: list[float] = []
    counters: dict[str, int] = {}
    for _ in range(bench.size(9, 2)):
        gc.collect()
        began = perf_counter()
        recordings = [Recording(file) for file in files]
        decompressed = perf_counter()
        decoder, sequence = FeedDecoder("binance"), 1
        for recording in recordings:
            while messages := recording.next(8_192):
                decoder.decode(sequence, messages)
                sequence += len(messages)
        ended = perf_counter()
        whole.append(ended - began)
        opened.append(ended - decompressed)
        counters = decoder.report()["counters"]
    bench.figure(
        "replay at full speed, level changes through books",
        Sample.of(opened, "s").as_rate(counters["depth_levels"], "levels"),
        goals=[at_least(5_000_000)],
        note=f"{source}; {counters['messages']:,} messages, read from files decompressed in memory",
    )
    bench.figure(
        "replay at full speed, messages",
        Sample.of(whole, "s").as_rate(counters["messages"], "messages"),
        note=f"{source}; decompressing included",
    )


def storing(bench: Bench, files: list[Path], source: str, folder: Path) -> None:
    """`tidebook replay FILES --data DIR`: journaled, decoded, stored and committed, nothing left out."""
    long = folder / "long.log"
    write_log(long, binance_flow.messages(bench.size(60_000, 60)))
    seconds, rows = replays_into_store([long], folder, rounds=bench.size(5, 1))
    promises = "raw journal synced, rows proven and committed with the feed position"
    bench.figure(
        "replay with storage on",
        Sample.of(seconds, "s").as_rate(rows, "rows"),
        goals=[at_least(1_500_000)],
        note=f"synthetic flow; {rows:,} rows; {promises}",
    )
    seconds, rows = replays_into_store(files, folder, rounds=bench.size(7, 1))
    bench.figure(
        "a short recording into a new store",
        Sample.of(seconds, "s").in_unit("ms"),
        note=f"{source}; {rows:,} rows; making journal and store, decompressing and closing included",
    )


def replays_into_store(files: list[Path], folder: Path, rounds: int) -> tuple[list[float], int]:
    """Seconds of each replay into a new data directory, and the rows it stored."""
    seconds: list[float] = []
    rows = 0
    for index in range(rounds):
        data = folder / str(index)
        gc.collect()
        began = perf_counter()
        replay_into(data, Recordings(files))
        seconds.append(perf_counter() - began)
        rows = sum(entry.rows for entry in Store(data).manifest.files.values())
        shutil.rmtree(data)
    return seconds, rows


def available(maker: Callable[[], Peer]) -> Peer | None:
    """The peer, or None when its package is not installed."""
    try:
        return maker()
    except ImportError:
        return None


def with_cryptofeed() -> Peer:
    """The Binance handler of cryptofeed, fed by hand as its connection would."""
    defines = importlib.import_module("cryptofeed.defines")
    symbols = importlib.import_module("cryptofeed.symbols")
    types = importlib.import_module("cryptofeed.types")
    binance = importlib.import_module("cryptofeed.exchanges.binance")
    json = importlib.import_module("yapic.json")
    decimal = importlib.import_module("decimal").Decimal
    pair = "BTC-USDT"
    symbols.Symbols.set(defines.BINANCE, {pair: binance_flow.SYMBOL}, {"instrument_type": {pair: "spot"}})

    async def seen(book: Any, receipt: float) -> None:
        """A subscriber that does nothing."""

    async def refuse(pair: str) -> None:
        raise RuntimeError(f"cryptofeed lost its book of {pair} and wants to fetch one")

    async def feed(messages: list[Message]) -> Any:
        handler = binance.Binance(symbols=[pair], channels=[defines.L2_BOOK], callbacks={defines.L2_BOOK: seen})
        handler._snapshot = refuse  # noqa: SLF001 - a bench uses no network
        for ts_recv, rest, text in messages:
            if not rest:
                await handler.message_handler(text, None, ts_recv / 1e9)
                continue
            # What its `_snapshot` does with the answer of its own request.
            answer = json.loads(text, parse_float=decimal)
            sides = [{decimal(price): decimal(size) for price, size in answer[side]} for side in ("bids", "asks")]
            book = types.OrderBook(handler.id, pair, max_depth=handler.max_depth, bids=sides[0], asks=sides[1])
            handler.last_update_id[pair] = answer["lastUpdateId"]
            handler._l2_book[pair] = book  # noqa: SLF001 - the place its `_snapshot` puts it
        return handler._l2_book[pair].book  # noqa: SLF001 - as above

    def run(messages: list[Message]) -> Top:
        book = asyncio.run(feed(messages))
        levels = (*book.bids.index(0), *book.asks.index(0))
        bid, bid_size, ask, ask_size = (int(value * UNITS) for value in levels)
        return bid, bid_size, ask, ask_size

    return run


class _Depth(msgspec.Struct):
    U: int
    u: int
    b: list[tuple[str, str]]
    a: list[tuple[str, str]]


class _Frame(msgspec.Struct):
    data: _Depth


class _Snapshot(msgspec.Struct):
    lastUpdateId: int  # noqa: N815 - the wire's name
    bids: list[tuple[str, str]]
    asks: list[tuple[str, str]]


def with_msgspec() -> Peer:
    """Typed decoding by msgspec and sorted dictionaries of exact integers; the chain is checked as ours is."""
    sorted_dict = importlib.import_module("sortedcontainers").SortedDict
    frame = msgspec.json.Decoder(_Frame)
    snapshot = msgspec.json.Decoder(_Snapshot)

    def units(text: str) -> int:
        return int(text.replace(".", ""))

    def run(messages: list[Message]) -> Top:
        bids, asks = sorted_dict(), sorted_dict()
        last = 0
        top: Top = (0, 0, 0, 0)
        for _, rest, text in messages:
            if rest:
                answer = snapshot.decode(text)
                last = answer.lastUpdateId
                for side, levels in ((bids, answer.bids), (asks, answer.asks)):
                    side.update({units(price): units(size) for price, size in levels})
                continue
            depth = frame.decode(text).data
            if not depth.U <= last + 1 <= depth.u:
                raise RuntimeError(f"gap before {depth.U}")
            last = depth.u
            for side, levels in ((bids, depth.b), (asks, depth.a)):
                for price, size in levels:
                    # Every decimal of the wire has eight places, so leaving out the point scales it.
                    if lots := int(size.replace(".", "")):
                        side[int(price.replace(".", ""))] = lots
                    else:
                        side.pop(int(price.replace(".", "")), None)
            bid, bid_size = bids.peekitem(-1)
            ask, ask_size = asks.peekitem(0)
            top = (bid, bid_size, ask, ask_size)
        return top

    return run


PEERS: dict[str, Callable[[], Peer]] = {"cryptofeed": with_cryptofeed, "msgspec + sortedcontainers": with_msgspec}
