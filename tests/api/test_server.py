"""The address is refused with one clear error before anything starts; a source that fails is said, not hidden."""

import asyncio
from typing import NoReturn

import httpx
import pytest

from tests.api.conftest import Clock, Desk, HandFed
from tidebook.api import MarketView, create_app, listen, serving
from tidebook.errors import AddressError, UsageError


def test_a_port_in_use_names_the_port_and_what_to_do() -> None:
    with listen(port=0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(AddressError, match=rf"127\.0\.0\.1:{port} is in use .* choose another port") as caught:
            listen(port=port)
    assert caught.value.facts == {"host": "127.0.0.1", "port": port}


def test_an_address_that_other_machines_reach_must_be_asked_for() -> None:
    with pytest.raises(UsageError, match="no keys"):
        listen("0.0.0.0", 0)
    listen("0.0.0.0", 0, allow_remote=True).close()


def test_an_address_of_another_machine_is_refused() -> None:
    with pytest.raises(AddressError, match="cannot be listened on"):
        listen("192.0.2.1", 0, allow_remote=True)


async def test_a_source_that_fails_makes_the_server_not_ready_and_says_why(desk: Desk) -> None:
    class Broken(HandFed):
        def poll(self) -> NoReturn:
            raise OSError("ring is gone")

    app = create_app(MarketView(clock=Clock()), Broken())
    sock = listen(port=0)
    host, port = sock.getsockname()
    async with serving(app, sock), httpx.AsyncClient(base_url=f"http://{host}:{port}") as client:
        async with asyncio.timeout(20):
            while "ring is gone" not in (answer := await client.get("/api/v1/health/ready")).text:
                pass
        assert answer.status_code == 503
        assert (await client.get("/api/v1/health/live")).status_code == 200
