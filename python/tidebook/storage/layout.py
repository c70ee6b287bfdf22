"""Where a part of a store lives: Hive paths that every engine understands.

    warm/<type>/date=YYYY-MM-DD/symbol=S/part-NNNNNN.parquet
    warm/bars/timeframe=1m/date=YYYY-MM-DD/symbol=S/part-NNNNNN.parquet

A symbol that holds `/` or another byte with a meaning in paths is percent-encoded, as Hive does it and engines undo
it. Paths are for people and for tools that list directories; our own readers go by the manifest and by the `symbol`
column that every part has.
"""

from typing import Final
from urllib.parse import quote

import msgspec

MANIFEST_DIRECTORY: Final = "_manifest"
STAGING_DIRECTORY: Final = "_staging"

PACKED: Final = "_packed"
"""Directory of parts that instruments too small for a part of their own share."""

DAY_NS: Final = 86_400_000_000_000


class Partition(msgspec.Struct, frozen=True, kw_only=True):
    """Rows that may share a file: one type, one UTC date, one symbol or the packed rest."""

    type: str
    timeframe: str | None
    """Of bars: `1s`, `1m`, `1h`, `1d`; None for other types."""
    date: str
    """`YYYY-MM-DD` of the rows' event time, UTC."""
    symbol: str | None
    """None where several symbols share the part."""

    @property
    def directory(self) -> str:
        """Path of its directory, relative to the store, with `/`."""
        steps = ["warm", self.type]
        if self.timeframe is not None:
            steps.append(f"timeframe={self.timeframe}")
        steps.append(f"date={self.date}")
        steps.append(f"symbol={PACKED if self.symbol is None else escape(self.symbol)}")
        return "/".join(steps)

    def part(self, number: int) -> str:
        """Path of its part `number`, which counts from 1."""
        return f"{self.directory}/part-{number:06d}.parquet"


def escape(symbol: str) -> str:
    """`symbol` as a path step: `BTC/USD.KRAKEN` becomes `BTC%2FUSD.KRAKEN`."""
    text = quote(symbol, safe="")
    # Engines take a leading `_` or `.` for a hidden file, and `_packed` is ours.
    return f"%{ord(text[0]):02X}{text[1:]}" if text[:1] in {"_", "."} else text


def timeframe(interval_s: int) -> str:
    """Word for a bar's length: 60 is `1m`, 90 is `90s`."""
    for unit, seconds in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if interval_s % seconds == 0 and interval_s > 0:
            return f"{interval_s // seconds}{unit}"
    return f"{interval_s}s"
