"""`tidebook run`: a whole node in one process."""

from __future__ import annotations

import asyncio
import logging
import sys
from pathlib import Path  # noqa: TC003 - cyclopts reads annotations
from typing import TYPE_CHECKING

from tidebook.cli.inputs import data_directory
from tidebook.cli.output import Json, console, print_json

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from tidebook.node.live import LiveOptions
    from tidebook.node.recovery import Progress, Recovery


def run(
    *,
    data: Path | None = None,
    venues: str | None = None,
    symbols: str | None = None,
    live: bool = False,
    rate: float = 500.0,
    seed: int = 7,
    host: str | None = None,
    port: int | None = None,
    allow_remote: bool | None = None,
    flush_interval_s: float | None = None,
    node: str = "default",
    verify: bool = True,
    json: Json = False,
) -> None:
    """Run a node: connectors, capture, engine, storage, API and the page.

    Parameters
    ----------
    data
        Data directory; default: the setting `data_directory`.
    venues
        Venues to connect to, separated by commas; default: the setting `venues`, else those of the last run on this data
        directory, else binance,coinbase,kraken.
    symbols
        What to subscribe to, separated by commas, as VENUE:SYMBOL, or plain for the first venue; venues not named here
        take their setting `symbols`, else those of the last run, be it none, else two of their own. What is named replaces
        those of the last run, and the log says which are given up.
    live
        Connect to the real exchanges instead of simulated venues on this machine.
    rate
        Mean messages per second of each simulated venue.
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
    verify
        Read every batch of the journals before anything is added to them; `--no-verify` reads their headers and newest segments.
    """
    import uvloop

    from tidebook.config import load
    from tidebook.errors import EndpointBusyError, UsageError
    from tidebook.feeds.registry import feed_kind
    from tidebook.node.feed_snapshots import SnapshotOptions
    from tidebook.node.live import LiveOptions, venues_of
    from tidebook.node.live import run as run_node
    from tidebook.node.maintenance import MaintenanceOptions
    from tidebook.node.venue_feed import FeedPlan
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
    directory = data_directory(data)
    chosen = _names(venues) if venues is not None else settings.venues or venues_of(directory)
    named = _by_venue(symbols or "", chosen)
    options = LiveOptions(
        data=directory,
        node=node,
        feeds=tuple(
            FeedPlan(venue=venue, settings=feed_kind(venue).settings(settings), symbols=named.get(venue, ()))
            for venue in chosen
        ),
        live=live,
        rate=rate,
        seed=seed,
        host=settings.api.host if host is None else host,
        port=settings.api.port if port is None else port,
        allow_remote=settings.api.allow_remote if allow_remote is None else allow_remote,
        flush_interval_s=settings.storage.flush_interval_s if flush_interval_s is None else flush_interval_s,
        compression=settings.storage.compression,
        snapshots=SnapshotOptions(interval_s=60 * settings.snapshot_interval_min, keep=settings.keep_snapshots),
        engine=settings.engine,
        sync_interval_ms=settings.journal_sync_interval_ms,
        maintenance=MaintenanceOptions(
            threshold_bytes=settings.compaction_threshold,
            keep_s=None if settings.keep_capture_h is None else 3_600 * settings.keep_capture_h,
        ),
        venue=settings.venue if settings.venue.enabled else None,
        audit_url=settings.audit.url.get_secret_value() if settings.audit.enabled else None,
        analytics=settings.analytics,
        topology=settings.topology,
        verify=verify,
    )

    screen = _Screen(options, json)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        try:
            stored = runner.run(run_node(options, screen))
        except EndpointBusyError as error:
            raise EndpointBusyError(
                f"{error}; a node beside the one called {node} needs a name of its own: --node NAME", **error.facts
            ) from error
    if json:
        print_json({"stored": stored})
    else:
        for channel, sequence in stored.items():
            print(f"{channel} is stored up to message {sequence}; the same command goes on from there")


class _Screen:
    """What a user sees of a node that comes up."""

    def __init__(self, options: LiveOptions, json: bool) -> None:
        self._options = options
        self._json = json
        self._recovery: Recovery | None = None

    def recovering(self, recovery: Recovery) -> AbstractContextManager[Progress]:
        from tidebook.cli.recovery import recovery_bars

        return recovery_bars(recovery, quiet=self._json)

    def recovered(self, recovery: Recovery) -> None:
        from tidebook.cli.recovery import recovery_table, refusals

        self._recovery = recovery
        is_refused = any(found.refused and found.is_own for found in recovery.channels)
        if self._json:
            if is_refused:
                print_json({"recovery": recovery.facts()})
        elif not all(found.is_new for found in recovery.channels):
            screen = console()
            screen.print(recovery_table(recovery, screen.width))
            for line in refusals(recovery):
                print(line)
        sys.stdout.flush()

    def started(self, address: str, simulated: dict[str, str]) -> None:
        from tidebook.transport.channel import DEFAULT_NODE

        options = self._options
        venues = [plan.venue for plan in options.feeds]
        if self._json:
            print_json(
                {
                    "address": address,
                    "data": str(options.data),
                    "node": options.node,
                    "venues": venues,
                    "live": options.live,
                    "simulated": simulated,
                    "recovery": None if self._recovery is None else self._recovery.facts(),
                }
            )
        else:
            names = ", ".join(venues)
            source = names if options.live else f"simulated {names}"
            print(f"Tidebook runs on {source}: {address}  (data in {options.data}/, Ctrl-C ends)")
            if simulated:
                where = ", ".join(f"{venue} {at}" for venue, at in simulated.items())
                print(f"Faults are asked for at POST /sim/faults of {where}")
            if options.node != DEFAULT_NODE:
                print(f"Its channels are found by node={options.node!r}")
        sys.stdout.flush()


def _names(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))


def _by_venue(symbols: str, venues: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    """`binance:BTCUSDT,ETHUSDT,kraken:BTC/USD` by venue; a plain symbol is the first venue's.

    Raises: UsageError for a venue that does not run.
    """
    from tidebook.errors import UsageError

    named: dict[str, tuple[str, ...]] = {}
    for name in _names(symbols):
        venue, colon, symbol = name.partition(":")
        if not colon:
            venue, symbol = venues[0], name
        if venue not in venues:
            raise UsageError(f"--symbols {name}: the node runs {', '.join(venues)}; add {venue} to --venues")
        named[venue] = (*named.get(venue, ()), symbol)
    return named
