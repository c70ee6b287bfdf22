"""`tidebook channel top`: channels and their consumers, while they work; for people, and for Prometheus."""

from __future__ import annotations

import sys
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from tidebook.cli.channel.inputs import Node, Rings, all_channels
from tidebook.cli.output import Json, console, counted, print_json
from tidebook.cli.shown import Column, amount, duration, plain, table
from tidebook.errors import AddressError, TidebookError, UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from rich.table import Table

    from tidebook.transport.sampling import ChannelRates, ConsumerRates, Sample
    from tidebook.transport.view import ChannelFile, ChannelView

_INTERVAL_MIN_S = 0.1
_LINES_AROUND = 5  # title, head, rule and what is left out
_ALMOST_FULL = 0.75
_WAITING_SHOWN = 0.005  # 1 % when rounded
_INTERVAL_MAX_S = 3600
_PORT_MAX = 65_535


def top(
    *names: str,
    node: Node = None,
    rings: Rings = None,
    once: bool = False,
    interval_s: float = 1.0,
    prometheus: str | None = None,
    json: Json = False,
) -> None:
    """Watch channels: rates, how full, lag and latency of each consumer, waits, gaps.

    Parameters
    ----------
    names
        Channels, such as md.trades or desk/md.trades; default: all.
    once
        Print one picture, of `interval_s`, and end; so it does where the output is no terminal.
    interval_s
        Seconds between two pictures.
    prometheus
        Also serve the channels' metrics for Prometheus at HOST:PORT, until Ctrl-C.
    """
    if not _INTERVAL_MIN_S <= interval_s <= _INTERVAL_MAX_S:
        raise UsageError(
            f"--interval-s {interval_s:g}: name a number of seconds from {_INTERVAL_MIN_S} to {_INTERVAL_MAX_S}"
        )
    watch = _Watch(names, node, rings)
    if prometheus is not None:
        address = _serve(prometheus, node, rings)
        if once or json or not sys.stdout.isatty():
            print(f"metrics of the channels in {watch.directory} at {address}", flush=True)
            while True:
                time.sleep(interval_s)
    watch.look()
    time.sleep(interval_s)
    if json:
        print_json({"rings": str(watch.directory), "interval_s": interval_s, "channels": watch.facts()})
        return
    if once or not sys.stdout.isatty():
        watch.look()
        screen = console()
        screen.print(watch.table(screen.width, None))
        return
    _live(watch, interval_s)


def _live(watch: _Watch, interval_s: float) -> None:
    from rich.console import Console
    from rich.live import Live

    screen = Console(highlight=False)
    watch.look()
    with Live(watch.table(screen.width, screen.height), console=screen, auto_refresh=False, screen=True) as live:
        live.refresh()
        while True:
            time.sleep(interval_s)
            watch.look()
            live.update(watch.table(screen.width, screen.height), refresh=True)


class _Watch:
    """Channels and the two newest samples of each."""

    def __init__(self, names: tuple[str, ...], node: str | None, rings: Path | None) -> None:
        from tidebook.transport.view import find_channel, rings_root

        self.directory = rings_root(rings)
        if not names:
            all_channels(node, rings)
        self._node = node
        self._rings = rings
        self._only = {find_channel(name, node=node, root=rings) for name in names}
        self._views: dict[ChannelFile, ChannelView] = {}
        self._before: dict[ChannelFile, Sample] = {}
        self._rates: dict[ChannelFile, ChannelRates | str] = {}

    def look(self) -> None:
        """A sample of every channel there is now; those that are new have rates from the next look on."""
        from tidebook.transport.sampling import rates, sample
        from tidebook.transport.view import ChannelView, channel_files

        files = sorted(self._only) if self._only else channel_files(self._rings, node=self._node)
        self._rates = {}
        for file in files:
            try:
                view = self._views.get(file)
                if view is None or not view.ring.has_name():
                    view = self._views[file] = ChannelView(file, allow_others=True)
                    self._before.pop(file, None)
                now = sample(view)
            except TidebookError as error:
                self._views.pop(file, None)
                self._rates[file] = str(error)
                continue
            self._rates[file] = rates(view, self._before.get(file, now), now)
            self._before[file] = now

    def facts(self) -> list[dict[str, Any]]:
        """For `--json`: a new look, and what happened since the last."""
        self.look()
        return [
            {
                "node": file.node,
                "channel": file.name,
                **({"error": found} if isinstance(found, str) else asdict(found) | {"worst_lag": found.worst_lag}),
            }
            for file, found in self._rates.items()
        ]

    def table(self, width: int, height: int | None) -> Table:
        """One line a channel and one a consumer, as many as `height` lines hold."""
        left = (height or 1 << 20) - _LINES_AROUND
        hidden = 0
        rows: list[list[str]] = []
        for file, found in self._rates.items():
            lines = (
                [_unusable(file)]
                if isinstance(found, str)
                else [_channel(file, found), *map(_consumer, found.consumers)]
            )
            if hidden or len(lines) > left:
                hidden += 1
                continue
            left -= len(lines)
            rows += lines
        shown = table(_COLUMNS, rows, width)
        shown.title = f"channels in {self.directory}   {time.strftime('%H:%M:%S')}"
        shown.title_justify = "left"
        if hidden:
            below = f"\n{shown.caption}" if shown.caption else ""
            shown.caption = f"and {counted(hidden, 'more channel')}: name channels, or make the terminal taller{below}"
            shown.caption_justify = "left"
        return shown


