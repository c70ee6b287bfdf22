"""A book's page: candles, depth and groups show what the API says, move, and mark what could not be trusted."""

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.console.conftest import Server, Watched
from tests.console.server import OUTAGE_STEPS, PAST_BARS, STEP_NS
from tests.console.test_page import open_market, sequence

Serve = Callable[[str], Server]

BTC = "BTCUSDT.BINANCE"
CHART, DEPTH = ".chart", ".depth-canvas"


def told(page: Page, selector: str) -> dict[str, Any]:
    """What a chart says of its model."""
    data = page.locator(selector).evaluate("node => ({ ...node.dataset })")
    assert isinstance(data, dict)
    return data


def drawn(page: Page, timeframe: str = "1m") -> None:
    """Waits until the past of the chart has come and the chart is there."""
    page.wait_for_function(
        "timeframe => { const { timeframe: shown, drawn, bars } = document.querySelector('.chart')?.dataset ?? {};"
        " return shown === timeframe && drawn === 'true' && Number(bars) >= 100; }",
        arg=timeframe,
    )


def test_candles_are_the_klines_of_rest(page: Page, serve: Serve) -> None:
    """Method: the market has fallen silent, so both must show the same bars."""
    server = serve("stale")
    open_market(page, server)
    drawn(page)
    page.wait_for_function("() => document.querySelector('.veil-title')?.textContent.startsWith('stale')")
    shown = told(page, CHART)
    said = server.get(f"/api/v1/klines?instrument={BTC}&timeframe=1m&limit={shown['bars']}").json()
    assert (shown["first"], shown["last"]) == (str(said[0]["ts_open"]), str(said[-1]["ts_open"]))
    assert (shown["close"], shown["closed"]) == (said[-1]["close"], str(said[-1]["closed"]).lower())
    read_out = page.locator("#candles .readout").inner_text().replace(",", "")
    for name in ("open", "high", "low", "close"):
        assert f"{float(said[-1][name]):.2f}" in read_out
    summary = page.locator("#candles p.sr")
    expect(summary).to_contain_text(re.compile(r"\d+ candles of 1m .* open 6.*; \d outages, the newest from"))


# Of the read-out, each part that is not wholly inside it.
CUT = """() => {
    const box = document.querySelector('#candles .readout').getBoundingClientRect();
    return [...document.querySelectorAll('#candles .readout > *')]
        .filter(part => {
            const own = part.getBoundingClientRect();
            return own.right > box.right + 0.5 || own.bottom > box.bottom + 0.5 || own.top < box.top - 0.5;
        })
        .map(part => part.textContent);
}"""


def test_the_read_out_of_a_candle_is_whole_at_any_width(page: Page, serve: Serve) -> None:
    """With all it can say: a day has seconds that may lack trades."""
    open_market(page, serve("live"))
    page.keyboard.press("5")
    expect(page.locator("#candles .readout .tag-warn")).to_have_text("may lack trades")
    for width in (390, 768, 1024, 1280, 1440):
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate(CUT) == [], f"at {width}"


def test_the_open_candle_moves_and_closes(page: Page, serve: Serve) -> None:
    open_market(page, serve("live"))
    page.keyboard.press("1")
    drawn(page, "1s")
    first = int(told(page, CHART)["last"])
    page.wait_for_function("last => Number(document.querySelector('.chart').dataset.last) >= last + 2e6", arg=first)
    assert server_has(serve("live"), first)["closed"]


def server_has(server: Server, ts_open: int) -> dict[str, Any]:
    bars = server.get(f"/api/v1/klines?instrument={BTC}&timeframe=1s&limit=60").json()
    return next(bar for bar in bars if bar["ts_open"] == ts_open)


def test_timeframes_are_chosen_by_key_button_and_address(page: Page, serve: Serve) -> None:
    open_market(page, serve("live"), f"{BTC}?tf=5m")
    drawn(page, "5m")
    group = page.get_by_role("group", name="Timeframe")
    expect(group.get_by_role("button", name="5m")).to_have_attribute("aria-pressed", "true")
    page.keyboard.press("4")
    drawn(page, "1h")
    assert page.url.endswith("?tf=1h")
    group.get_by_role("button", name="1d").click()
    drawn(page, "1d")
    page.keyboard.press("]")
    expect(page.locator(".picker-button")).to_contain_text("ETHUSDT")
    assert page.url.endswith("/m/ETHUSDT.BINANCE?tf=1d")
    page.reload()
    expect(group.get_by_role("button", name="1d")).to_have_attribute("aria-pressed", "true")
    # Another visit begins as the last one was left.
    page.goto(f"{serve('live').url}/m/{BTC}")
    drawn(page, "1d")


