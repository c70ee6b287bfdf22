"""A channel: its ring, made or opened by name."""

from __future__ import annotations

import grp
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tidebook._core import Ring, ring_directory, ring_path, schemas
from tidebook.errors import (
    ChannelExistsError,
    ChannelFormatError,
    ChannelNotFoundError,
    ChannelUsageError,
    EndpointBusyError,
    JournalError,
)
from tidebook.transport.companions import journal_of, remove_companions
from tidebook.transport.journal import Journal, JournalPlace, RingShape
from tidebook.transport.layout import difference, from_text, to_text
from tidebook.transport.options import PRODUCERS_MAX, ChannelOptions, check_text, is_integer, options_of
from tidebook.transport.record import dtype_of, record_class

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    from numpy.typing import DTypeLike

DEFAULT_NODE = "default"
_HEADER_AND_CRC_BYTES = 24
_SLOTS_MIN, _SLOTS_MAX = 8, 1 << 32
_RUN_SLOT_BYTES = 128
"""Of messages of many producers: 108 of them payload, so that most take one slot."""

_ANEW = "or make it with create_channel; after a reboot that makes a durable channel's ring anew from its journal"


@dataclass(frozen=True)
class Channel:
    """A channel that is there."""

    name: str
    ring: Ring
    record: type[Any] | None = None
    """The dataclass that its record type was declared as, by who opened it here."""
    journal: JournalPlace | None = None
    """Where its journal is, for the process that made it; its producer runs it."""

    @property
    def path(self) -> Path:
        """The ring's file."""
        return Path(self.ring.path)

    @property
    def dtype(self) -> np.dtype[Any] | None:
        """Layout of its records; None for plain messages."""
        schema = self.ring.schema
        return None if schema is None else from_text(schema[2], self.ring.record_size_bytes)

    def last_value(self, key: int) -> np.void | None:
        """The newest record of a key, without joining the channel; None when it had none yet.

        Fields: `sequence` and `record`; a copy. It is of a message that was committed, also when its producer was killed
        right after that.
        Raises: ChannelUsageError on a channel without last values and for a key that is too high; CorruptMessageError.
        """
        dtype = self._last_value_dtype()
        if not is_integer(key) or key < 0:
            raise ChannelUsageError(f"key = {key!r}: keys are integers from 0 on", option="key", value=key)
        found = self.ring.read_last_value(key)
        if found is None:
            return None
        value: np.void = np.frombuffer(found, dtype)[0]
        return value

    def last_values(self) -> np.ndarray[Any, Any]:
        """The newest record of every key, each as in `last_value`; of moments close to each other.

        Shape:  (last_values,); `sequence` is 0 for a key that had none yet.
        """
        dtype = self._last_value_dtype()
        return np.frombuffer(self.ring.read_last_values(), dtype)

    def _last_value_dtype(self) -> np.dtype[Any]:
        if self.ring.last_values is None or self.dtype is None:
            raise ChannelUsageError(
                f"channel {self.name} has no last values; make it with last_value_key and last_values",
                option="last_value_key",
            )
        return np.dtype([("sequence", "<u8"), ("record", self.dtype)])

    def status(self) -> dict[str, Any]:
        """oldest, published, durable, replicated (sequences), producer_alive, consumers (name, state, lag, ...)."""
        return self.ring.status()

    def remove(self) -> None:
        """Deletes the ring; consumers that have it open keep it, and a journal stays where it is.

        Raises: EndpointBusyError while a producer lives; ChannelNotFoundError when it is gone already, also where another
                ring has its name by now: that stays.
        """
        if self.ring.status()["producer_alive"]:
            raise EndpointBusyError(
                f"channel {self.name} has a living producer; close it before the ring is removed", path=str(self.path)
            )
        self.ring.unlink()
        remove_companions(self.path, all_durable=self.ring.durable >= self.ring.published)


