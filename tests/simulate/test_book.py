"""The simulator's price-time book: small scenarios a trader can check by hand."""

from tidebook.simulate.book import BUY, SELL, Fill, OrderBook


def book_of(*orders: tuple[int, int, int]) -> OrderBook:
    book = OrderBook()
    for side, price, size in orders:
        book.add(side, price, size)
    return book


def test_a_market_order_takes_the_best_price_first_and_the_oldest_order_first() -> None:
    book = book_of((SELL, 101, 5), (SELL, 100, 2), (SELL, 100, 3), (BUY, 99, 1))
    assert book.take(BUY, 7, levels_max=10) == [Fill(100, 2), Fill(100, 3), Fill(101, 2)]
    assert book.sides[SELL].levels(10) == [(101, 3)]
    assert book.sides[BUY].levels(10) == [(99, 1)]


def test_what_a_market_order_cannot_fill_is_gone() -> None:
    book = book_of((BUY, 99, 4), (BUY, 98, 1))
    assert book.take(SELL, 100, levels_max=1) == [Fill(99, 4)]
    assert book.take(SELL, 100, levels_max=9) == [Fill(98, 1)]
    assert book.take(SELL, 1, levels_max=9) == []


def test_cancelling_a_filled_order_changes_nothing() -> None:
    book = OrderBook()
    first = book.add(BUY, 99, 4)
    second = book.add(BUY, 99, 6)
    assert book.take(SELL, 5, levels_max=1) == [Fill(99, 4), Fill(99, 1)]
    assert not book.cancel(first)
    assert book.cancel(second)
    assert not book.cancel(second)
    assert book.sides[BUY].best() is None


def test_levels_of_both_sides_are_best_first() -> None:
    book = book_of((BUY, 97, 1), (BUY, 99, 2), (BUY, 98, 3), (SELL, 105, 4), (SELL, 101, 5))
    assert book.sides[BUY].levels(2) == [(99, 2), (98, 3)]
    assert book.sides[SELL].levels(9) == [(101, 5), (105, 4)]
