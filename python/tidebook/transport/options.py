"""How a channel is made, and what cannot be asked for."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, SupportsIndex

from tidebook.errors import ChannelUsageError, JournalError
from tidebook.transport.keep_rule import FOREVER, THRESHOLD_BYTES, KeepPlan

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

RING_FILE = "{name}.ring"
PRODUCERS_MAX = 16
"""Of mode mpsc, unless another number is asked for."""
_FRAMES_MIN_BYTES = 4096
_BOUNDS = {
    "buffer_size": (1, 1 << 40),
    "consumers_max": (1, 1024),
    "producers_max": (1, 255),
    "last_values": (1, 1 << 21),
    "journal_sync_interval_ms": (1, 86_400_000),
    "snapshot_interval_ms": (1, 86_400_000),
    "staging_size_bytes": (0, 1 << 40),
    "segment_size_bytes": (1 << 13, 1 << 30),
    "compaction_threshold": (0, 1 << 50),
}
"""Least and most of the options that are numbers."""
_MAY_BE_NONE = {"producers_max", "last_values", "journal_sync_interval_ms", "snapshot_interval_ms"}


@dataclass(frozen=True, kw_only=True)
class ChannelOptions:
    """How a channel is made. With a `dtype` or `schema` it holds records, else messages of any length.

    `create_channel` takes a mapping of the same keys too. Raises: ChannelUsageError naming the option, its value and what
    to use instead.
    """

    dtype: DTypeLike | type[Any] | None = None
    """Layout of its records: a numpy dtype, or a dataclass (see `tidebook.transport.record`)."""
    schema: str | None = None
    """Name of a published layout instead (`trades`, `quotes`, ...)."""
    buffer_size: int = 1 << 20
    """Bytes, rounded down to a power of two of them, or of slots where there are records or many producers; at least 4096 or 8."""
    buffer_file: str | None = None
    """Where the ring is, instead of the node's directory: `/dev/shm/mine/{name}.ring`; others open it by `directory`."""
    crc: bool = True
    parking: bool = True
    """Consumers may sleep until woken; costs the producer a fence per publish."""
    consumers_max: int = 16
    mode: str = "spsc"
    """`spsc`: one producer; `mpsc`: up to `producers_max` at one time, whose messages all consumers see in one order."""
    producers_max: int | None = None
    """Of mode mpsc, up to 255; None: 16."""
    durability: str = "memory"
    """`memory`: messages survive the death of any process, not of the machine; `wal`: the channel's producer journals them,
    and consumers see what is synced."""
    wal_dir: str | os.PathLike[str] | None = None
    """Of durability wal: the directory its journal is made in, as `<wal_dir>/<name>`, or where `{name}` stands; one that is
    relative is below the directory the process is in when the channel is made."""
    journal_sync_interval_ms: int | None = 10
    """Of durability wal: how often the journal is synced; None: as soon as the last sync has ended."""
    staging_size_bytes: int = 64 << 20
    """Of durability wal: how far a slow disk may be behind, beyond the ring, before the producer waits for it. Taken from shared
    memory when it is needed, rounded down to a power of two of at least 65,536; 0: none."""
    segment_size_bytes: int = 64 << 20
    """Of durability wal: bytes of each file of the journal, a multiple of 4096; of a channel without a `dtype` no less than its ring has
    (`buffer_size`), whose longest message has to fit. The newest is allocated whole, and a keep rule removes whole ones."""
    keep: str = FOREVER
    """Of durability wal: what of the journal stays; the producer's process removes the rest, oldest first, in whole segments. `forever`,
    or conditions joined by ` and `, all of which must agree before a message goes: `age 24h` (also s, m, d), `size 10GiB` (also KiB, MiB, or
    bytes: so much that is newer stays), `snapshots 2` (so many whole ones cover it), `consumers` (all that there are have consumed it).
    What a consumer, a stored cursor or a checkpoint still needs stays all the same, unless the rule ends with `, even unread`."""
    compaction_threshold: int = THRESHOLD_BYTES
    """Of durability wal: a journal up to so many bytes is left alone, whatever `keep` says."""
    snapshots_dir: str | os.PathLike[str] | None = None
    """Where the snapshots are that `keep` counts: those of one state, or of several in directories below, each of which has to have them."""
    last_value_key: str | None = None
    """Field of the records that is a dense key, from 0 on, such as `instrument_id`: the newest record of each key is kept
    beside the ring, for `Channel.last_value`."""
    last_values: int | None = None
    """How many keys there are: each is below this."""
    group: str | int | None = None
    """Name or number of a group whose members may have it too (0660 in 0770). None: its user alone (0600 in 0700)."""
    db_backend: str = "lmdb"
    """What checkpoints are stored in."""
    replication: str | None = None
    snapshot_interval_ms: int | None = None
    """Of durability wal: how often the cursors of named consumers are stored, for the time after a reboot; None: 5000. For those that
    are opened with what `create_channel` gave; one that opens the channel by its name stores its cursor every 5000."""

    def __post_init__(self) -> None:
        if self.mode not in ("spsc", "mpsc"):
            self._refuse("mode", "must be spsc (one producer) or mpsc (many)")
        if self.mode == "spsc" and self.producers_max not in (None, 1):
            self._refuse("producers_max", "mode spsc has one producer; add mode='mpsc' for several")
        self._check_numbers()
        if self.durability == "replicated" or self.replication is not None:
            option = "durability" if self.durability == "replicated" else "replication"
            self._refuse(option, "replication is not built; use durability wal, which holds what one machine can")
        if self.durability not in ("memory", "wal"):
            self._refuse("durability", "must be memory or wal")
        if self.db_backend != "lmdb":
            self._refuse("db_backend", "the only one is lmdb; leave it out")
        if self.durability == "memory" and self.snapshot_interval_ms is not None:
            self._refuse(
                "snapshot_interval_ms", "cursors are stored for a journal; ask for durability wal or leave it out"
            )
        if self.dtype is not None and self.schema is not None:
            self._refuse("schema", "the records have a dtype already; give one of the two")
        if self.buffer_file is not None and Path(self.buffer_file).name != RING_FILE:
            self._refuse("buffer_file", f"must end with /{RING_FILE}, where others look for it")
        if (self.last_value_key is None) != (self.last_values is None):
            self._refuse("last_value_key", "needs last_values, the number of keys, and that needs a key; give both")
        if self.last_values is not None and self.dtype is None and self.schema is None:
            self._refuse("last_value_key", "plain messages have no key; give the records a dtype or a schema")
        if self.durability == "memory" and self.wal_dir is not None:
            self._refuse("wal_dir", "only durability wal has a journal; ask for it or leave wal_dir out")
        if self.durability == "memory" and (self.keep != FOREVER or self.snapshots_dir is not None):
            option = "snapshots_dir" if self.keep == FOREVER else "keep"
            self._refuse(option, "only durability wal has a journal; ask for it or leave keep and snapshots_dir out")
        if self.durability == "wal":
            self._check_journal()
            self._check_keep()

    def _check_numbers(self) -> None:
        for option, (least, most) in _BOUNDS.items():
            value = getattr(self, option)
            if value is None and option in _MAY_BE_NONE:
                continue
            if not is_integer(value):
                example = ", such as 1 << 20" if option == "buffer_size" else ""
                self._refuse(option, f"must be an integer{example}")
            if not least <= value <= most:
                self._refuse(option, f"must be from {least} to {most}")
        if self.dtype is None and self.schema is None and self.mode == "spsc" and self.buffer_size < _FRAMES_MIN_BYTES:
            self._refuse("buffer_size", f"plain messages need at least {_FRAMES_MIN_BYTES}")

    def _check_journal(self) -> None:
        if self.wal_dir is None:
            self._refuse("wal_dir", "durability wal needs the directory for its journal")
        asked: object = self.wal_dir  # callers without a type checker give anything
        given: object = os.fspath(asked) if isinstance(asked, os.PathLike) else asked
        if not isinstance(given, str) or not given or "\0" in given or not _is_path(given):
            self._refuse("wal_dir", "must be the path of a directory, a str or a pathlib.Path")
        if self.mode == "mpsc":
            self._refuse(
                "mode", "a journaled channel has one producer; write from many through a memory channel and one process"
            )
        if self.last_values is not None:
            self._refuse("last_values", "a last value is told before it is durable; only memory channels have them")
        if self.group is not None:
            self._refuse("group", "a journaled channel is its user's alone; leave it out, or use a memory channel")

    def _check_keep(self) -> None:
        if self.segment_size_bytes % 4096:
            self._refuse("segment_size_bytes", "must be a multiple of 4096")
        given: object = self.keep
        if not isinstance(given, str):
            self._refuse("keep", f"must be a text, such as {FOREVER!r} or 'age 24h and size 10GiB'")
        try:
            self.keep_plan()
        except JournalError as error:
            self._refuse("keep", str(error))

    def keep_plan(self) -> KeepPlan:
        """What of the journal stays. Raises: JournalError for a rule that is none."""
        snapshots = None if self.snapshots_dir is None else Path(self.snapshots_dir).absolute()
        return KeepPlan(rule=self.keep, threshold_bytes=self.compaction_threshold, snapshots=snapshots).checked()

    def _refuse(self, option: str, reason: str) -> NoReturn:
        value = getattr(self, option)
        raise ChannelUsageError(f"{option} = {value!r}: {reason}", option=option, value=value)

    def journal_directory(self, name: str) -> Path | None:
        """Where the journal of a channel of this name is, whatever directory the process is in later; None without one."""
        if self.wal_dir is None:
            return None
        given = str(self.wal_dir)
        place = Path(given.replace("{name}", name)) if "{name}" in given else Path(given) / name
        return place.absolute()