def create_channel(
    name: str,
    options: ChannelOptions | Mapping[str, Any] | None = None,
    *,
    node: str = DEFAULT_NODE,
    directory: str | os.PathLike[str] | None = None,
) -> Channel:
    """Makes a channel, or opens the one of this name if it is what was asked for.

    `directory` replaces the node's (`$TIDEBOOK_RINGS/<node>` or `/dev/shm/tidebook-<uid>/<node>`). A channel of a group
    needs one of its own: members write in it, and come to it through directories they may enter. A durable channel goes
    on where its journal stands, also when its ring is gone.
    Raises: ChannelUsageError for options that cannot be, for an existing channel or journal of other ones, with the fields
            that differ, and for a `wal_dir` beside whose ring another journal is known and there; ChannelSpaceError when shared memory has no room; ChannelAccessError when others could write it; of a
            journal also JournalError and its kinds.
    """
    check_text("name", name)
    check_text("node", node)
    options = options_of(options)
    if options.buffer_file is not None:
        if directory is not None:
            raise ChannelUsageError(
                "buffer_file and directory both say where the ring is; give one", option="directory"
            )
        directory = Path(options.buffer_file).parent
    path = ring_path(_folder(node, directory), name)
    schema = _schema(name, options)
    journal = options.journal_directory(name)
    place = None if journal is None else _place(journal, options)
    if journal is not None:
        _refuse_other_journal(name, path, journal)
    try:
        ring = _made(path, schema, options) if place is None else _journaled(name, path, place, schema, options)
        return Channel(name, ring, record_class(options.dtype), place)
    except ChannelExistsError:
        channel = Channel(name, Ring.open(path, group=group_number(options.group)), record_class(options.dtype), place)
    _require(channel, schema, options)
    return channel


def _refuse_other_journal(name: str, ring: Path, journal: Path) -> None:
    """Of a relative path in another directory, a mistyped one or a copy a second journal would come, and a ring that forgets the
    first. A journal that was moved is none where it was.
    """
    known = journal_of(ring)
    if known is None or not ring.exists() or not _holds_a_journal(known):
        return
    if journal.exists() and journal.samefile(known):
        return
    raise ChannelUsageError(
        f"wal_dir: channel {name} has its journal in {known}, and asked for was {journal}; name the directory it has, another "
        f"channel or node, or begin with the other one after `tidebook channel rm {ring}`",
        option="wal_dir",
        expected=str(journal),
        found=str(known),
        path=str(ring),
    )


