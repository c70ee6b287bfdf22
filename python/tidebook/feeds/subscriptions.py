"""What a connector is subscribed to and how many connections it has had, kept over restarts.

A small JSON file, replaced whole and durably with each change, so that a kill leaves the old or the new one. A
connection number is on disk before the connection is tried: in one capture no number ever means two sessions.
"""

from pathlib import Path
from typing import Annotated

import msgspec

from tidebook.errors import SubscriptionsError
from tidebook.persistence.files import replace_durably

FORMAT_VERSION = 1
# Messages carry 32 bits. Nobody comes near; what is above was not written by us, and half is left for what follows.
CONNECTION_MAX = 1 << 31


class Subscriptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The file's content. `connection` is the newest number given to a session."""

    version: int = FORMAT_VERSION
    symbols: tuple[str, ...] = ()
    connection: Annotated[int, msgspec.Meta(ge=0, le=CONNECTION_MAX)] = 0


_decode = msgspec.json.Decoder(Subscriptions).decode


class SubscriptionsFile:
    """Loads and saves `Subscriptions`; with no path it keeps nothing."""

    def __init__(self, path: Path | None) -> None:
        self._path = path

    def load(self) -> Subscriptions | None:
        """What was saved last; None when nothing ever was, which is not the same as no symbols.

        Raises: SubscriptionsError when the file is damaged or of a later version.
        """
        if self._path is None:
            return None
        try:
            loaded = _decode(self._path.read_bytes())
        except FileNotFoundError:
            return None
        except msgspec.DecodeError as error:
            raise SubscriptionsError(
                f"{self._path}: not a list of subscriptions ({error}); delete it and name the symbols again",
                path=self._path,
            ) from error
        if loaded.version != FORMAT_VERSION:
            raise SubscriptionsError(
                f"{self._path}: version {loaded.version} where this tidebook reads {FORMAT_VERSION}; "
                "use the tidebook that wrote it",
                path=self._path,
            )
        return loaded

    def save(self, subscriptions: Subscriptions) -> None:
        """Replaces the file durably."""
        if self._path is None:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        replace_durably(self._path, msgspec.json.encode(subscriptions))
