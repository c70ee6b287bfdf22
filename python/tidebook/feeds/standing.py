"""What stands of a session's subscriptions, stream by stream: granted, refused until later, or still to be asked for.

A venue grants and refuses each stream of a symbol by itself, so that is what is remembered: a symbol's book goes on
while its trades are refused, and what is asked for again is what is missing and nothing else. A state machine over time
given as an argument.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from tidebook.feeds.protocol import SymbolStream


@dataclass(frozen=True, slots=True)
class Refusal:
    """A stream that the venue does not deliver."""

    reason: str
    again_s: float
    """When it is asked for again."""


class Standing:
    """Of one session; the next one begins with nothing. Times are seconds of a steady clock."""

    def __init__(self, retry_s: float) -> None:
        self.granted: dict[SymbolStream, None] = {}
        self.refused: dict[SymbolStream, Refusal] = {}
        self._retry_s = retry_s

    def grant(self, streams: Iterable[SymbolStream]) -> None:
        """The venue delivers these."""
        for stream in streams:
            self.granted[stream] = None
            self.refused.pop(stream, None)

    def refuse(self, reasons: Mapping[SymbolStream, str], now_s: float) -> None:
        """The venue does not deliver these, whatever it did before."""
        for stream, reason in reasons.items():
            self.granted.pop(stream, None)
            self.refused[stream] = Refusal(reason, now_s + self._retry_s)

    def give_up(self, streams: Iterable[SymbolStream]) -> None:
        """These were unsubscribed."""
        for stream in streams:
            self.granted.pop(stream, None)

    def surplus(self, wanted: Mapping[SymbolStream, None]) -> list[SymbolStream]:
        """What is granted and not wanted any more; a refusal of what is not wanted is forgotten."""
        self.refused = {stream: refusal for stream, refusal in self.refused.items() if stream in wanted}
        return [stream for stream in self.granted if stream not in wanted]

    def missing(self, wanted: Iterable[SymbolStream], now_s: float) -> list[SymbolStream]:
        """What is to be asked for now."""
        return [
            stream
            for stream in wanted
            if stream not in self.granted and (stream not in self.refused or self.refused[stream].again_s <= now_s)
        ]

    def again_s(self) -> float:
        """When the first refused stream is to be asked for again; infinite when none is refused."""
        return min((refusal.again_s for refusal in self.refused.values()), default=math.inf)

    def has(self, symbol: str, streams: Iterable[str]) -> bool:
        """Whether all these streams of the symbol are granted."""
        return all(SymbolStream(symbol, stream) in self.granted for stream in streams)

    def reasons(self, symbols: Iterable[str]) -> dict[str, str]:
        """Symbols of which something is refused, and why: the reason where nothing of the symbol stands, else by stream."""
        standing = {stream.symbol for stream in self.granted}
        found: dict[str, dict[str, str]] = {}
        for stream, refusal in self.refused.items():
            found.setdefault(stream.symbol, {})[stream.stream] = refusal.reason
        return {symbol: _words(found[symbol], by_stream=symbol in standing) for symbol in symbols if symbol in found}


def by_streams(wanted: Iterable[SymbolStream]) -> list[tuple[tuple[str, ...], tuple[str, ...]]]:
    """Streams and the symbols that want just these, so that few requests ask for all, in the order of their first.

    Each stream of no symbol stands alone, without symbols.
    """
    of_symbol: dict[SymbolStream, list[str]] = {}
    for symbol, stream in wanted:
        of_symbol.setdefault(SymbolStream(symbol, "" if symbol else stream), []).append(stream)
    together: dict[tuple[tuple[str, ...], bool], list[str]] = {}
    for (symbol, _), streams in of_symbol.items():
        together.setdefault((tuple(streams), bool(symbol)), []).append(symbol)
    return [(streams, tuple(filter(None, symbols))) for (streams, _), symbols in together.items()]


def _words(reasons: Mapping[str, str], *, by_stream: bool) -> str:
    if not by_stream:
        return "; ".join(dict.fromkeys(reasons.values()))
    return "; ".join(f"{stream}: {reason}" for stream, reason in reasons.items())
