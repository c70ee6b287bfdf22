"""A recording played over TLS to the venue's connector: what the engine makes of it is what it makes of the file."""

import asyncio
import json
import signal
import ssl
import subprocess
import sys
import urllib.request
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import pytest
from numpy.typing import NDArray

from tidebook._core import FeedDecoder, Payloads, Recording, pack_message, unpack_message
from tidebook.config.settings import Settings
from tidebook.errors import CaptureError
from tidebook.feeds.credentials import NoCredentials
from tidebook.feeds.protocol import Endpoints
from tidebook.feeds.registry import build_connector, feed_kind
from tidebook.feeds.sink import MemorySink
from tidebook.simulate.certificate import make_certificate
from tidebook.simulate.player import RecordingPlayer

# Where a record came from and when it came is not what it says.
SOURCE_FIELDS = ("source_sequence", "source_index", "ts_recv", "sequence", "connection")
TYPES = ("trades", "quotes", "depth")

CASES = {
    "binance": (["binance-spot/btcusdt-20240808.log.zst"], ("BTCUSDT",), ("trade", "bookTicker", "depth@100ms"), {}),
    "binance-usdm": (["binance-usdm/btcusdt-20230404.log.zst"], ("BTCUSDT",), ("trade", "bookTicker", "depth@0ms"), {}),
    "kraken": (["kraken-v2/kraken_btcusd_sample.cbcap.zst"], ("BTC/USD",), ("book",), {"depth": 25}),
    "coinbase": (
        ["coinbase-exchange/multi-20210417.log.zst"],
        ("SKL-USD", "BAND-GBP", "NMR-EUR"),
        ("level2_batch", "matches", "ticker", "heartbeat"),
        {},
    ),
    "coinbase-advanced": (
        ["coinbase-advanced/btcusd-ethusd-20260809.jsonl.zst"],
        ("BTC-USD", "ETH-USD"),
        ("level2", "market_trades", "ticker"),
        {},
    ),
}


def merged(batches: dict[str, list[NDArray[Any]]]) -> dict[str, NDArray[Any]]:
    """All records of the types that say something of the market, without where they came from."""
    found = {}
    for name in TYPES:
        whole = np.concatenate(batches[name])
        fields = [field for field in whole.dtype.names or () if field not in SOURCE_FIELDS]
        found[name] = whole[fields]
    return found


def replayed(files: Sequence[Path]) -> dict[str, NDArray[Any]]:
    """What `tidebook replay` makes of the files."""
    recordings = [Recording(path) for path in files]
    decoder, sequence = FeedDecoder(recordings[0].venue), 1
    batches: dict[str, list[NDArray[Any]]] = defaultdict(list)
    for recording in recordings:
        while len(messages := recording.next(4_096)):
            for name, records in decoder.decode(sequence, messages).items():
                batches[name].append(records)
            sequence += len(messages)
    return merged(batches)


class Engine:
    """Decodes what a connector writes."""

    def __init__(self, venue: str, sink: MemorySink) -> None:
        self._decoder = FeedDecoder(venue)
        self._sink = sink
        self._taken = 0
        self._batches: dict[str, list[NDArray[Any]]] = defaultdict(list)

    def read(self) -> int:
        """Takes what is new; how many frames there are by now."""
        fresh = self._sink.messages[self._taken :]
        payloads = [pack_message(m.ts_recv_ns, m.connection, m.kind, m.body, m.context) for m in fresh]
        for name, records in self._decoder.decode(self._taken + 1, Payloads(payloads)).items():
            self._batches[name].append(records)
        self._taken += len(fresh)
        return sum(message.kind == 1 for message in self._sink.messages)

    def records(self) -> dict[str, NDArray[Any]]:
        return merged(self._batches)


