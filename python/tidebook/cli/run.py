"""`tidebook run`: a whole node in one process."""

from __future__ import annotations

import asyncio
import logging
import sys
from pathlib import Path  # noqa: TC003 - cyclopts reads annotations

from tidebook.cli.output import Json, print_json


def run(
    *,
    data: Path | None = None,
    symbols: str | None = None,
    live: bool = False,
    rate: float = 500.0,
    seed: int = 7,
    host: str | None = None,
    port: int | None = None,
    allow_remote: bool | None = None,
    flush_interval_s: float | None = None,
    node: str = "default",
    json: Json = False,
) -> None:
    """Run a node: connector, capture, engine, storage, API and the page.

    Parameters
    ----------
    data
        Data directory; default: the setting `data_directory`.
    symbols
        Instruments to subscribe to, separated by commas; default: the setting `binance.symbols`, else those of the last
        run on this data directory, else BTCUSDT,ETHUSDT.
    live
        Connect to the real exchange instead of a simulated venue on this machine.
    rate
        Mean messages per second of the simulated venue.
    seed
        The same seed gives the same simulated order flow.
    host
        Address of the API and the page; default: the setting `api.host`.
    port
        Port of the API and the page; default: the setting `api.port`.
    allow_remote
        Listen on an address that other machines can reach; the API has no keys. Default: the setting `api.allow_remote`.
    flush_interval_s
        Most seconds of records in one Parquet part; default: the setting `storage.flush_interval_s`.
    node
        Name of the node: other processes find its channels by it.
    """
    import uvloop

    from tidebook.config import load
    from tidebook.errors import UsageError
    from tidebook.node.live import LiveOptions
    from tidebook.node.live import run as run_node
    from tidebook.observe.logs import configure, logger
    from tidebook.simulate import VenueOptions

    if flush_interval_s is not None and not 0.01 <= flush_interval_s <= 86_400:
        raise UsageError(f"--flush-interval-s {flush_interval_s:g}: name a number of seconds from 0.01 to 86400")
    if not live:
        # Before anything is made: the venue's process would only say it later.
        VenueOptions(rate=rate, seed=seed)
    settings = load()
    configure(settings.log)
    for key in settings.without_effect():
        logger("cli.run").warning("this setting has no effect yet", key=key)
    logging.getLogger("picows").setLevel(logging.WARNING)  # the connector tells what happened to its sessions
    options = LiveOptions(
        data=data or settings.data_directory,
        node=node,
        symbols=_names(symbols) if symbols is not None else settings.binance.symbols,
        binance=settings.binance,
        live=live,
        rate=rate,
        seed=seed,
        host=settings.api.host if host is None else host,
        port=settings.api.port if port is None else port,
        allow_remote=settings.api.allow_remote if allow_remote is None else allow_remote,
        flush_interval_s=settings.storage.flush_interval_s if flush_interval_s is None else flush_interval_s,
        compression=settings.storage.compression,
        sync_interval_ms=settings.journal_sync_interval_ms,
    )

    def started(address: str) -> None:
        source = "Binance" if live else "a simulated Binance"
        if json:
            print_json({"address": address, "data": str(options.data), "node": node, "live": live})
        else:
            print(f"Tidebook runs on {source}: {address}  (data in {options.data}/, Ctrl-C ends)")
        sys.stdout.flush()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        stored = runner.run(run_node(options, started))
    if json:
        print_json({"stored": stored})
    else:
        for channel, sequence in stored.items():
            print(f"{channel} is stored up to message {sequence}; the same command goes on from there")


def _names(symbols: str) -> tuple[str, ...]:
    return tuple(symbol.strip().upper() for symbol in symbols.split(",") if symbol.strip())
