"""The page's files: headers, caching, size, and the answer where nothing was built."""

import base64
import gzip
import hashlib
import re
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from tidebook.console import mount_console
from tidebook.console.pages import DIST

SCRIPT_SIZE_MAX = 250_000


async def get(app: FastAPI, path: str) -> httpx.Response:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1") as client:
        return await client.get(path)


@pytest.fixture
def app() -> FastAPI:
    app = FastAPI()
    mount_console(app)
    return app


async def test_the_page_is_asked_for_anew_and_its_hashed_files_never(app: FastAPI) -> None:
    for address in ("/", "/m/BTCUSDT.BINANCE", "/m/BTC/USD.KRAKEN", "/m/BTC%2FUSD.KRAKEN"):
        page = await get(app, address)
        assert page.status_code == 200
        assert page.text == (DIST / "index.html").read_text()
        assert page.headers["cache-control"] == "no-cache"
    assets = sorted((DIST / "assets").iterdir())
    assert {path.suffix for path in assets} == {".js", ".css", ".woff2"}
    for path in assets:
        answer = await get(app, f"/assets/{path.name}")
        assert answer.content == path.read_bytes()
        assert "immutable" in answer.headers["cache-control"]


async def test_the_page_may_load_and_talk_to_its_own_server_only(app: FastAPI) -> None:
    for path in ("/", "/m/BTCUSDT.BINANCE", "/favicon.svg", "/licences.txt"):
        policy = (await get(app, path)).headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy


async def test_the_only_style_a_script_may_add_is_that_of_the_chart_librarys_logo(app: FastAPI) -> None:
    """Method: the hash in the policy is compared with the text in the built script."""
    (script,) = DIST.glob("assets/chart-*.js")
    (style,) = re.findall(r"a#tv-attr-logo\{[^\"'`]*\}", script.read_text())
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = (await get(app, "/")).headers["content-security-policy"]
    assert re.findall(r"style-src ([^;]*);", policy) == [f"'self' 'sha256-{digest}'"]


async def test_what_is_not_there_is_not_found(app: FastAPI) -> None:
    for path in ("/assets/none.js", "/assets/../pages.py", "/other"):
        assert (await get(app, path)).status_code == 404


def test_the_scripts_stay_small() -> None:
    size = sum(len(gzip.compress(path.read_bytes())) for path in DIST.glob("assets/*.js"))
    assert size <= SCRIPT_SIZE_MAX


def test_the_licences_of_what_is_shipped_are_shipped() -> None:
    said = (DIST / "licences.txt").read_text()
    for name in ("preact", "@preact/signals", "lightweight-charts", "fancy-canvas", "inter", "jetbrains-mono"):
        assert name in said


async def test_without_a_build_the_page_says_how_to_make_one(tmp_path: Path) -> None:
    app = FastAPI()
    mount_console(app, tmp_path)
    answer = await get(app, "/")
    assert answer.status_code == 503
    assert "make console" in answer.text
