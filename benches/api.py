"""Fan-out and REST: what many watching browsers cost, and how late they see the market.

Twenty clients take the depth of one instrument twenty times a second, and twenty pages all that a book's page shows. The server runs in a process of its own
(`benches/api_server.py`); its CPU is read from the system, so neither clients nor bench are in the figure. The peer is
the way a web framework's manual shows: one loop and one serialisation per client.
"""

import asyncio
import contextlib
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import quantiles

import msgspec
import psutil
from websockets.asyncio.client import connect

from benches.api_server import INSTRUMENT, PAGE_KINDS, RATE_HZ
from benches.harness import Bench, Sample, at_most, times_better
from benches.starting import starting

ROOT = Path(__file__).parent.parent
PEER = "send_json per client"
REST_PEER = "FastAPI returning a dict"


def subscribe(*kinds: str) -> str:
    """The request for these streams of the instrument."""
    streams = [f"{INSTRUMENT.lower()}@{kind}" for kind in kinds]
    return msgspec.json.encode({"method": "SUBSCRIBE", "params": streams, "id": 1}).decode()


class _Data(msgspec.Struct):
    ts_recv: int = 0


class _Frame(msgspec.Struct):
    stream: str = ""
    data: msgspec.Raw = msgspec.Raw()


_decode = msgspec.json.Decoder(_Frame).decode
_decode_data = msgspec.json.Decoder(_Data).decode


@contextlib.contextmanager
def server(mode: str) -> Iterator[tuple[int, psutil.Process]]:
    """A running server of `mode`: its port and its process."""
    command = [sys.executable, "-m", "benches.api_server", "--mode", mode]
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with process:
        assert process.stdout is not None
        assert process.stdin is not None
        yield int(process.stdout.readline()), psutil.Process(process.pid)
        process.stdin.close()


def cpu_seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


async def watch(
    port: int, clients: int, seconds: float, process: psutil.Process, kinds: tuple[str, ...] = ("depth20",)
) -> tuple[float, list[float], float]:
    """CPU of the server as a percentage of one core, ages of the frames at arrival in ms, frames a second per client."""
    ages: list[float] = []
    measuring = False

    async def client() -> None:
        async with connect(f"ws://127.0.0.1:{port}/ws/v1", compression=None, close_timeout=0.2) as connection:
            await connection.send(subscribe(*kinds))
            async for message in connection:
                frame = _decode(message)
                if measuring and frame.stream.endswith("@depth20"):
                    ages.append(time.time() * 1e3 - _decode_data(frame.data).ts_recv / 1e3)

    tasks = [asyncio.create_task(client()) for _ in range(clients)]
    await asyncio.sleep(min(1.0, seconds))
    measuring = True
    before, began = cpu_seconds(process), time.perf_counter()
    await asyncio.sleep(seconds)
    spent, elapsed = cpu_seconds(process) - before, time.perf_counter() - began
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return 100 * spent / elapsed, ages, len(ages) / clients / elapsed


def p95(values: list[float]) -> float:
    return quantiles(values, n=20)[-1]


def request_times(port: int, requests: int) -> list[float]:
    """Microseconds of each of `requests` for the depth, one after the other on one connection."""
    request = f"GET /api/v1/depth?instrument={INSTRUMENT} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode()
    times = []
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(requests):
            start = time.perf_counter()
            connection.sendall(request)
            answer = connection.recv(65_536)
            head, _, body = answer.partition(b"\r\n\r\n")
            length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
            while len(body) < length:
                body += connection.recv(65_536)
            times.append((time.perf_counter() - start) * 1e6)
            assert head.startswith(b"HTTP/1.1 200")
    return times


def run(bench: Bench) -> None:
    starting(bench)
    serving(bench)


def serving(bench: Bench) -> None:
    clients = bench.size(20, 3)
    seconds = bench.size(8.0, 0.5)
    rounds = bench.size(3, 1)
    modes = {"ours": "hub", PEER: "per-client"}
    cpu: dict[str, list[float]] = {name: [] for name in modes}
    lag: dict[str, list[float]] = {name: [] for name in modes}
    pace: list[float] = []
    rest: dict[str, list[float]] = {name: [] for name in modes}
    for _ in range(rounds):
        for name, mode in modes.items():
            with server(mode) as (port, process):
                load, ages, rate = asyncio.run(watch(port, clients, seconds, process))
                cpu[name].append(load)
                lag[name].append(p95(ages))
                if name == "ours":
                    pace.append(rate)
                times = request_times(port, bench.size(2_000, 50))
                rest[name].append(quantiles(times, n=2)[0])

    bench.figure(
        f"fan-out, {clients} clients x {RATE_HZ} Hz",
        Sample.of(cpu["ours"], "% of a core"),
        peers={PEER: Sample.of(cpu[PEER], "% of a core")},
        goals=[at_most(10)],
        note=f"feeding the view included; each client got {min(pace):.1f} frames/s",
    )
    pages: list[float] = []
    for _ in range(rounds):
        with server("page") as (port, process):
            pages.append(asyncio.run(watch(port, clients, seconds, process, PAGE_KINDS))[0])
    bench.figure(
        f"{clients} book pages x {RATE_HZ} Hz",
        Sample.of(pages, "% of a core"),
        goals=[at_most(10)],
        note="ladder, groups, depth chart, candles, outages and tape of one instrument",
    )
    bench.figure(
        f"frame age at the client p95, {clients} clients",
        Sample.of(lag["ours"], "ms"),
        peers={PEER: Sample.of(lag[PEER], "ms")},
        goals=[at_most(100)],
        note="from the receipt of the record; a frame waits up to one publish interval of 50 ms",
    )
    bench.figure(
        "GET /depth p50, one connection",
        Sample.of(rest["ours"], "µs"),
        peers={REST_PEER: Sample.of(rest[PEER], "µs")},
        goals=[times_better(1, REST_PEER)],
    )