def _is_path(text: str) -> bool:
    try:
        os.fsencode(text)
    except UnicodeEncodeError:
        return False
    return True


def check_text(option: str, value: object) -> None:
    """Raises: ChannelUsageError for a name that is no str, or that has what no text in UTF-8 can have: half a pair of surrogates."""
    try:
        if isinstance(value, str) and value.encode() is not None:
            return
    except UnicodeEncodeError:
        pass
    raise ChannelUsageError(
        f"{option} = {value!a}: must be a str of whole characters, and half a pair of surrogates is none",
        option=option,
        value=value,
    )


def is_integer(value: object) -> bool:
    """Of Python or numpy, and no bool."""
    return isinstance(value, SupportsIndex) and not isinstance(value, bool)


def options_of(options: ChannelOptions | Mapping[str, Any] | None) -> ChannelOptions:
    """The options, from any form. Raises: ChannelUsageError for a key that is none, naming the nearest."""
    if options is None:
        return ChannelOptions()
    if isinstance(options, ChannelOptions):
        return options
    if not isinstance(options, Mapping):
        raise ChannelUsageError(
            f"options = {options!r}: give a mapping or ChannelOptions; records of a type are {{'dtype': "
            f"{getattr(options, '__name__', '...')}}}",
            option="options",
            value=options,
        )
    known = [field.name for field in fields(ChannelOptions)]
    for key in options:
        if key not in known:
            near = get_close_matches(key, known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
            raise ChannelUsageError(f"{key} is no option of a channel; {hint}", option=key, value=options[key])
    return ChannelOptions(**options)
