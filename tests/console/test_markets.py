"""The markets page: every instrument in a line, live, findable, and honest about which books may be used."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.console.conftest import Server
from tests.console.server import MANY
from tests.console.test_page import faults, open_markets

Serve = Callable[[str], Server]

NAMES = "rows => rows.map(row => row.dataset.instrument)"


def names(page: Page) -> list[str]:
    found = page.locator(".markets-table tbody tr").evaluate_all(NAMES)
    assert isinstance(found, list)
    return found


def test_every_instrument_of_every_venue_has_a_line_that_says_what_rest_says(page: Page, serve: Serve) -> None:
    """Method: the market has fallen silent, so both must show the same last state."""
    server = serve("stale")
    open_markets(page, server)
    expect(page.locator("tr[data-condition=stale]")).to_have_count(4)
    said = server.get("/api/v1/tops").json()
    assert names(page) == [top["instrument"] for top in said]
    for row, top in zip(page.locator(".markets-table tbody tr").all(), said, strict=True):
        cells = [text.replace(",", "") for text in row.locator("td").all_inner_texts()]
        assert cells[0] == top["venue"]
        shown, expected = cells[1:5], (top["bid_size"], top["bid_price"], top["ask_price"], top["ask_size"])
        assert [float(text) for text in shown] == [float(text) for text in expected]
        assert float(cells[6].rstrip(" ▲▼")) == float(top["last_price"])
        assert re.fullmatch(r"silent · \d+ s stale", cells[-1])


def test_five_hundred_lines_come_in_one_stream_and_move(page: Page, serve: Serve) -> None:
    asked: list[str] = []
    page.on("websocket", lambda socket: socket.on("framesent", lambda frame: asked.append(str(frame))))
    open_markets(page, serve("many"))
    expect(page.locator(".markets-table tbody tr")).to_have_count(MANY)
    expect(page.locator(".markets-count")).to_have_text(f"{MANY} instruments")
    first = page.locator(".markets-table tbody tr").first
    before = first.inner_text()
    page.wait_for_function(
        "before => document.querySelector('.markets-table tbody tr').innerText !== before", arg=before
    )
    # The same node was rewritten: nothing is drawn anew, so nothing flickers.
    first.evaluate("node => (node.dataset.mark = 'kept')")
    version = page.locator(".markets-table tbody").get_attribute("data-version")
    page.wait_for_function(
        "v => Number(document.querySelector('[data-version]').dataset.version) > Number(v) + 4", arg=version
    )
    expect(first).to_have_attribute("data-mark", "kept")
    assert not [said for said in asked if "@" in said]


def test_unusable_books_stand_out_are_counted_and_can_be_listed(page: Page, serve: Serve) -> None:
    open_markets(page, serve("many"))
    unusable = [top["instrument"] for top in serve("many").get("/api/v1/tops").json() if top["book"] == "unusable"]
    assert len(unusable) > 5
    button = page.get_by_role("button", name=re.compile("not to be trusted"))
    expect(button).to_contain_text(f"▲ {len(unusable)}")
    button.click()
    expect(page.locator(".markets-table tbody tr")).to_have_count(len(unusable))
    assert names(page) == unusable
    assert set(page.locator(".market-book .pill").all_inner_texts()) == {"unusable"}
    assert page.url.endswith("/?show=trouble")
    expect(page.locator("[data-venue=kraken] [data-figure=Books] dd")).to_contain_text("▲")


def test_text_and_venue_narrow_the_table_and_survive_a_reload_and_the_way_back(page: Page, serve: Serve) -> None:
    open_markets(page, serve("many"))
    page.keyboard.press("/")
    page.keyboard.type("ab")
    page.get_by_role("button", name="kraken", exact=True).click()
    expect(page.locator(".markets-table tbody tr")).to_have_count(1)
    assert names(page) == ["ABX/USD.KRAKEN"]
    expect(page.locator(".markets-count")).to_have_text(f"1 of {MANY} instruments")
    assert page.url.endswith("/?q=ab&venue=kraken")
    page.reload()
    expect(page.get_by_role("searchbox", name="Filter markets")).to_have_value("ab")
    expect(page.locator(".markets-table tbody tr")).to_have_count(1)
    page.locator(".markets-table tbody tr").click()
    expect(page.locator(".picker-button")).to_contain_text("ABX/USD")
    assert page.url.endswith("/m/ABX/USD.KRAKEN")
    page.reload()
    expect(page.locator(".level-bid .price").first).not_to_be_empty()
    page.go_back()
    expect(page.locator(".markets-table tbody tr")).to_have_count(1)
    page.locator(".markets-table tbody a").click()
    expect(page.locator(".picker-button")).to_contain_text("ABX/USD")
    page.keyboard.press("m")
    expect(page.locator(".markets-table tbody tr")).to_have_count(1)
    assert page.url.endswith("/?q=ab&venue=kraken")


def test_nothing_found_says_so_and_offers_everything(page: Page, serve: Serve) -> None:
    open_markets(page, serve("live"))
    page.get_by_role("searchbox", name="Filter markets").fill("doge")
    expect(page.locator("#markets")).to_contain_text("Nothing matches these filters.")
    page.get_by_role("button", name="Show all").click()
    expect(page.locator(".markets-table tbody tr")).to_have_count(4)


def test_heads_sort_and_the_keyboard_walks_the_lines(page: Page, serve: Serve) -> None:
    open_markets(page, serve("live"))
    page.get_by_role("button", name="Venue").click()
    expect(page.get_by_role("columnheader", name="Venue")).to_have_attribute("aria-sort", "ascending")
    assert names(page) == ["BTCUSDT.BINANCE", "ETHUSDT.BINANCE", "XRPUSDT.BINANCE", "BTC/USD.KRAKEN"]
    page.get_by_role("button", name="Venue").click()
    page.wait_for_function(
        "() => document.querySelector('.markets-table tbody tr').dataset.instrument === 'BTC/USD.KRAKEN'"
    )
    assert page.url.endswith("/?sort=-venue")
    page.keyboard.press("/")
    page.keyboard.press("ArrowDown")
    for name in ("BTCUSDT.BINANCE", "ETHUSDT.BINANCE"):
        page.keyboard.press("ArrowDown")
        expect(page.locator("tr", has=page.locator(":focus"))).to_have_attribute("data-instrument", name)
    page.keyboard.press("Enter")
    expect(page.locator(".picker-button")).to_contain_text("ETHUSDT")


# Of every cell in sight, what is cut off of it, the venue in a name excepted; and whether the table is wider than its place.
CUT = """() => [...document.querySelectorAll('.markets-table tbody th')]
    .filter(name => {
        const symbol = document.createRange();
        symbol.selectNode(name.firstChild.firstChild);
        return symbol.getBoundingClientRect().right > name.getBoundingClientRect().right - 8;
    })
    .map(name => name.textContent)
    .concat([...document.querySelectorAll('.markets-table :is(td, thead th)')]
    .filter(cell => cell.offsetParent !== null && cell.scrollWidth > cell.clientWidth)
    .map(cell => `${cell.className}: ${cell.textContent}`))
    .concat(document.querySelector('.markets-table').offsetWidth > document.querySelector('.markets-scroll').clientWidth
        ? ['the table'] : [])"""


@pytest.mark.parametrize("scene", ["live", "many"])
def test_no_figure_is_cut_at_any_width_and_what_is_shown_goes_by_the_room(page: Page, serve: Serve, scene: str) -> None:
    """A price cut short reads as another price. Method: one page made wider and narrower."""
    open_markets(page, serve(scene))
    columns = {}
    for width in (390, 768, 1024, 1280, 1440):
        page.set_viewport_size({"width": width, "height": 900})
        version = page.locator(".markets-table tbody").get_attribute("data-version")
        page.wait_for_function(
            "v => Number(document.querySelector('[data-version]').dataset.version) > Number(v) + 2", arg=version
        )
        assert page.evaluate(CUT) == [], f"at {width}"
        columns[width] = page.locator(".markets-table thead th:visible").count()
    assert columns[390] >= 4, "name, bid, ask, book"
    assert sorted(columns.values()) == list(columns.values())
    assert columns[1280] == columns[1440] == 11


def test_axe_finds_no_fault_in_a_long_table_with_trouble(page: Page, serve: Serve, root: Path) -> None:
    page.emulate_media(reduced_motion="reduce")
    open_markets(page, serve("many"), "?q=a")
    page.evaluate((root / "console/node_modules/axe-core/axe.min.js").read_text())
    assert faults(page) == []


def test_older_links_lead_to_the_book(page: Page, serve: Serve) -> None:
    page.goto(f"{serve('live').url}/?instrument=btcusdt.binance")
    expect(page.locator(".picker-button")).to_contain_text("BTCUSDT")
    assert page.url.endswith("/m/BTCUSDT.BINANCE")
