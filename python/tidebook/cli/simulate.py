"""`tidebook simulate`: a local venue to connect to, in its own process."""

import asyncio
import os
import signal
import sys
from typing import Literal

from tidebook.cli.output import Json, print_json
from tidebook.simulate import BinanceSimulator, VenueOptions


def simulate(
    venue: Literal["binance"] = "binance",
    *,
    port: int = 9443,
    seed: int = 7,
    symbols: str = "BTCUSDT,ETHUSDT",
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
        What it trades, separated by commas; the first are the busiest.
    rate
        Mean messages per second of trade, bookTicker and depth@100ms over all symbols.
    until_stdin_closes
        End when standard input does: whoever started it with a pipe takes it along, however it ends.
    """
    names = tuple(symbol.strip().upper() for symbol in symbols.split(",") if symbol.strip())
    simulator = BinanceSimulator(VenueOptions(symbols=names, rate=rate, seed=seed), port=port)
    asyncio.run(_serve(venue, simulator, json, until_stdin_closes))


async def _serve(venue: str, simulator: BinanceSimulator, json: bool, until_stdin_closes: bool) -> None:
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
                print(
                    f"simulated {venue}: {', '.join(options.symbols)} at {options.rate:g} messages/s, seed {options.seed}"
                )
                print(
                    f"REST {simulator.rest_url}/api/v3/exchangeInfo   WebSocket {simulator.ws_url}/stream", flush=True
                )
            await simulator.serve_forever()
    except asyncio.CancelledError:
        if not serving.cancelling():
            raise
