"""A seeded morning of NASDAQ's TotalView-ITCH 5.0, for the bench: no recording with orders is at hand.

Its shape is that of a busy day's open: of ten messages about four create an order and four delete one, the rest are fills,
replacements, partial withdrawals and hidden trades, over hundreds of stocks with some hundred resting orders each.
"""

import random
import struct
from collections.abc import Iterator

STOCKS = 500
MIDNIGHT_NS = 1_548_824_400_000_000_000
OPEN_NS = 34_200_000_000_000

_HEAD = struct.Struct(">cHHHI")
"""Type, number of the stock, tracking number, ns after midnight as two words of 6 bytes together."""


def head(kind: bytes, locate: int, ns: int) -> bytes:
    return _HEAD.pack(kind, locate, 0, ns >> 32, ns & 0xFFFF_FFFF)


def symbol(locate: int) -> bytes:
    """Three letters, padded as the wire pads them."""
    letters = (locate // 676 % 26, locate // 26 % 26, locate % 26)
    return bytes(65 + letter for letter in letters) + b"     "


def messages(count: int, seed: int = 1) -> Iterator[tuple[int, bytes]]:
    """(receive time in ns, message): the directory, then `count` messages."""
    flow = random.Random(seed)
    now = OPEN_NS
    for locate in range(1, STOCKS + 1):
        now += 1_000
        body = symbol(locate) + b"QN" + struct.pack(">I", 100) + b"NCZ PNN1N" + bytes(4) + b"N"
        yield MIDNIGHT_NS + now, head(b"R", locate, now) + body
    orders: list[tuple[int, int, int]] = []
    order_id, match = 0, 0
    for _ in range(count):
        now += flow.randrange(1, 20_000)
        kind = flow.random()
        if kind < 0.46 or len(orders) < STOCKS:
            order_id += flow.randrange(1, 4)
            locate, size = flow.randrange(1, STOCKS + 1), 100 * flow.randrange(1, 10)
            orders.append((order_id, locate, size))
            side = b"B" if flow.random() < 0.5 else b"S"
            price = 1_000_000 + 100 * flow.randrange(500)
            fields = struct.pack(">QcI8sI", order_id, side, size, symbol(locate), price)
            yield MIDNIGHT_NS + now, head(b"A", locate, now) + fields
            continue
        # The youngest orders go first, as on the venue.
        place = max(0, len(orders) - 1 - int(flow.expovariate(1 / 20_000)))
        this, locate, size = orders[place]
        if kind < 0.55:
            part = max(1, size // 2)
            left = size - part
            if kind < 0.52:
                match += 1
                body = head(b"E", locate, now) + struct.pack(">QIQ", this, part, match)
            else:
                body = head(b"X", locate, now) + struct.pack(">QI", this, part)
        elif kind < 0.57:
            match += 1
            left = size
            fields = struct.pack(">QcI8sIQ", 0, b"B", 100, symbol(locate), 1_020_000, match)
            body = head(b"P", locate, now) + fields
        elif kind < 0.63:
            left = 0
            order_id += flow.randrange(1, 4)
            orders.append((order_id, locate, size))
            price = 1_000_000 + 100 * flow.randrange(500)
            body = head(b"U", locate, now) + struct.pack(">QQII", this, order_id, size, price)
        else:
            left = 0
            body = head(b"D", locate, now) + struct.pack(">Q", this)
        if left:
            orders[place] = (this, locate, left)
        else:
            orders[place] = orders[-1]
            orders.pop()
        yield MIDNIGHT_NS + now, body
