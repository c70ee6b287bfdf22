"""`tidebook channel ls`: every channel at a glance."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from tidebook.cli.channel.inputs import Node, Rings, all_channels
from tidebook.cli.output import Json, console, print_json
from tidebook.cli.shown import Column, amount, plain, size, table

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

    from tidebook.observe.finding import Finding
    from tidebook.transport.sampling import ChannelRates
    from tidebook.transport.view import ChannelFile, ChannelView

_APART_S = 0.5
_STYLES = {"problem": "red", "note": "yellow"}
_ALMOST_FULL = 0.75
_WIDE = 130
_EPOCHS_FROM = 1_500_000_000  # seconds; of 2017, before there was any ring


def ls(*, node: Node = None, rings: Rings = None, json: Json = False) -> None:
    """List every channel: size, rate, how full, producers, consumers, worst lag, trouble."""
    from tidebook.transport.view import rings_root

    looked = [_Looked.at(file) for file in all_channels(node, rings)]
    _sample_all(looked)
    if json:
        print_json({"rings": str(rings_root(rings)), "channels": [one.facts() for one in looked]})
        return
    if not looked:
        print(f"no channels in {rings_root(rings)}; `tidebook run` or create_channel() make some")
        return
    screen = console()
    screen.print(_table(looked, screen.width))


def _sample_all(looked: list[_Looked]) -> None:
    opened = [one for one in looked if one.view is not None]
    for one in opened:
        one.begin()
    if opened:
        time.sleep(_APART_S)
    for one in opened:
        one.end()


class _Looked:
    """A channel and what was seen of it."""

    def __init__(self, file: ChannelFile, view: ChannelView | None, findings: list[Finding]) -> None:
        self.file = file
        self.view = view
        self.findings = findings
        self.rates: ChannelRates | None = None

    @classmethod
    def at(cls, file: ChannelFile) -> _Looked:
        from tidebook.transport.doctor import open_for_examination

        return cls(file, *open_for_examination(file))

    def begin(self) -> None:
        from tidebook.transport.sampling import sample

        assert self.view is not None
        self._before = sample(self.view)

    def end(self) -> None:
        from tidebook.transport.doctor import channel_findings
        from tidebook.transport.sampling import rates, sample

        assert self.view is not None
        now = sample(self.view)
        self.rates = rates(self.view, self._before, now)
        self.findings += channel_findings(self.view, self._before.status, now.status)

    @property
    def kind(self) -> str:
        """`trades slots`, `frames`, `runs`."""
        assert self.view is not None
        schema = self.view.info["schema"]
        return f"{schema[0]} v{schema[1]}" if schema else "messages"

    def facts(self) -> dict[str, Any]:
        """For `--json`."""
        info = {} if self.view is None else self.view.info
        schema = info.get("schema")
        return {
            "node": self.file.node,
            "channel": self.file.name,
            "path": str(self.file.path),
            **{name: info.get(name) for name in ("kind", "mode", "file_size_bytes", "capacity", "epoch", "generation")},
            "schema": None if schema is None else {"name": schema[0], "version": schema[1]},
            **({} if self.rates is None else asdict(self.rates) | {"worst_lag": self.rates.worst_lag}),
            "trouble": [{"level": one.level, "short": one.short, "what": one.what} for one in self.findings],
        }


_COLUMNS = (
    Column("channel", right=False),
    Column("kind", right=False, give_up=5),
    Column("mode", right=False, width_min=130, give_up=2),
    Column("epoch", right=False, width_min=150, give_up=1),
    Column("size", width_min=110, give_up=3),
    Column("published", give_up=6),
    Column("msg/s", give_up=9),
    Column("MB/s", width_min=120, give_up=4),
    Column("full", if_used=True, give_up=10),
    Column("prod", give_up=7),
    Column("cons", give_up=8),
    Column("lag", if_used=True),
    Column("trouble", right=False, if_used=True),
)


def _table(looked: list[_Looked], width: int) -> Table:
    return table(_COLUMNS, [_row(one, width) for one in looked], width)


def _row(one: _Looked, width: int) -> list[str | Text]:
    from rich.text import Text

    told = sorted(one.findings, key=lambda finding: finding.level != "problem")
    trouble = Text(", ").join(Text(finding.short, _STYLES[finding.level]) for finding in told)
    if one.view is None or one.rates is None:
        return [plain(one.file.title), *[""] * (len(_COLUMNS) - 2), trouble]
    rates, info = one.rates, one.view.info
    gated = any(consumer.state == "gating" for consumer in rates.consumers)
    full = f"{rates.occupancy:.0%}" if gated else ""
    # The mode is in the kind where there is no room for it, because it is nearly always the other one.
    kind = f"{one.kind} mpsc" if info["mode"] == "mpsc" and width < _WIDE else one.kind
    lag = rates.worst_lag
    return [
        plain(one.file.title),
        plain(kind),
        info["mode"],
        _epoch(info["epoch"], info["visible_durable"]),
        size(info["file_size_bytes"]),
        f"{rates.published:,}",
        amount(rates.messages_per_s),
        f"{rates.bytes_per_s / 1e6:,.2f}",
        Text(full, "red" if rates.occupancy >= _ALMOST_FULL else ""),
        str(rates.producers),
        f"{sum(consumer.alive for consumer in rates.consumers)}/{len(rates.consumers)}",
        "" if lag is None else amount(lag),
        trouble,
    ]


def _epoch(epoch: int, is_durable: bool) -> str:
    """Whose messages the sequences count: those since a time of making, or those of a journal, by its number."""
    from datetime import UTC, datetime

    if is_durable:
        return f"journal {epoch:x}"
    at = epoch / 1e9
    if not _EPOCHS_FROM <= at <= time.time() + 86_400:
        return str(epoch)
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%S}"
