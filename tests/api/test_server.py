"""The address is refused with one clear error before anything starts; a source that fails is said, not hidden."""

import asyncio
import json
from typing import NoReturn

import httpx
import pytest

from tests.api.conftest import Clock, Desk, HandFed
from tidebook.api import MarketView, create_app, listen, protocol, serving
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

    app = create_app(MarketView(clock=Clock(), steady_clock=Clock()), Broken())
    sock = listen(port=0)
    host, port = sock.getsockname()
    async with serving(app, sock), httpx.AsyncClient(base_url=f"http://{host}:{port}") as client:
        async with asyncio.timeout(20):
            while "ring is gone" not in (answer := await client.get("/api/v1/health/ready")).text:
                pass
        assert answer.status_code == 503
        assert (await client.get("/api/v1/health/live")).status_code == 200


async def test_clients_that_never_finish_a_request_cost_little_and_leave(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half a head, a head without end, half a body, and more clients than are served at once."""
    monkeypatch.setattr(protocol, "REQUEST_TIMEOUT_S", 0.3)
    monkeypatch.setattr(protocol, "CONNECTIONS_MAX", 4)
    sock = listen(port=0)
    host, port = sock.getsockname()

    async def answer_to(sent: bytes) -> bytes:
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(sent)
        async with asyncio.timeout(20):
            answer = await reader.read()
        writer.close()
        line, _, rest = answer.partition(b"\r\n")
        if not line.startswith(b"HTTP/1.1 200"):
            head, _, body = rest.partition(b"\r\n\r\n")
            assert b"content-type: application/problem+json" in head
            problem = json.loads(body)
            assert (problem["status"], problem["title"]) == (int(line.split()[1]), line.split(maxsplit=2)[2].decode())
            assert problem["code"] in ("request_timeout", "head_too_large", "too_many_connections")
        return line

    head = b"GET /api/v1/ping HTTP/1.1\r\nhost: 127.0.0.1\r\n"
    async with serving(desk.app, sock):
        assert await answer_to(head) == b"HTTP/1.1 408 Request Timeout"
        assert await answer_to(head + b"x: " + b"y" * 20_000) == b"HTTP/1.1 431 Request Header Fields Too Large"
        assert (await answer_to(head + b"content-length: 9\r\n\r\nhalf")).startswith(b"HTTP/1.1 200")
        # The head alone counts: not what comes behind it in the same write, be it a body or many more requests.
        body = b"content-length: 40000\r\n\r\n" + b" " * 40_000
        assert await answer_to(head + b"connection: close\r\n" + body) == b"HTTP/1.1 200 OK"
        assert await answer_to(head + b"\r\n" + head + body + head) == b"HTTP/1.1 200 OK"
        idle = [await asyncio.open_connection(host, port) for _ in range(4)]
        assert await answer_to(head + b"\r\n") == b"HTTP/1.1 503 Service Unavailable"
        for _, writer in idle:
            writer.close()
        async with httpx.AsyncClient(base_url=f"http://{host}:{port}") as client:
            async with asyncio.timeout(20):
                while (await client.get("/api/v1/ping")).status_code != 200:
                    pass


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"host": "[::1"}, 403),
        ({"host": "evil.com@127.0.0.1"}, 403),
        ({"host": "127.0.0.1:evil"}, 403),
        ({"host": "[::1]:80"}, 200),
        ({"host": "LOCALHOST"}, 200),
    ],
)
async def test_a_host_that_is_none_is_refused(desk: Desk, headers: dict[str, str], status: int) -> None:
    sock = listen(port=0)
    host, port = sock.getsockname()
    async with serving(desk.app, sock), httpx.AsyncClient(base_url=f"http://{host}:{port}") as client:
        assert (await client.get("/api/v1/ping", headers=headers)).status_code == status


async def test_many_requests_in_one_write_are_all_answered(desk: Desk) -> None:
    sock = listen(port=0)
    host, port = sock.getsockname()
    async with serving(desk.app, sock):
        reader, writer = await asyncio.open_connection(host, port)
        one = b"GET /api/v1/ping HTTP/1.1\r\nhost: 127.0.0.1\r\nx: " + b"y" * 200 + b"\r\n"
        writer.write(299 * (one + b"\r\n") + one + b"connection: close\r\n\r\n")
        async with asyncio.timeout(20):
            answers = await reader.read()
        writer.close()
        assert answers.count(b"HTTP/1.1 200 OK") == 300
        reader, writer = await asyncio.open_connection(host, port)
        # A head that is too large is told also behind others.
        writer.write(100 * (one + b"\r\n") + one + b"x: " + b"y" * (2 * protocol.HEAD_SIZE_MAX_BYTES))
        async with asyncio.timeout(20):
            assert b"HTTP/1.1 431" in await reader.read()
        writer.close()