def _holds_a_journal(directory: Path) -> bool:
    """Whether there is one. Raises: JournalError for a directory that cannot be listed: what is there is not known."""
    try:
        return any(path.suffix == ".segment" for path in directory.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise JournalError(
            f"{directory}, where the ring's journal is, cannot be listed ({error.strerror}): give this user its permissions back",
            path=str(directory),
        ) from error


def _place(directory: Path, options: ChannelOptions) -> JournalPlace:
    return JournalPlace(
        directory,
        options.journal_sync_interval_ms,
        options.snapshot_interval_ms,
        options.staging_size_bytes,
        options.segment_size_bytes,
        options.keep_plan(),
    )


def _require(channel: Channel, schema: tuple[str, int, str, int] | None, options: ChannelOptions) -> None:
    """Refuses a channel that was made with other options, naming each that differs."""
    ring = channel.ring
    first = {
        "mode": (options.mode, ring.mode),
        "durability": (options.durability, "wal" if ring.visible_durable else "memory"),
    }
    _refuse_others(channel, first)
    _compare(channel, (schema[2], schema[3]) if schema else ("", 0))
    unit = "bytes" if schema is None and options.mode == "spsc" else "slots"
    rest = {
        "buffer_size": (f"{_capacity(schema, options)} {unit}", f"{ring.capacity} {unit}"),
        "crc": (options.crc, ring.crc),
        "parking": (options.parking, ring.parking),
        "consumers_max": (options.consumers_max, ring.consumers_max),
        "producers_max": (_producers_max(options) or 1, ring.producers_max),
        "last_values": (_told(_last_values(schema, options)), _told(ring.last_values)),
    }
    _refuse_others(channel, rest)


def _refuse_others(channel: Channel, pairs: Mapping[str, tuple[object, object]]) -> None:
    differ = {option: pair for option, pair in pairs.items() if pair[0] != pair[1]}
    if not differ:
        return
    # What is said of last values has its words already.
    found = ", ".join(
        f"{there}" if option == "last_values" else f"{option} {there}" for option, (_, there) in differ.items()
    )
    asked = ", ".join(f"{expected}" for expected, _ in differ.values())
    option, (expected, there) = next(iter(differ.items()))
    raise ChannelUsageError(
        f"channel {channel.name} is there with {found}, asked for was {asked}; use that or another name",
        option=option,
        expected=expected,
        found=there,
        differ=list(differ),
        path=str(channel.path),
    )


def open_channel(
    name: str,
    *,
    dtype: DTypeLike | type[Any] | None = None,
    node: str = DEFAULT_NODE,
    directory: str | os.PathLike[str] | None = None,
    group: str | int | None = None,
    allow_others: bool = False,
) -> Channel:
    """The channel of this name, of this user alone; with `dtype` only if that is the layout of its records.

    `group` takes one of that group, whichever member made it; `allow_others` takes any, whoever could write it.
    Raises: ChannelNotFoundError naming what is there instead, ChannelFormatError, ChannelAccessError; ChannelUsageError
            naming each field that differs.
    """
    check_text("name", name)
    check_text("node", node)
    folder = _folder(node, directory)
    try:
        ring = Ring.open(ring_path(folder, name), group=group_number(group), allow_others=allow_others)
        channel = Channel(name, ring)
    except ChannelNotFoundError as error:
        raise ChannelNotFoundError(f"no channel {name} in {folder}: {_instead(name, folder)}", **error.facts) from None
    return declared(channel, dtype)


def declared(channel: Channel, dtype: DTypeLike | type[Any] | None) -> Channel:
    """The channel with its record type declared. Raises: ChannelUsageError naming each field that differs."""
    if dtype is None:
        return channel
    expected = dtype_of(dtype)
    _compare(channel, (to_text(expected), expected.itemsize))
    return replace(channel, record=record_class(dtype))


def _compare(channel: Channel, expected: tuple[str, int]) -> None:
    """Refuses a channel whose records have another text or size."""
    schema = channel.ring.schema
    found = (schema[2], channel.ring.record_size_bytes) if schema else ("", 0)
    if expected == found:
        return
    differs = difference(expected[0], found[0])
    if not differs:
        differs = f"{expected[1]} bytes a record expected, {found[1]} in the ring"
    raise ChannelUsageError(
        f"channel {channel.name} is there with another layout ({differs}); use its layout or another name",
        option="dtype",
        expected=expected[0],
        found=found[0],
        path=str(channel.path),
    )


def make_private(directory: Path) -> None:
    """Makes a directory for rings, and those above it that are not there, for this user alone, whatever the umask."""
    for missing in reversed([path for path in (directory, *directory.parents) if not path.exists()]):
        missing.mkdir(mode=0o700, exist_ok=True)


def group_number(group: str | int | None) -> int | None:
    """The number of a group. Raises: ChannelUsageError for one that this machine does not know."""
    if group is None or isinstance(group, int):
        return group
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError:
        raise ChannelUsageError(
            f"group = {group!r}: there is no such group on this machine", option="group", value=group
        ) from None


def _instead(name: str, folder: Path) -> str:
    """What somebody who asked for a channel that is not there may have meant."""
    names = sorted(path.name.removesuffix(".ring") for path in folder.glob("*.ring"))
    if names:
        near = get_close_matches(name, names, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        return f"{hint}there are {', '.join(names)}"
    nodes = sorted(path.parent.name for path in folder.parent.glob("*/*.ring"))
    if nodes:
        known = ", ".join(dict.fromkeys(nodes))
        return f"no node {folder.name!r} has run; name one with node=...: {known}; {_ANEW}"
    return f"no node has run on this machine as this user; start one with `tidebook run`, {_ANEW}"


def _folder(node: str, directory: str | os.PathLike[str] | None) -> Path:
    return Path(ring_directory(node) if directory is None else directory)


def _schema(name: str, options: ChannelOptions) -> tuple[str, int, str, int] | None:
    """Name, version, text and size of the records asked for; None for plain messages."""
    if options.schema is not None:
        published = schemas()
        if options.schema not in published:
            raise ChannelUsageError(
                f"schema = {options.schema!r} is not published; known: {', '.join(published)}",
                option="schema",
                value=options.schema,
            )
        layout = published[options.schema]
        return layout.name, layout.version, to_text(layout.dtype()), layout.size_bytes
    if options.dtype is None:
        return None
    dtype = dtype_of(options.dtype)
    return name[:48], 1, to_text(dtype), dtype.itemsize


def _made(path: Path, schema: tuple[str, int, str, int] | None, options: ChannelOptions) -> Ring:
    crc, parking, consumers = options.crc, options.parking, options.consumers_max
    producers, capacity = _producers_max(options), _capacity(schema, options)
    group = group_number(options.group)
    if schema is None and producers is not None:
        return Ring.create_runs(
            path,
            _RUN_SLOT_BYTES,
            capacity,
            producers,
            crc=crc,
            parking=parking,
            consumers_max=consumers,
            group=group,
        )
    if schema is None:
        return Ring.create_frames(path, capacity, crc=crc, parking=parking, consumers_max=consumers, group=group)
    label, version, text, size_bytes = schema
    return Ring.create_slots(
        path,
        size_bytes,
        capacity,
        schema=(label, version, text),
        crc=crc,
        parking=parking,
        consumers_max=consumers,
        producers_max=producers,
        group=group,
        last_values=_last_values(schema, options),
    )


def _producers_max(options: ChannelOptions) -> int | None:
    """How many may write; None of mode spsc."""
    return (options.producers_max or PRODUCERS_MAX) if options.mode == "mpsc" else None


def _capacity(schema: tuple[str, int, str, int] | None, options: ChannelOptions) -> int:
    """Slots, or bytes of messages of one producer."""
    if schema is not None:
        return _slots(schema[3] + _HEADER_AND_CRC_BYTES, options)
    return _slots(_RUN_SLOT_BYTES, options) if options.mode == "mpsc" else _power_of_two(options.buffer_size)


def _last_values(schema: tuple[str, int, str, int] | None, options: ChannelOptions) -> tuple[int, int, int] | None:
    """Keys, and where the key stands in a record with how many bytes. Raises: ChannelUsageError for what is no key."""
    key = options.last_value_key
    if schema is None or options.last_values is None or key is None:
        return None
    fields = dict(from_text(schema[2], schema[3]).fields or {})
    if key not in fields:
        raise ChannelUsageError(
            f"last_value_key = {key!r}: the records have {', '.join(fields)}", option="last_value_key", value=key
        )
    field, offset = fields[key][:2]
    if field.kind not in "iu":
        raise ChannelUsageError(
            f"last_value_key = {key!r}: a key is an integer, this is {field}", option="last_value_key", value=key
        )
    return options.last_values, offset, field.itemsize


def _told(table: tuple[int, int, int] | None) -> str:
    return "no last values" if table is None else f"last values of {table[0]} keys at byte {table[1]}"


def _journaled(
    name: str, path: Path, place: JournalPlace, schema: tuple[str, int, str, int] | None, options: ChannelOptions
) -> Ring:
    """The ring of a journal, made where that stands. Raises: ChannelExistsError when a ring of this boot is there."""
    try:
        Ring.open(path)
    except (ChannelNotFoundError, ChannelFormatError):
        pass  # what is no usable ring is the journal's to judge and replace
    else:
        raise ChannelExistsError(f"ring {path} exists already", path=str(path))
    size_bytes = schema[3] if schema else 0
    shape = RingShape(
        record_size_bytes=size_bytes,
        capacity=_capacity(schema, options),
        schema=schema[:3] if schema else None,
        crc=options.crc,
        parking=options.parking,
        consumers_max=options.consumers_max,
    )
    Journal(name, path, place, shape).close()
    return Ring.open(path)


def _slots(slot_size_bytes: int, options: ChannelOptions) -> int:
    return min(_power_of_two(max(_SLOTS_MIN, options.buffer_size // slot_size_bytes)), _SLOTS_MAX)


def _power_of_two(most: int) -> int:
    """The largest one up to this."""
    return 1 << (int(most).bit_length() - 1)
