"""The page shows what the API says, and says so when it no longer can."""

import re
import time
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.console.conftest import Server, Watched
from tests.console.server import FAILED

Serve = Callable[[str], Server]

CELLS = "rows => rows.map(row => [...row.cells].map(cell => cell.textContent.trim()))"


def open_market(page: Page, server: Server, instrument: str = "BTCUSDT.BINANCE") -> None:
    page.goto(f"{server.url}/m/{instrument}")
    expect(page.locator(".ladder .level-bid").first).not_to_have_class(re.compile("level-none"))


def open_markets(page: Page, server: Server, query: str = "") -> None:
    page.goto(f"{server.url}/{query}")
    expect(page.locator(".markets-table tbody tr").first).to_be_visible()


def sequence(page: Page) -> int:
    return int(page.locator(".ladder").get_attribute("data-sequence") or 0)


def wait_for_new_book(page: Page) -> None:
    page.wait_for_function(
        "before => document.querySelector('.ladder').dataset.sequence > before", arg=str(sequence(page))
    )


@pytest.mark.parametrize("instrument", ["BTCUSDT.BINANCE", "XRPUSDT.BINANCE", "BTC/USD.KRAKEN"])
def test_the_ladder_is_what_depth_says_row_by_row(page: Page, serve: Serve, instrument: str) -> None:
    """Method: the market has fallen silent, so both must show the same last book."""
    server = serve("stale")
    open_market(page, server, instrument)
    page.wait_for_function("() => document.querySelector('.veil-title')?.textContent.startsWith('stale')")
    depth = server.get(f"/api/v1/depth?instrument={instrument}").json()
    assert sequence(page) == depth["last_update_id"]
    asks, bids = (page.locator(f".level-{side}").evaluate_all(CELLS) for side in ("ask", "bid"))
    for shown, said in ((asks[::-1], depth["asks"]), (bids, depth["bids"])):
        assert len(shown) == len(said) == 20
        total = Decimal(0)
        for (price, size, cumulative), (said_price, said_size) in zip(shown, said, strict=True):
            total += Decimal(said_size)
            assert [Decimal(text.replace(",", "")) for text in (price, size, cumulative)] == [
                Decimal(said_price),
                Decimal(said_size),
                total,
            ]
    spread = Decimal(depth["asks"][0][0]) - Decimal(depth["bids"][0][0])
    assert Decimal(page.locator("[data-part=spread]").inner_text()) == spread


def test_prices_have_the_decimals_of_the_tick_and_not_of_the_wire(page: Page, serve: Serve) -> None:
    open_market(page, serve("live"), "XRPUSDT.BINANCE")
    assert re.fullmatch(r"0\.\d{4}", page.locator(".level-bid .price").first.inner_text())


def test_the_tape_moves_newest_first_with_the_aggressor_as_a_letter(page: Page, serve: Serve) -> None:
    open_market(page, serve("live"))
    rows = page.locator(".print")
    expect(rows).to_have_count(60)
    newest = rows.first.get_attribute("data-id")
    page.wait_for_function("id => Number(document.querySelector('.print').dataset.id) > Number(id)", arg=newest)
    # In one step: rows are used again and move, so those found first would be of an older order.
    ids = page.evaluate("() => [...document.querySelectorAll('.print')].map(row => Number(row.dataset.id))")
    assert ids == sorted(ids, reverse=True)
    # A burst can fill the tape with one side.
    both = (
        "() => { const texts = new Set([...document.querySelectorAll('.print .side')].map(side => side.textContent));"
    )
    sides = page.wait_for_function(f"{both} return texts.size > 1 ? [...texts].sort() : null; }}")
    assert sides.json_value() == ["B", "S"]
    assert page.locator(".print-buy .side").first.get_attribute("aria-label") == "buy"