def test_looking_back_brings_older_candles_until_there_are_none(page: Page, serve: Serve) -> None:
    open_market(page, serve("live"))
    drawn(page)
    box = page.locator(CHART).bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 60, box["y"] + 80)
    oldest = serve("live").get(f"/api/v1/klines?instrument={BTC}&timeframe=1m&limit=1000").json()[0]["ts_open"]
    while int(told(page, CHART)["bars"]) < PAST_BARS:
        before = told(page, CHART)["first"]
        page.mouse.wheel(-4_000, 0)
        page.evaluate("() => new Promise(requestAnimationFrame)")
        if int(before) <= oldest:
            page.mouse.wheel(-4_000, 0)
    first = int(told(page, CHART)["first"])
    assert int(told(page, CHART)["last"]) - first >= (PAST_BARS - 1) * 60_000_000


def test_outages_are_bands_in_the_candles_now_and_in_the_past(page: Page, serve: Serve) -> None:
    server = serve("live")
    open_market(page, server)
    drawn(page)
    page.wait_for_function("() => JSON.parse(document.querySelector('.chart').dataset.bands).length >= 2")
    bands = json.loads(told(page, CHART)["bands"])
    said = server.get(f"/api/v1/outages?instrument={BTC}").json()
    assert bands == [[outage["since"], outage["until"], outage["reason"]] for outage in said]
    assert [reason for _, _, reason in bands] == ["disconnected", "gap"]
    assert bands[1][1] - bands[1][0] == (OUTAGE_STEPS[1] - OUTAGE_STEPS[0]) * STEP_NS // 1000


def test_an_outage_that_lasts_grows_to_now(page: Page, serve: Serve) -> None:
    open_market(page, serve("gap"))
    drawn(page)
    newest = "() => JSON.parse(document.querySelector('.chart').dataset.bands).at(-1)"
    since, until, reason = page.evaluate(newest)
    assert reason == "gap"
    page.wait_for_function(
        "before => JSON.parse(document.querySelector('.chart').dataset.bands).at(-1)[1] > before + 1e6", arg=until
    )
    assert page.evaluate(newest)[0] == since
    expect(page.locator("#candles p.sr")).to_contain_text("until now: messages lost")


def test_a_band_is_painted_where_the_book_could_not_be_used(page: Page, serve: Serve) -> None:
    """Method: the outage lasts, so its band reaches the newest candle; its foot is a line of the warning colour."""
    open_market(page, serve("gap"), f"{BTC}?tf=1s")
    drawn(page, "1s")
    page.wait_for_function("""() => [...document.querySelectorAll('.chart canvas')].some(canvas => {
        const copy = document.createElement('canvas');
        [copy.width, copy.height] = [canvas.width, canvas.height];
        const context = copy.getContext('2d', { willReadFrequently: true });
        context.drawImage(canvas, 0, 0);
        const { data } = context.getImageData(0, 0, copy.width, copy.height);
        let found = 0;
        for (let at = 0; at < data.length; at += 4) {
            const [r, g, b, a] = data.slice(at, at + 4);
            found += a > 250 && Math.abs(r - 0xf0) < 6 && Math.abs(g - 0xb9) < 6 && Math.abs(b - 0x0b) < 6;
        }
        return found > 20;
    })""")


def test_the_depth_chart_is_the_grouped_depth_of_rest(page: Page, serve: Serve) -> None:
    server = serve("stale")
    open_market(page, server)
    page.wait_for_function("() => document.querySelector('.veil-title')?.textContent.startsWith('stale')")
    page.wait_for_function("() => Number(document.querySelector('.depth-canvas').dataset.bids) > 10")
    shown = told(page, DEPTH)
    query = f"instrument={BTC}&limit=100&step={shown['step']}"
    said = server.get(f"/api/v1/depth?{query}").json()
    assert said["whole"]
    assert shown["whole"] == "true"
    best = server.get(f"/api/v1/depth?instrument={BTC}").json()
    assert (shown["bestBid"], shown["bestAsk"]) == (best["bids"][0][0], best["asks"][0][0])
    mid = (float(best["bids"][0][0]) + float(best["asks"][0][0])) / 2
    reach = mid * float(shown["rangeBp"]) / 1e4
    for side, total in (("bids", "bidTotal"), ("asks", "askTotal")):
        within = [float(size) for price, size in said[side] if abs(float(price) - mid) <= reach]
        assert int(shown[side]) == len(within)
        assert float(shown[total]) == pytest.approx(sum(within))


