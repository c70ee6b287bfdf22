"""`tidebook simulate`: a local venue to connect to, in its own process."""

import asyncio
import os
import signal
import sys
from typing import Literal

from tidebook.cli.output import Json, print_json
from tidebook.simulate import DIALECTS, Simulator, VenueOptions

SYMBOLS_SHOWN = 10


def simulate(
    venue: Literal["binance", "binance-usdm", "coinbase", "coinbase-advanced", "kraken"] = "binance",
    *,
    port: int = 9443,
    seed: int = 7,
    symbols: str | None = None,
    rate: float = 1_000.0,
    until_stdin_closes: bool = False,
    json: Json = False,
) -> None:
    """Run a local venue with seeded order flow that speaks a real venue's protocol.

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
    until_stdin_closes
        End when standard input does: whoever started it with a pipe takes it along, however it ends.
    """
    dialect = DIALECTS[venue]
    if symbols is None:
        names = dialect.default_symbols
    elif symbols.strip().isdecimal():
        names = dialect.made_symbols(int(symbols))
    else:
        names = tuple(symbol.strip().upper() for symbol in symbols.split(",") if symbol.strip())
    simulator = Simulator(VenueOptions(venue=venue, symbols=names, rate=rate, seed=seed), port=port)
    asyncio.run(_serve(venue, simulator, json, until_stdin_closes))


async def _serve(venue: str, simulator: Simulator, json: bool, until_stdin_closes: bool) -> None:
    """Serves until SIGTERM or Ctrl-C, or until nobody holds the other end of stdin."""
    serving = asyncio.current_task()
    assert serving is not None
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, serving.cancel)
    if until_stdin_closes:
        loop.add_reader(sys.stdin, lambda: None if os.read(sys.stdin.fileno(), 1024) else serving.cancel())
    options = simulator.venue.options
    try:
        async with simulator:
            if json:
                facts = {
                    "venue": venue,
                    "host": simulator.host,
                    "port": simulator.port,
                    "rest": simulator.rest_url,
                    "ws": simulator.ws_url,
                    "symbols": options.symbols,
                    "rate": options.rate,
                    "seed": options.seed,
                }
                print_json(facts)
                sys.stdout.flush()
            else:
                traded = ", ".join(options.symbols[:SYMBOLS_SHOWN])
                if len(options.symbols) > SYMBOLS_SHOWN:
                    traded += f" and {len(options.symbols) - SYMBOLS_SHOWN} more"
                print(f"simulated {venue}: {traded} at {options.rate:g} messages/s, seed {options.seed}")
                rest_path, ws_path = DIALECTS[venue].paths_shown
                print(f"REST {simulator.rest_url}{rest_path}   WebSocket {simulator.ws_url}{ws_path}", flush=True)
            await simulator.serve_forever()
    except asyncio.CancelledError:
        if not serving.cancelling():
            raise