@pytest.mark.parametrize("size", [(1280, 800), (1280, 900), (390, 844)])
def test_a_book_shows_the_whole_health_of_its_own_feed(page: Page, serve: Serve, size: tuple[int, int]) -> None:
    page.set_viewport_size({"width": size[0], "height": size[1]})
    open_market(page, serve("live"))
    feeds = page.get_by_role("group", name="Feed health")
    card = feeds.get_by_role("article")
    expect(card).to_have_attribute("data-venue", "binance")
    expect(card.locator(".pill")).to_have_text("live")
    expect(card.locator("[data-figure=Books] dd")).to_have_text("3/3")
    page.wait_for_function("() => Number(document.querySelector('[data-part=rate]').textContent) > 50")
    heads = card.locator("dt").all_inner_texts()
    assert heads == [
        "Books",
        "Gaps",
        "Resyncs",
        "Delay",
        "Venue delay",
        "Lost",
        "Checks",
        "Quarantined",
        "Missed",
    ]
    for figure in card.locator("dd").all():
        box = figure.bounding_box()
        assert box is not None
        assert box["x"] + box["width"] <= size[0]
        assert size[0] < 1_000 or box["y"] + box["height"] <= size[1]


def test_a_killed_server_is_said_and_a_restarted_one_is_found_again(
    watched: Watched, serve: Serve, root: object
) -> None:
    page, server = watched.page, serve("live")
    open_market(page, server)
    server.kill()
    expect(page.locator("[data-link]")).to_have_text("disconnected")
    expect(page.get_by_role("status")).to_contain_text("What you see is the last that was known")
    expect(page.locator("#book .veil-title")).to_contain_text("stale")
    expect(page.locator(".feeds")).to_contain_text("unknown")
    assert page.locator(".level-bid .price").first.inner_text() != ""
    server.start()
    expect(page.locator("[data-link]")).to_have_text("connected")
    expect(page.get_by_role("status")).to_be_empty()
    expect(page.locator("#book .veil")).to_have_count(0)
    wait_for_new_book(page)
    # The browser itself reports each connection refused and each answer cut off; nothing else may have gone wrong.
    cut_off = re.compile(r"net::ERR_(CONNECTION_\w+|CONTENT_LENGTH_MISMATCH|EMPTY_RESPONSE)\b")
    watched.complaints[:] = [said for said in watched.complaints if not cut_off.search(said)]


def test_a_silent_feed_greys_the_market_with_its_age_while_the_server_answers(page: Page, serve: Serve) -> None:
    open_market(page, serve("stale"))
    expect(page.locator("#book .veil-title")).to_have_text(re.compile(r"stale \d"))
    expect(page.locator("[data-link]")).to_have_attribute("data-link", "open")
    expect(page.locator(".pill-quiet").first).to_have_text(re.compile(r"quiet \d"))
    expect(page.locator("#book .panel-content")).to_have_css("filter", "grayscale(1)")


def test_a_node_without_instruments_says_what_will_happen(page: Page, serve: Serve) -> None:
    page.goto(serve("empty").url)
    expect(page.locator("#markets .veil")).to_contain_text("No instruments yet")
    expect(page.locator(".feeds")).to_contain_text("waiting")
    page.goto(f"{serve('empty').url}/m/BTCUSDT.BINANCE")
    expect(page.locator("#flow .veil")).to_contain_text("No instruments yet")
    expect(page.get_by_role("button", name="Next instrument")).to_be_disabled()


def test_a_book_after_a_gap_is_greyed_with_the_reason_and_since_when(page: Page, serve: Serve) -> None:
    server = serve("gap")
    open_market(page, server)
    since = server.get("/api/v1/depth?instrument=BTCUSDT.BINANCE").json()["unusable_since"]
    clock = time.strftime("%H:%M:%S", time.gmtime(since / 1e6))
    for panel in ("book", "depth"):
        expect(page.locator(f"#{panel} .veil-title")).to_have_text("unusable: messages lost")
        expect(page.locator(f"#{panel} .veil-detail")).to_contain_text(f"Since {clock} UTC")
        expect(page.locator(f"#{panel} .panel-content")).to_have_css("filter", "grayscale(1)")
    expect(page.locator("[data-figure=Books] dd")).to_have_text("▲ 0/3")
    # Trades are no part of what was lost: they go on.
    for panel in ("tape", "flow", "candles"):
        expect(page.locator(f"#{panel}")).to_have_attribute("data-veil", "none")
    expect(page.locator("#candles .tag-warn")).to_have_text("book unusable")


