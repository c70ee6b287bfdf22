"""How the node's own venue trades an instrument is on both pages: a halted or collecting market looks like none that trades."""

from collections.abc import Callable

from playwright.sync_api import Page, expect

from tests.console.conftest import Server
from tests.console.server import AUCTION, HALTED, ONE_SIDED
from tests.console.test_page import open_market, open_markets

Serve = Callable[[str], Server]


def test_the_markets_table_says_sessions_and_gives_no_spread_of_orders_that_wait_for_each_other(
    page: Page, serve: Serve
) -> None:
    open_markets(page, serve("sessions"), "?venue=local")
    for name, condition, spread, why in (
        (AUCTION, "auction", "–", "0.500 at 3,000.50"),
        (HALTED, "halted", "–", ""),
        (ONE_SIDED, "usable", "–", ""),
    ):
        row = page.locator(f"tr[data-instrument='{name}']")
        expect(row.locator(".market-book .pill")).to_have_text(condition)
        expect(row.locator(".market-spread")).to_have_text(spread)
        expect(row.locator(".market-why")).to_have_text(why)
    # Digits go by the instrument's steps, not by what was quoted so far.
    expect(page.locator(f"tr[data-instrument='{ONE_SIDED}'] .bid")).to_have_text("6,000.00")


def test_the_page_of_a_book_says_its_session_and_what_its_auction_would_give(page: Page, serve: Serve) -> None:
    server = serve("sessions")
    open_market(page, server, AUCTION)
    expect(page.locator(".topbar .session")).to_have_attribute("data-session", "auction")
    expect(page.locator("[data-part=mid]")).to_have_text("auction")
    expect(page.locator(".middle .spread")).to_have_text("would trade 0.500 at 3,000.50")
    open_market(page, server, HALTED)
    expect(page.locator(".topbar .session .pill")).to_have_text("halted")
    expect(page.locator(".topbar .session")).to_contain_text("price band ±5 %")
    expect(page.locator("[data-part=mid]")).to_have_text("halted")
    expect(page.locator("[data-part=spread]")).to_have_text("")
    open_market(page, server, ONE_SIDED)
    expect(page.locator("[data-part=spread-word]")).to_have_text("spread")
    expect(page.locator(".topbar .session")).to_have_count(0)


def test_the_depth_chart_draws_a_book_that_has_one_side(page: Page, serve: Serve) -> None:
    open_market(page, serve("sessions"), ONE_SIDED)
    page.wait_for_function("() => Number(document.querySelector('.depth-canvas').dataset.bids) > 0")
    assert page.locator(".depth-canvas").get_attribute("data-asks") == "0"
