"""What stands of a session's subscriptions, stream by stream."""

import math

from tidebook.feeds.protocol import SymbolStream
from tidebook.feeds.standing import Standing, by_streams

BOOK, TRADES = SymbolStream("BTC/USD", "book"), SymbolStream("BTC/USD", "trade")
OTHER = SymbolStream("ETH/USD", "book")
SHARED = SymbolStream("", "instrument")
WANTED = dict.fromkeys((SHARED, BOOK, TRADES, OTHER))


def test_a_refused_stream_is_missing_again_after_a_while_and_what_was_granted_is_not() -> None:
    standing = Standing(retry_s=60.0)
    assert standing.missing(WANTED, 0.0) == [SHARED, BOOK, TRADES, OTHER]
    standing.grant([SHARED, BOOK, OTHER])
    standing.refuse({TRADES: "in maintenance"}, 10.0)
    assert (standing.missing(WANTED, 69.0), standing.again_s()) == ([], 70.0)
    assert standing.missing(WANTED, 70.0) == [TRADES]
    assert standing.reasons(["BTC/USD", "ETH/USD"]) == {"BTC/USD": "trade: in maintenance"}
    assert standing.has("BTC/USD", ["book"])
    assert not standing.has("BTC/USD", ["book", "trade"])
    standing.grant([TRADES])
    assert (standing.again_s(), standing.refused) == (math.inf, {})


def test_what_is_refused_later_stands_no_more() -> None:
    standing = Standing(retry_s=60.0)
    standing.grant([BOOK])
    standing.refuse({BOOK: "delisted"}, 5.0)
    assert not standing.has("BTC/USD", ["book"])
    assert standing.missing([BOOK], 65.0) == [BOOK]
    assert standing.reasons(["BTC/USD"]) == {"BTC/USD": "delisted"}


def test_what_is_not_wanted_any_more_is_given_up_and_its_refusal_forgotten() -> None:
    standing = Standing(retry_s=60.0)
    standing.grant([BOOK, OTHER])
    standing.refuse({TRADES: "in maintenance"}, 0.0)
    assert standing.surplus({OTHER: None}) == [BOOK], "and nothing that was never granted"
    standing.give_up([BOOK])
    assert (standing.granted, standing.refused) == ({OTHER: None}, {})
    assert standing.missing(WANTED, 1.0) == [SHARED, BOOK, TRADES]


def test_symbols_that_want_the_same_streams_are_asked_for_together() -> None:
    third = SymbolStream("SOL/USD", "book")
    assert by_streams([SHARED, BOOK, TRADES, OTHER, third, SymbolStream("", "heartbeats")]) == [
        (("instrument",), ()),
        (("book", "trade"), ("BTC/USD",)),
        (("book",), ("ETH/USD", "SOL/USD")),
        (("heartbeats",), ()),
    ]