_COLUMNS = (
    Column("channel, consumers", right=False),
    Column("msg/s"),
    Column("MB/s", give_up=1),
    Column("full", if_used=True),
    Column("lag"),
    Column("p50", give_up=5),
    Column("p99"),
    Column("waiting", if_used=True),
    Column("waits", if_used=True, give_up=3),
    Column("gaps", if_used=True, give_up=4),
    Column("lost", if_used=True),
    Column("repaired", if_used=True, give_up=2),
)


def _unusable(file: ChannelFile) -> list[str]:
    return [f"[bold]{plain(file.title)}[/] [red]not usable[/]", *[""] * (len(_COLUMNS) - 1)]


def _channel(file: ChannelFile, found: ChannelRates) -> list[str]:
    gated = any(one.state == "gating" for one in found.consumers)
    full = f"{found.occupancy:.0%}" if gated else ""
    return [
        f"[bold]{plain(file.title)}[/]",
        amount(found.messages_per_s),
        f"{found.bytes_per_s / 1e6:,.2f}",
        f"[red]{full}[/]" if full and found.occupancy >= _ALMOST_FULL else full,
        "",
        "",
        "",
        f"[yellow]{found.waiting:.0%}[/]" if found.waiting >= _WAITING_SHOWN else "",
        amount(found.waits) if found.waits else "",
        "",
        "",
        f"[yellow]{found.repaired}[/]" if found.repaired else "",
    ]


def _consumer(one: ConsumerRates) -> list[str]:
    name = plain(one.name) or f"#{one.line}"
    who = f"{one.process_id}" if one.alive else "[yellow]not open[/]"
    state = "" if one.state == "lossy" else " [yellow]given up[/]" if one.state == "detached" else " waited for"
    corrupt = f" [red]{one.corrupt} damaged[/]" if one.corrupt else ""
    return [
        f"  {name} [dim]{who}{state}[/]{corrupt}",
        f"[dim]{amount(one.messages_per_s)}[/]",
        "",
        "",
        amount(one.lag),
        duration(one.p50_ns),
        duration(one.p99_ns),
        "",
        "",
        f"[yellow]{amount(one.gaps)}[/]" if one.gaps else "",
        f"[yellow]{amount(one.lost)}[/]" if one.lost else "",
        "",
    ]


def _serve(text: str, node: str | None, rings: Path | None) -> str:
    """Serves metrics in a thread and gives where. Raises: UsageError for no address; AddressError for one not to be had."""
    from prometheus_client import CollectorRegistry, start_http_server

    from tidebook.transport.metrics import ChannelCollector

    host, _, port = text.rpartition(":")
    host = host.strip("[]") or "127.0.0.1"
    if not port.isdecimal() or int(port) > _PORT_MAX:
        raise UsageError(f"--prometheus {text}: name HOST:PORT, or a port of this machine", value=text)
    registry = CollectorRegistry(auto_describe=False)
    registry.register(ChannelCollector(node=node, root=rings))
    try:
        server, _ = start_http_server(int(port), addr=host, registry=registry)
    except OSError as error:
        raise AddressError(
            f"--prometheus {text}: cannot be listened on ({error.strerror}); choose another", host=host, port=int(port)
        ) from None
    shown = f"[{host}]" if ":" in host else host
    return f"http://{shown}:{server.server_port}/metrics"
