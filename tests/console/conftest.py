"""Debian's Chromium on a real server that runs a seeded market; any console error or foreign request fails a test."""

import contextlib
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, expect, sync_playwright

CHROMIUM = "/usr/bin/chromium"
# Without these it asks the network for updates and the sandbox for rights, neither of which a test machine has.
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PATIENCE_MS = 30_000
SEED = 7

expect.set_options(timeout=PATIENCE_MS)


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@dataclass
class Server:
    """One `tests.console.server` process on a port of its own, which may be killed and started again."""

    root: Path
    scene: str
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        command = [sys.executable, "-m", "tests.console.server", "--port", str(self.port)]
        command += ["--scene", self.scene, "--seed", str(SEED)]
        self.process = subprocess.Popen(command, cwd=self.root, stdout=subprocess.DEVNULL)
        while True:
            assert self.process.poll() is None, f"the {self.scene} server ended with {self.process.returncode}"
            with contextlib.suppress(httpx.TransportError):
                self.get("/api/v1/health/live")
                return

    def kill(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
            self.process = None

    def get(self, path: str) -> httpx.Response:
        return httpx.get(self.url + path, timeout=30)


@pytest.fixture(scope="module")
def serve(root: Path) -> Iterator[Callable[[str], Server]]:
    """The running server of a scene."""
    running: dict[str, Server] = {}

    def of(scene: str) -> Server:
        if scene not in running:
            running[scene] = Server(root, scene)
            running[scene].start()
        return running[scene]

    yield of
    for server in running.values():
        server.kill()


# Of a module and not of the session: while it lives, Playwright's loop counts as running, and asyncio tests cannot.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@dataclass
class Watched:
    """A page and everything it complained about."""

    page: Page
    complaints: list[str] = field(default_factory=list)

    def watch(self) -> None:
        page = self.page
        page.on("console", self.heard)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", lambda request: self.check(request.url))
        page.on("websocket", lambda socket: self.check(socket.url))

    def heard(self, said: ConsoleMessage) -> None:
        if said.type in ("error", "warning"):
            self.complaints.append(said.text)

    def check(self, url: str) -> None:
        if urlsplit(url).hostname != "127.0.0.1":
            self.complaints.append(f"asked {url}")


@pytest.fixture
def watched(browser: Browser) -> Iterator[Watched]:
    page = browser.new_page(viewport={"width": 1440, "height": 900})
    page.set_default_timeout(PATIENCE_MS)
    watched = Watched(page)
    watched.watch()
    yield watched
    page.close()
    assert watched.complaints == []


@pytest.fixture
def page(watched: Watched) -> Page:
    """A fresh page of 1440 by 900."""
    return watched.page