def test_the_depth_chart_reads_out_what_the_pointer_is_at(page: Page, serve: Serve) -> None:
    open_market(page, serve("live"))
    page.wait_for_function("() => Number(document.querySelector('.depth-canvas').dataset.bids) > 10")
    read_out = page.locator("#depth .readout")
    expect(read_out).to_have_text(re.compile(r"bid\d+ : \d+.*asked"))
    for share, words in ((0.2, r"sells .*for .* USDT"), (0.8, r"buys .*for .* USDT")):
        box = page.locator(DEPTH).bounding_box()
        assert box is not None
        page.mouse.move(box["x"] + box["width"] * share, box["y"] + box["height"] / 2)
        expect(read_out).to_have_text(re.compile(rf"61,.* bp{words}"))
    expect(
        page.get_by_role("img", name=re.compile(r"Depth within \d+ basis points of 61.*bid for .* USDT"))
    ).to_be_visible()


def test_the_range_of_the_depth_chart_fits_the_book_until_somebody_chooses(page: Page, serve: Serve) -> None:
    """The market's book is 3.3 basis points wide on both sides."""
    open_market(page, serve("live"))
    shown = page.locator("#depth .stepper-value")
    expect(shown).to_have_text("± 5 bp")
    page.wait_for_function("() => Number(document.querySelector('.depth-canvas').dataset.bids) > 10")
    # Groups that fit the usual range, which the page began with, are above 1.5; a finer answer is on its way.
    page.wait_for_function("() => Number(document.querySelector('.depth-canvas').dataset.step) < 1")
    step = told(page, DEPTH)["step"]
    page.get_by_role("button", name="Larger range").click()
    page.locator(DEPTH).hover()
    page.mouse.wheel(0, 100)
    expect(shown).to_have_text("± 25 bp")
    page.wait_for_function(
        "before => Number(document.querySelector('.depth-canvas').dataset.step) > before", arg=float(step)
    )
    page.reload()
    page.wait_for_function("() => Number(document.querySelector('.depth-canvas').dataset.bids) > 5")
    expect(shown).to_have_text("± 25 bp")


def test_groups_of_the_ladder_follow_the_keys_and_are_those_of_rest(page: Page, serve: Serve) -> None:
    server = serve("stale")
    open_market(page, server)
    page.wait_for_function("() => document.querySelector('.veil-title')?.textContent.startsWith('stale')")
    spread = page.locator("[data-part=spread]").inner_text()
    for _ in range(4):
        page.keyboard.press("+")
    page.keyboard.press("-")
    expect(page.locator("#book .stepper-value")).to_have_text("by 0.1")
    assert page.url.endswith("?step=0.1")
    expect(page.locator(".ladder")).to_have_attribute("data-step", "0.1")
    said = server.get(f"/api/v1/depth?instrument={BTC}&step=0.1").json()
    for side in ("bid", "ask"):
        rows = page.locator(f".level-{side}").evaluate_all(
            "rows => rows.map(row => [...row.cells].map(cell => cell.textContent.replaceAll(',', '')))"
        )
        shown = rows[::-1] if side == "ask" else rows
        assert [(float(price), float(size)) for price, size, _ in shown] == [
            (float(price), float(size)) for price, size in said[f"{side}s"]
        ]
    assert page.locator("[data-part=spread]").inner_text() == spread, "the spread is that of the best prices"
    page.reload()
    expect(page.locator("#book .stepper-value")).to_have_text("by 0.1")


def test_an_address_with_groups_that_cannot_be_shows_the_venues_levels(page: Page, serve: Serve) -> None:
    open_market(page, serve("live"), f"{BTC}?step=0.001")
    expect(page.locator("#book .stepper-value")).to_have_text("all levels")
    expect(page.get_by_role("status")).to_be_empty()
    page.wait_for_function("() => Number(document.querySelector('.depth-canvas').dataset.bids) > 10")


def test_a_held_key_runs_through_the_instruments_and_the_last_one_is_whole(page: Page, serve: Serve) -> None:
    open_market(page, serve("live"))
    for _ in range(60):
        page.keyboard.press("]")
    expect(page.locator(".picker-button")).to_contain_text("BTCUSDT")
    drawn(page)
    expect(page.locator(".print")).to_have_count(60)


