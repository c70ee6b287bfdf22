"""A seeded Binance spot depth feed as a venue would send it, for benches where no recording is at hand.

Its shape is that of a recorded busy pair: about 40 level changes a message, four in ten removals, most within a few
hundred ticks of the touch, books of a thousand levels a side.
"""

import random
from collections.abc import Iterator

SYMBOL = "BTCUSDT"
TARGET = f"/api/v3/depth?symbol={SYMBOL}&limit=1000"
START_NS = 1_723_161_600_000_000_000


def price_text(ticks: int) -> str:
    """Ticks of 0.01 as the wire prints prices."""
    return f"{ticks // 100}.{ticks % 100:02d}000000"


def size_text(lots: int) -> str:
    """Lots of 0.00001 as the wire prints sizes."""
    return f"{lots // 100_000}.{lots % 100_000:05d}000"


def levels_text(levels: list[tuple[int, int]]) -> str:
    """Levels as a JSON array."""
    return "[" + ",".join(f'["{price_text(price)}","{size_text(lots)}"]' for price, lots in levels) + "]"


def snapshot(book: tuple[dict[int, int], dict[int, int]], update_id: int) -> str:
    """A REST answer."""
    bids = levels_text(sorted(book[0].items(), reverse=True))
    asks = levels_text(sorted(book[1].items()))
    return f'{{"lastUpdateId":{update_id},"bids":{bids},"asks":{asks}}}'


def messages(count: int, seed: int = 1) -> Iterator[tuple[int, bool, str]]:
    """(receive time in ns, whether it is the REST snapshot, JSON): the snapshot, then `count` depth messages."""
    flow = random.Random(seed)
    middle, update_id = 6_180_000, 50_000_000_000
    book: tuple[dict[int, int], dict[int, int]] = ({}, {})
    for distance in range(1, 1_001):
        book[0][middle - distance] = flow.randrange(1, 500_000)
        book[1][middle + distance] = flow.randrange(1, 500_000)
    yield START_NS, True, snapshot(book, update_id)
    for index in range(1, count + 1):
        changed: tuple[dict[int, int], dict[int, int]] = ({}, {})
        step = flow.choice((-2, -1, 0, 0, 1, 2))
        for passed in range(middle, middle + step + (step > 0) - (step < 0), (step > 0) - (step < 0) or 1):
            for side in (0, 1):
                if book[side].pop(passed, None) is not None:
                    changed[side][passed] = 0
        middle += step
        for side in (0, 1):
            if book[side].pop(middle, None) is not None:
                changed[side][middle] = 0
        for _ in range(flow.randrange(1, 80)):
            side = flow.randrange(2)
            distance = 1 + int(flow.expovariate(1 / 150))
            price = middle + distance if side else middle - distance
            lots = 0 if flow.random() < 0.4 else flow.randrange(1, 500_000)
            changed[side][price] = lots
            if lots:
                book[side][price] = lots
            else:
                book[side].pop(price, None)
        first, update_id = update_id + 1, update_id + max(1, len(changed[0]) + len(changed[1]))
        ts_recv = START_NS + index * 100_000_000
        bids = levels_text(sorted(changed[0].items(), reverse=True))
        asks = levels_text(sorted(changed[1].items()))
        data = (
            f'{{"e":"depthUpdate","E":{ts_recv // 1_000_000},"s":"{SYMBOL}","U":{first},"u":{update_id},'
            f'"b":{bids},"a":{asks}}}'
        )
        yield ts_recv, False, f'{{"stream":"btcusdt@depth@100ms","data":{data}}}'
