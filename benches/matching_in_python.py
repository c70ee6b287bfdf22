"""A limit order book in pure Python on a stream of orders: `python -m benches.matching_in_python FILE COMMANDS`, one line of JSON.

What Python programs use instead of ours: fastlob, from its registry. It has no IOC and no replace: IOC is a limit order whose rest is
cancelled, a replace a cancel and a new order, so what trades may differ a little and no hash of it is said.
"""

import json
import struct
import sys
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

RECORD = struct.Struct("<BBHIqqq")
HEAD = struct.Struct("<8sQQQ")
GTC, IOC, FOK, CANCEL = 1, 2, 3, 4


def main() -> None:
    stream = Path(sys.argv[1]).read_bytes()
    _, filling, _, _ = HEAD.unpack_from(stream)
    last = HEAD.size + (filling + int(sys.argv[2])) * RECORD.size
    records = list(RECORD.iter_unpack(stream[HEAD.size : last]))
    fastlob: Any = import_module("fastlob")
    book = fastlob.Orderbook("TIDE", start=True)
    apply = applying(fastlob, book)
    for record in records[:filling]:
        apply(record)
    start = time.perf_counter()
    for record in records[filling:]:
        apply(record)
    seconds = time.perf_counter() - start
    book.stop()
    count = len(records) - filling
    print(json.dumps({"commands": count, "per_s": count / seconds}))


def applying(fastlob: Any, book: Any) -> Callable[[tuple[int, ...]], None]:
    """Carries a record out."""
    sides = fastlob.OrderSide.BID, fastlob.OrderSide.ASK
    types = {GTC: fastlob.OrderType.GTC, IOC: fastlob.OrderType.GTC, FOK: fastlob.OrderType.FOK}
    ids: dict[int, str] = {}
    sells_by_order: dict[int, int] = {}

    def place(order: int, sells: int, price: int, size: int, kind: int) -> None:
        result = book(fastlob.OrderParams(sides[sells], price, size, types[kind]))
        ids[order] = result.orderid()
        sells_by_order[order] = sells

    def apply(record: tuple[int, ...]) -> None:
        kind, sells, _, order, price, size, left = record
        if kind <= FOK:
            place(order, sells, price, size, kind)
            if kind == IOC:
                book.cancel(ids[order])
        else:
            if left and order in ids:
                book.cancel(ids[order])
            if kind != CANCEL and left:
                place(order, sells_by_order[order], price, left, GTC)

    return apply


if __name__ == "__main__":
    main()