def test_what_has_failed_of_a_node_that_is_ready_is_said_on_every_page(page: Page, serve: Serve) -> None:
    server = serve("gap")
    for path in ("/", "/m/BTCUSDT.BINANCE"):
        page.goto(f"{server.url}{path}")
        expect(page.locator(".notices")).to_have_text(f"Not all of the node works: {FAILED}")
    page.goto(serve("live").url)
    expect(page.locator(".markets-table tbody tr").first).to_be_visible()
    expect(page.locator(".notices")).to_have_text("")


def test_an_instrument_that_is_not_here_is_named_and_another_can_be_chosen(page: Page, serve: Serve) -> None:
    page.goto(f"{serve('live').url}/m/DOGE.BINANCE")
    expect(page.locator("#flow .veil")).to_contain_text("DOGE.BINANCE is not here")
    page.keyboard.press("/")
    page.get_by_role("combobox").fill("eth")
    page.keyboard.press("Enter")
    expect(page.locator(".picker-button")).to_contain_text("ETHUSDT")
    expect(page.locator("#book .veil")).to_have_count(0)
    assert page.url.endswith("/m/ETHUSDT.BINANCE")


def test_keys_choose_neighbours_and_open_help(page: Page, serve: Serve) -> None:
    open_market(page, serve("live"))
    button = page.locator(".picker-button")
    for key, symbol in (("]", "ETHUSDT"), ("[", "BTCUSDT"), ("[", "BTC/USD"), ("[", "XRPUSDT"), ("]", "BTC/USD")):
        page.keyboard.press(key)
        expect(button).to_contain_text(symbol)
    wait_for_new_book(page)
    page.keyboard.press("?")
    dialog = page.get_by_role("dialog", name="Keys and display")
    expect(dialog).to_be_visible()
    dialog.get_by_label("Blue and orange").check()
    assert page.evaluate("document.documentElement.dataset.palette") == "blue-orange"
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()


def test_keys_do_what_the_help_says_after_the_picker_is_closed(page: Page, serve: Serve) -> None:
    open_market(page, serve("live"))
    picker, filters = page.locator(".picker-button"), page.locator(".picker-filter")
    for closing in ("Escape", "Enter"):
        for opening in ("/", "click"):
            if opening == "click":
                picker.click()
            else:
                page.keyboard.press(opening)
            expect(filters).to_be_focused()
            page.keyboard.press(closing)
            expect(filters).to_have_count(0)
            page.keyboard.press("Space")
            expect(page.locator("#book .tag")).to_have_text("frozen")
            page.keyboard.press("2")
            expect(page.get_by_role("button", name="1m", exact=True)).to_have_attribute("aria-pressed", "true")
            page.keyboard.press("Space")
            expect(page.locator("#book .tag")).to_have_count(0)
            page.keyboard.press("1")
    # Whoever came to the button by keys finds themselves there again.
    picker.focus()
    page.keyboard.press("Enter")
    expect(filters).to_be_focused()
    page.keyboard.press("Escape")
    expect(picker).to_be_focused()
    page.keyboard.press("?")
    assert "1to 5" in (page.locator(".keys").text_content() or "")


def test_space_freezes_the_picture_while_frames_go_on(page: Page, serve: Serve) -> None:
    frames: list[object] = []
    page.on("websocket", lambda socket: socket.on("framereceived", lambda frame: frames.append(frame)))
    open_market(page, serve("live"))
    page.keyboard.press("Space")
    expect(page.locator("#book .tag")).to_have_text("frozen")
    frozen, heard = sequence(page), len(frames)
    while len(frames) < heard + 30:
        page.evaluate("() => new Promise(requestAnimationFrame)")
    assert sequence(page) == frozen
    page.keyboard.press("Space")
    wait_for_new_book(page)
    expect(page.locator("#book .tag")).to_have_count(0)