def test_freezing_holds_the_charts_too(page: Page, serve: Serve) -> None:
    open_market(page, serve("live"), f"{BTC}?tf=1s")
    drawn(page, "1s")
    page.keyboard.press("Space")
    expect(page.locator("#candles .tag-accent")).to_have_text("frozen")
    frozen, book = told(page, CHART), sequence(page)
    # The server goes on: when its newest bar is another one, a picture that moved would have shown it.
    server = serve("live")
    query = f"/api/v1/klines?instrument={BTC}&timeframe=1s&limit=1"
    while server.get(query).json()[0]["ts_open"] <= int(frozen["last"]) + 1_000_000:
        page.evaluate("() => new Promise(requestAnimationFrame)")
    assert (told(page, CHART), sequence(page)) == (frozen, book)
    page.keyboard.press("Space")
    page.wait_for_function("last => document.querySelector('.chart').dataset.last > last", arg=frozen["last"])


@pytest.mark.parametrize("size", [(1280, 800), (1440, 900), (1920, 1080)])
def test_everything_is_seen_without_scrolling(page: Page, serve: Serve, size: tuple[int, int]) -> None:
    page.set_viewport_size({"width": size[0], "height": size[1]})
    open_market(page, serve("live"))
    drawn(page)
    assert page.evaluate("[document.documentElement.scrollWidth, document.documentElement.scrollHeight]") == list(size)
    boxes = {}
    for panel in ("book", "candles", "flow", "depth", "feeds", "tape"):
        box = page.locator(f"#{panel}").bounding_box()
        assert box is not None
        assert box["x"] >= 0
        assert box["y"] >= 0
        assert box["x"] + box["width"] <= size[0]
        assert box["y"] + box["height"] <= size[1]
        boxes[panel] = box
    last = page.locator(".level-bid").last.bounding_box()
    assert last is not None
    assert last["y"] + last["height"] <= boxes["book"]["y"] + boxes["book"]["height"]
    assert boxes["candles"]["height"] > 250
    assert min(boxes["flow"]["height"], boxes["depth"]["height"]) > 150


def test_a_narrow_window_has_everything_one_below_the_other(page: Page, serve: Serve) -> None:
    page.set_viewport_size({"width": 900, "height": 900})
    open_market(page, serve("live"))
    drawn(page)
    assert page.evaluate("document.documentElement.scrollWidth") == 900
    for panel in ("candles", "book", "tape", "flow", "depth", "feeds"):
        box = page.locator(f"#{panel}").bounding_box()
        assert box is not None
        assert box["width"] > 380


def test_the_chart_names_its_makers(watched: Watched, serve: Serve) -> None:
    page = watched.page
    open_market(page, serve("live"))
    drawn(page)
    logo = page.locator("#tv-attr-logo")
    expect(logo).to_be_visible()
    expect(logo).to_have_attribute("href", re.compile(r"^https://www\.tradingview\.com/"))
    assert logo.evaluate("node => getComputedStyle(node).position") == "absolute", "its style is let through"


def test_edges_between_panels_move_by_pointer_and_keys_and_stay(page: Page, serve: Serve) -> None:
    open_market(page, serve("live"))
    candles = page.get_by_role("separator", name="Height of the candles")

    def measured() -> tuple[int, int, int]:
        """Widths in pixels, and the candles' share: what it is in pixels depends on the lines of the feed below."""
        widths = page.evaluate("() => ['#book', '#tape'].map(one => document.querySelector(one).offsetWidth)")
        return widths[0], widths[1], int(candles.get_attribute("aria-valuenow") or 0)

    before = measured()
    assert before[:2] == (340, 316)
    edge = page.get_by_role("separator", name="Width of the ladder").bounding_box()
    assert edge is not None
    page.mouse.move(edge["x"] + 4, 400)
    page.mouse.down()
    page.mouse.move(edge["x"] + 64, 400, steps=4)
    page.mouse.up()
    page.get_by_role("separator", name="Width of the tape").press("ArrowLeft")
    height = page.locator("#candles").evaluate("node => node.offsetHeight")
    candles.press("ArrowUp")
    page.wait_for_function("before => document.querySelector('#candles').offsetHeight < before", arg=height)
    after = measured()
    assert after[:2] == (400, 332)
    assert after[2] == before[2] - 2
    page.reload()
    expect(page.locator(".ladder .level-bid").first).not_to_have_class(re.compile("level-none"))
    assert measured() == after
    page.get_by_role("separator", name="Width of the ladder").dblclick()
    assert measured()[0] == 340
    assert page.evaluate("document.documentElement.scrollHeight") == 900