@pytest.mark.parametrize("venue", CASES)
async def test_a_connector_makes_of_a_played_recording_what_replay_makes_of_the_file(
    venue: str, recordings: Path, tmp_path: Path
) -> None:
    names, symbols, streams, more = CASES[venue]
    files = [recordings / name for name in names]
    certificate, tls = make_certificate(tmp_path)
    kind = feed_kind(venue)
    section = kind.settings(Settings()).model_copy(update={"streams": streams, **more})
    sink = MemorySink()
    async with RecordingPlayer(files, tls=tls, speed=0) as player:
        connector = build_connector(
            venue,
            section,
            sink,
            endpoints=Endpoints(player.ws_url + kind.protocol.ws_path, player.rest_url),
            symbols=symbols,
            credentials=NoCredentials(),
            tls=ssl.create_default_context(cafile=str(certificate)),
            seed=1,
        )
        engine = Engine(venue, sink)
        job = asyncio.create_task(connector.run())
        try:
            async with asyncio.timeout(90):
                while engine.read() < player.frame_count:
                    assert not job.done(), job
                    await asyncio.sleep(0.02)
        finally:
            job.cancel()
            with suppress(asyncio.CancelledError):
                await job
        assert player.finished
    ours, theirs = engine.records(), replayed(files)
    for name in TYPES:
        assert len(ours[name]) == len(theirs[name]), name
        assert np.array_equal(ours[name], theirs[name]), name


async def test_frames_keep_their_distances_and_the_next_connection_goes_on(recordings: Path) -> None:
    """What was on its way when a client left is lost, as with the real venue; nothing else is."""
    path = recordings / "kraken-v2" / "kraken_btcusd_l2.cbcap.zst"
    chunk = Recording(path).next(10_000)
    bodies = [unpack_message(chunk[index])[4] for index in range(len(chunk)) if unpack_message(chunk[index])[2] == 1]
    request = {"method": "subscribe", "params": {"channel": "book", "symbol": ["BTC/USD"]}}
    async with RecordingPlayer([path], speed=50.0) as player, aiohttp.ClientSession() as client:
        began = asyncio.get_running_loop().time()
        async with client.ws_connect(f"{player.ws_url}/v2") as socket:
            await socket.send_json(request)
            first = [(await socket.receive(timeout=20)).data.encode() for _ in range(100)]
        async with client.ws_connect(f"{player.ws_url}/v2") as socket:
            await socket.send_json(request)
            second: list[bytes] = []
            while not second or second[-1] != bodies[-1]:
                second.append((await socket.receive(timeout=20)).data.encode())
        took = asyncio.get_running_loop().time() - began
        assert player.finished
    assert first == bodies[:100]
    assert second == bodies[-len(second) :]
    assert 150 < len(second) <= len(bodies) - 100
    assert took > 1.0  # a minute, fifty times as fast


async def test_what_was_not_recorded_is_said_so(recordings: Path) -> None:
    path = recordings / "kraken-v2" / "kraken_btcusd_l2.cbcap.zst"
    async with RecordingPlayer([path], speed=0) as player, aiohttp.ClientSession(player.rest_url) as client:
        async with client.get("/0/public/Time") as answer:
            assert answer.status == 404
        async with client.get("/sim/status") as answer:
            assert await answer.json() == {"venue": "kraken", "frames": 377, "sent": 0, "finished": False}
        async with client.ws_connect(f"{player.ws_url}/v2") as socket:
            request = {"method": "subscribe", "params": {"channel": "trade", "symbol": ["BTC/USD"]}, "req_id": 4}
            await socket.send_json(request)
            answers = [json.loads((await socket.receive(timeout=5)).data) for _ in range(2)]
        [accepted] = [one for one in answers if "method" in one]
        assert (accepted["result"]["channel"], accepted["req_id"], accepted["success"]) == ("trade", 4, True)


def test_recordings_of_two_venues_are_refused(recordings: Path) -> None:
    names = ("kraken-v2/kraken_btcusd_l2.cbcap.zst", "binance-usdm/btcusdt-20230404.log.zst")
    with pytest.raises(CaptureError, match="binance-usdm, kraken"):
        RecordingPlayer([recordings / name for name in names])


def test_the_command_serves_a_recording_over_tls_with_its_certificate(recordings: Path) -> None:
    path = recordings / "kraken-v2" / "kraken_btcusd_l2.cbcap.zst"
    command = [
        sys.executable,
        "-m",
        "tidebook",
        "simulate",
        "kraken",
        "--recording",
        str(path),
        "--port",
        "0",
        "--json",
    ]
    process = subprocess.Popen([*command, "--speed", "0", "--tls"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        assert process.stdout is not None
        facts = json.loads(process.stdout.readline())
        context = ssl.create_default_context(cafile=facts["certificate"])
        with urllib.request.urlopen(f"{facts['rest']}/sim/status", context=context, timeout=10) as answer:
            assert json.loads(answer.read())["frames"] == facts["frames"] == 377
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=10)
        assert (process.returncode, errors) == (0, b"")
        assert not Path(facts["certificate"]).exists()
    finally:
        process.kill()