@pytest.mark.parametrize("width", [360, 720, 1024])
def test_nothing_sticks_out_of_a_narrow_window(page: Page, serve: Serve, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    open_market(page, serve("live"))
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    open_markets(page, serve("live"))
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert (
        page.evaluate("(table => table.scrollWidth - table.clientWidth)(document.querySelector('.markets-scroll'))")
        == 0
    )


def test_the_flow_chart_has_points_and_words(page: Page, serve: Serve) -> None:
    open_market(page, serve("live"))
    page.wait_for_function("() => document.querySelector('.flow-canvas').dataset.points > 5")
    expect(page.get_by_role("img", name=re.compile(r"Best bid \d.*best ask \d"))).to_be_visible()


def test_the_flow_panel_tells_what_the_last_minute_came_to_where_somebody_makes_windows(
    page: Page, serve: Serve
) -> None:
    open_market(page, serve("live"))
    expect(page.locator("#flow .last-minute")).to_have_text(
        "1 min: 12.3 traded · VWAP 61,837.25 · spread 0.123 bp · volatility 1.4 bp · buyers 62 %"
    )


@pytest.mark.parametrize("instrument", ["BTCUSDT.BINANCE", "BTC/USD.KRAKEN"])
def test_the_middle_in_the_flow_chart_is_that_of_the_best_prices(page: Page, serve: Serve, instrument: str) -> None:
    """Between neighbouring ticks too, where it has a decimal more. Method: the market has fallen silent."""
    server = serve("stale")
    open_market(page, server, instrument)
    page.wait_for_function("() => document.querySelector('.veil-title')?.textContent.startsWith('stale')")
    depth = server.get(f"/api/v1/depth?instrument={instrument}").json()
    mid = (Decimal(depth["bids"][0][0]) + Decimal(depth["asks"][0][0])) / 2
    assert Decimal((page.locator(".flow-canvas").get_attribute("data-mid") or "").replace(",", "")) == mid


@pytest.mark.parametrize("scene", ["live", "stale", "empty", "gap"])
def test_axe_finds_no_fault(page: Page, serve: Serve, root: Path, scene: str) -> None:
    """Method: axe-core's whole default rule set, on the page with its help open and closed."""
    # On a busy machine even the live scene may turn stale: without the fade there is no moment between the two looks.
    page.emulate_media(reduced_motion="reduce")
    page.goto(f"{serve(scene).url}/m/BTCUSDT.BINANCE")
    if scene == "live":
        expect(page.locator(".print")).to_have_count(60)
    else:
        expect(page.locator("#book .veil-title")).not_to_have_text(re.compile("Connecting|Loading|Waiting"))
    page.evaluate((root / "console/node_modules/axe-core/axe.min.js").read_text())
    assert faults(page) == []
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_be_visible()
    assert faults(page) == []
    page.keyboard.press("Escape")
    page.get_by_role("link", name="Markets", exact=True).click()
    expect(page.locator("#markets .veil" if scene == "empty" else ".markets-table tbody tr").first).to_be_visible()
    assert faults(page) == []


def test_the_reference_lists_every_operation_and_tries_one_in_place(page: Page, serve: Serve, root: Path) -> None:
    server = serve("live")
    page.goto(f"{server.url}/docs")
    expect(page.locator(".operation")).to_have_count(
        sum(len(methods) for methods in server.get("/openapi.json").json()["paths"].values())
    )
    assert "`" not in (page.locator(".docs").text_content() or "")
    assert "`" in server.get("/openapi.json").text
    depth = page.locator(".operation").filter(has_text="/api/v1/depth")
    depth.locator("summary").click()
    expect(depth).to_contain_text("must not be traded on")
    depth.get_by_label("limit").fill("1")
    depth.get_by_role("button", name="Try it").click()
    expect(depth.locator("pre")).to_contain_text('"last_update_id"')
    page.evaluate((root / "console/node_modules/axe-core/axe.min.js").read_text())
    assert faults(page) == []


def faults(page: Page) -> list[tuple[str, list[str]]]:
    """Rules that axe finds broken, with the nodes that break them."""
    found = page.evaluate("() => axe.run()")
    return [(fault["id"], [node["html"] for node in fault["nodes"]]) for fault in found["violations"]]
