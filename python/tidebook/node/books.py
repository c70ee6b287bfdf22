"""Which books of a feed could be used, for the report of a replay."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tidebook.feeds.status import StatusKind
from tidebook.storage.columns import symbol_texts

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from tidebook._core import FeedDecoder, Payloads

_TOLD = (StatusKind.BOOK_USABLE, StatusKind.SNAPSHOT_WANTED, StatusKind.SNAPSHOT_REFUSED)


class BookWatch:
    """A decoder that remembers which books it ever made usable, by the status records it gives."""

    def __init__(self, decoder: FeedDecoder) -> None:
        self._decoder = decoder
        self._names: dict[int, str] = {}
        self._seen: dict[int, set[int]] = {kind: set() for kind in _TOLD}

    def decode(self, first_sequence: int, messages: Payloads, /) -> Mapping[str, NDArray[Any]]:
        """As of the decoder."""
        records = self._decoder.decode(first_sequence, messages)
        named, status = records["instruments"], records["status"]
        if len(named):
            self._names.update(
                zip(named["instrument_id"].tolist(), symbol_texts(named["symbol"]), strict=True),
            )
        if len(status):
            for kind, ids in self._seen.items():
                ids.update(status["instrument_id"][status["kind"] == kind].tolist())
        return records

    @property
    def usable(self) -> list[str]:
        """Instruments whose book was usable at some time, by name."""
        return self._named(self._seen[StatusKind.BOOK_USABLE])

    @property
    def never_usable(self) -> dict[str, str]:
        """Instruments that sent changes of a book which was never usable, by name, and why it was not."""
        refused = self._seen[StatusKind.SNAPSHOT_REFUSED]
        never = (self._seen[StatusKind.SNAPSHOT_WANTED] | refused) - self._seen[StatusKind.BOOK_USABLE]
        unfit = set(self._named(refused))
        return {name: "no snapshot fitted" if name in unfit else "no snapshot" for name in self._named(never)}

    def _named(self, ids: set[int]) -> list[str]:
        return sorted(self._names.get(number, str(number)) for number in ids)
