"""`tidebook simulate`: a local venue to connect to, in its own process."""

import asyncio
import os
import signal
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from tidebook.cli.output import Json, print_json
from tidebook.errors import UsageError
from tidebook.simulate import DIALECTS, RecordingPlayer, Simulator, VenueOptions
from tidebook.simulate.certificate import make_certificate
from tidebook.simulate.specs import spelled

SYMBOLS_SHOWN = 10


def simulate(
    venue: Literal["binance", "binance-usdm", "coinbase", "coinbase-advanced", "kraken"] = "binance",
    *,
    port: int = 9443,
    seed: int = 7,
    symbols: str | None = None,
    rate: float = 1_000.0,
    recording: Annotated[list[Path] | None, Parameter(consume_multiple=True, negative=())] = None,
    speed: float = 1.0,
    tls: bool = False,
    until_stdin_closes: bool = False,
    json: Json = False,
) -> None:
    """Run a local venue, with seeded order flow or from a recording, that speaks a real venue's protocol.

    Parameters
    ----------
    venue
        Whose protocol it speaks.
    port
        Port of 127.0.0.1 for REST and WebSocket; 0 takes any free one.
    seed
        The same seed gives the same order flow.
    symbols
        What it trades, in the venue's spelling and separated by commas; the first are the busiest. A number makes up so
        many. Two by default.
    rate
        Mean messages per second of trades and books (Binance: also bookTicker) over all symbols.
    recording
        Capture files of the venue: their frames and answers are sent as recorded, and there is no order flow.
    speed
        How often as fast as recorded; 0 = as fast as the client reads.
    tls
        Serve TLS with a certificate made for this run; its file is printed, for clients to trust.
    until_stdin_closes
        End when standard input does: whoever started it with a pipe takes it along, however it ends.
    """
    with ExitStack() as stack:
        certificate = context = None
        if tls:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tidebook-tls-")))
            certificate, context = make_certificate(folder)
        if recording:
            if speed < 0:
                raise UsageError(f"--speed {speed:g} is below 0; 0 plays as fast as the client reads")
            player = RecordingPlayer(recording, port=port, tls=context, speed=speed)
            if player.venue != venue:
                raise UsageError(f"--recording is of {player.venue}: tidebook simulate {player.venue} --recording ...")
            facts: dict[str, Any] = {"recording": list(map(str, recording)), "frames": player.frame_count}
            pace = f"{speed:g} times as fast" if speed else "as fast as it is read"
            title = f"recorded {venue}: {player.frame_count:,} frames, {pace}"
            serving = _serve(venue, player, title, facts, certificate, json, until_stdin_closes)
        else:
            options = VenueOptions(venue=venue, symbols=_symbols(venue, symbols), rate=rate, seed=seed)
            traded = ", ".join(options.symbols[:SYMBOLS_SHOWN])
            if len(options.symbols) > SYMBOLS_SHOWN:
                traded += f" and {len(options.symbols) - SYMBOLS_SHOWN} more"
            title = f"simulated {venue}: {traded} at {rate:g} messages/s, seed {seed}"
            facts = {"symbols": options.symbols, "rate": rate, "seed": seed}
            simulator = Simulator(options, port=port, tls=context)
            serving = _serve(venue, simulator, title, facts, certificate, json, until_stdin_closes)
        asyncio.run(serving)


def _symbols(venue: str, asked: str | None) -> tuple[str, ...]:
    dialect = DIALECTS[venue]
    if asked is None:
        return dialect.default_symbols
    if asked.strip().isdecimal():
        return dialect.made_symbols(int(asked))
    return tuple(spelled(symbol.strip()) for symbol in asked.split(",") if symbol.strip())


async def _serve(
    venue: str,
    server: Simulator | RecordingPlayer,
    title: str,
    facts: dict[str, Any],
    certificate: Path | None,
    json: bool,
    until_stdin_closes: bool,
) -> None:
    """Serves until SIGTERM or Ctrl-C, or until nobody holds the other end of stdin."""
    serving = asyncio.current_task()
    assert serving is not None
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, serving.cancel)
    if until_stdin_closes:
        loop.add_reader(sys.stdin, lambda: None if os.read(sys.stdin.fileno(), 1024) else serving.cancel())
    try:
        async with server:
            if json:
                where = {
                    "venue": venue,
                    "host": server.host,
                    "port": server.port,
                    "rest": server.rest_url,
                    "ws": server.ws_url,
                    "certificate": None if certificate is None else str(certificate),
                }
                print_json({**where, **facts})
            else:
                rest_path, ws_path = DIALECTS[venue].paths_shown
                print(title)
                print(f"REST {server.rest_url}{rest_path}   WebSocket {server.ws_url}{ws_path}")
                if certificate is not None:
                    print(f"certificate {certificate}")
            sys.stdout.flush()
            await server.serve_forever()
    except asyncio.CancelledError:
        if not serving.cancelling():
            raise
