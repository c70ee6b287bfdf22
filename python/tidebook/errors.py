"""Every error Tidebook raises, one tree.

TidebookError
├── UsageError              the caller asked for something that cannot be
│   ├── DecimalError        a text that is no exact decimal number
│   ├── UnknownVenueError   a venue that no decoder is for
│   ├── UnknownInstrumentError  an instrument that has not been seen
│   ├── CommandError        a command of the venue that cannot be written, or an array that holds none
│   ├── UnknownAccountError  an account of the venue that nobody has opened
│   ├── ChannelUsageError   something a channel's ring cannot be or do
│   ├── ConfigError         a setting that is unknown, unreadable or out of range
│   └── QueryError          a record type, symbol, column or time that a store cannot answer for
└── OperationError          something outside went wrong: a disk, a venue, a peer
    ├── DirectoryError      a data directory that is none, or half restored
    │   ├── DirectoryBusyError    another process owns it
    │   └── DirectoryVersionError  of a layout this release does not know
    ├── BackupError         a backup that is none, damaged, or cannot be made
    ├── AddressError        a network address that cannot be listened on
    ├── VenueError          a venue that cannot be reached, or refuses what it was asked
    ├── SubscriptionsError  the file of a connector's subscriptions is damaged
    ├── VenueNamesError     the file of the venue's names is damaged
    ├── OrderEntryError     a venue that takes no commands now
    │   └── UnconfirmedError      a command was handed over and not answered in time
    ├── RawMessageError     a payload that is no raw message
    ├── CaptureError        a recording that cannot be read, or messages its format cannot hold
    ├── ChannelError        a channel or engine that cannot be opened or go on
    │   ├── ChannelNotFoundError  no ring of this name
    │   ├── ChannelExistsError    a ring of this name is there already
    │   ├── ChannelFormatError    no usable ring of this release
    │   ├── ChannelAccessError    a ring or directory that others can write, or have made
    │   ├── ChannelSpaceError     no room for a ring
    │   ├── ChannelFullError      no room for a message that had to be claimed
    │   ├── EndpointBusyError     a living producer or consumer is in the way
    │   ├── EndpointLostError     an endpoint that works no more: closed, fenced off, or of a forked parent
    │   └── CorruptMessageError   a committed message that is not what was written
    ├── CheckpointError     a checkpoint that cannot be stored, found or gone on from
    │   ├── CheckpointFullError     no space; what was stored before stays
    │   ├── CheckpointDamagedError  it is not what was stored
    │   ├── CheckpointVersionError  of another format version
    │   └── CheckpointEpochError    of a life of its channel that is over
    ├── CaptureLogError     the list of a journal's recordings is damaged, or one of them is unfinished
    ├── JournalError        reading or writing a journal failed
    │   ├── JournalFullError     no space; what was acknowledged stays
    │   ├── JournalLockedError   another process writes it
    │   ├── JournalAbsentError   no journal in the directory
    │   ├── JournalCompactedError messages that were asked for are no longer in it
    │   ├── JournalVersionError  of another format version
    │   └── JournalDamagedError  durable bytes are not what was written
    ├── SnapshotError       taking, reading or using a snapshot failed
    │   ├── SnapshotFullError      no space; the snapshots before are kept
    │   ├── SnapshotDamagedError   not what was written
    │   └── SnapshotMismatchError  whole, and its journal lacks what it proves or has another history
    ├── StateError          a state cannot take a message or its saved bytes, or has no hash
    ├── AuditError          reading or writing the audit trail failed
    │   ├── AuditDatabaseAwayError  its database cannot be reached now
    │   ├── AuditMismatchError      rows that were not derived from this journal of orders
    │   └── AuditVersionError       a database of a later release
    └── StorageError        reading or writing a store failed
        ├── StorageFullError      the disk or a quota is full
        ├── StorageAccessError    read-only, or not ours to write or read
        ├── StorageCorruptError   a part or manifest is not what was committed
        ├── StorageVersionError   a manifest of another format version
        └── StorageConflictError  another writer stores the same feed

A message says what, where, which value and what to do, in one line; nobody branches on its text. What a program
may want to know is in `facts` (`error.facts["sequence"]`). Expected outcomes (nothing new, ring full, order
rejected) are values and never raise. Core errors become these classes at one place, `crates/py/src/errors.rs`.
"""

from collections.abc import Mapping
from types import MappingProxyType


class TidebookError(Exception):
    """Base of every error Tidebook raises; `facts` holds what the message says, for programs."""

    facts: Mapping[str, object]

    def __init__(self, message: str, **facts: object) -> None:
        super().__init__(message)
        self.facts = MappingProxyType(facts)


class UsageError(TidebookError):
    """The caller asked for something that cannot be; the same call will fail again."""


class DecimalError(UsageError):
    """A text that is no exact decimal number at the exponent asked for. Facts: found, exponent."""


class UnknownVenueError(UsageError):
    """A venue that no decoder is for."""


class UnknownInstrumentError(UsageError):
    """An instrument that has not been seen here. Facts: instrument, near (the closest names)."""


class CommandError(UsageError):
    """A command of the venue that cannot be written, or an array that holds none. Facts: field, value, expected."""


class UnknownAccountError(UsageError):
    """An account of the venue that nobody has opened. Facts: account, near (the closest names)."""


class ChannelUsageError(UsageError):
    """Something a channel's ring cannot be or do. Facts: path, option, value, expected, found."""


class ConfigError(UsageError):
    """A setting that is unknown, unreadable or out of range. Facts: key, value, source."""


class QueryError(UsageError):
    """A record type, symbol, column or time that a store cannot answer for. Facts: kind, value, nearest."""


class OperationError(TidebookError):
    """Something outside went wrong (disk, venue, peer); the same call may succeed later."""


class DirectoryError(OperationError):
    """A data directory that is none of ours, or whose restoring did not end. Facts: path."""


class DirectoryBusyError(DirectoryError):
    """Another process owns the data directory. Facts: path, process_id (0 where unknown), command."""


class DirectoryVersionError(DirectoryError):
    """A data directory of a layout this release does not know. Facts: path, found, expected."""


class BackupError(OperationError):
    """A backup that is none, is damaged, or cannot be made. Facts: path (of the file, where it is one)."""


class AddressError(OperationError):
    """A network address that cannot be listened on: in use, privileged or not ours. Facts: host, port."""


class VenueError(OperationError):
    """A venue that cannot be reached, or refuses what it was asked. Facts: url, retry_after_s."""


class SubscriptionsError(OperationError):
    """The file of a connector's subscriptions is damaged or of a later version. Facts: path."""


class VenueNamesError(OperationError):
    """The file of the venue's names is damaged or of a later version. Facts: path."""


class OrderEntryError(OperationError):
    """A venue that takes no commands now: not started, stopped, or with too many that wait. Nothing was handed over."""


class UnconfirmedError(OrderEntryError):
    """A command was handed over and not answered in time: it may still be carried out. Facts: source_sequence."""


class RawMessageError(OperationError):
    """A payload that is no raw message: cut, or written by a newer version."""


class CaptureLogError(OperationError):
    """The list of a journal's recordings is damaged, or a recording has to be finished before another begins."""


class CaptureError(OperationError):
    """A recording that cannot be read, or messages that a capture format cannot hold."""


class ChannelError(OperationError):
    """A channel or an engine that cannot be opened or go on."""


class ChannelNotFoundError(ChannelError):
    """No ring of this name. Facts: path."""


class ChannelExistsError(ChannelError):
    """A ring of this name is there already. Facts: path."""


class ChannelFormatError(ChannelError):
    """A file that is no usable ring of this release. Facts: path, found, expected."""


class ChannelAccessError(ChannelError):
    """A ring or a directory that somebody else has made or could write, and that was not allowed. Facts: path."""


class ChannelSpaceError(ChannelError):
    """No room for a ring; nothing was made. Facts: path, needed_bytes."""


class ChannelFullError(ChannelError):
    """No room for a message, in a `with` over a claim; elsewhere that is the value `Full`. Facts: consumer, producer."""


class EndpointBusyError(ChannelError):
    """A living producer or consumer is in the way. Facts: path, name, process_id."""


class EndpointLostError(ChannelError):
    """An endpoint that works no more: closed, fenced off, or of a forked parent."""


class CorruptMessageError(ChannelError):
    """A committed message that is not what was written. Facts: sequence."""


class CheckpointError(OperationError):
    """A checkpoint that cannot be stored, found or gone on from. Facts: path, sequence, durable."""


class CheckpointFullError(CheckpointError):
    """No space for a checkpoint; what was stored before stays, and the call may be tried again. Facts: path."""


class CheckpointDamagedError(CheckpointError):
    """A store, or one checkpoint of it, that is not what was stored. Facts: path, page or checkpoint_id."""


class CheckpointVersionError(CheckpointError):
    """Checkpoints of a format version this release does not read. Facts: path, found, expected."""


class CheckpointEpochError(CheckpointError):
    """A checkpoint of a life of its channel that is over: the ring was lost without a journal. Facts: found, expected."""


class JournalError(OperationError):
    """Reading or writing a journal failed. Facts: errno where the system gave one."""


class JournalFullError(JournalError):
    """No space for the journal; what was acknowledged stays, and the call may be tried again. Facts: errno."""


class JournalLockedError(JournalError):
    """Another process writes the journal."""


class JournalAbsentError(JournalError):
    """No journal in the directory."""


class JournalCompactedError(JournalError):
    """Messages that were asked for were removed by compaction. Facts: requested, first (sequence held)."""


class JournalVersionError(JournalError):
    """A journal of a format version this release does not read. Facts: found, expected."""


class JournalDamagedError(JournalError):
    """Bytes that were durable are not what was written. Facts: segment, offset, sequence."""


class SnapshotError(OperationError):
    """Taking, reading or using a snapshot failed. Facts: errno where the system gave one."""


class SnapshotFullError(SnapshotError):
    """No space for the snapshot; those before it are kept. Facts: errno."""


class SnapshotDamagedError(SnapshotError):
    """A snapshot that is not what was written. Facts: path."""


class SnapshotMismatchError(SnapshotError):
    """A whole snapshot proves that its journal lacks durable messages, or is another. Facts: path, sequence, last_sequence."""


class StateError(OperationError):
    """A state cannot take a message, or the bytes that were saved of it, or has no hash; what it raised itself is the cause."""


class AuditError(OperationError):
    """Reading or writing the audit trail failed. Facts: database (its address, without a password)."""


class AuditDatabaseAwayError(AuditError):
    """The database cannot be reached, or takes nothing now; the same call may succeed later. Facts: database."""


class AuditMismatchError(AuditError):
    """The rows were not derived from this journal of orders, or by other rules. Facts: database, sequence, expected, found."""


class AuditVersionError(AuditError):
    """A database that a later release has changed. Facts: database, found, expected."""


class StorageError(OperationError):
    """Reading or writing a store failed. Facts: path, errno."""


class StorageFullError(StorageError):
    """The disk or a quota is full; what was committed stays. Facts: path, errno."""


class StorageAccessError(StorageError):
    """The store is read-only, or not this user's to read or write. Facts: path, errno."""


class StorageCorruptError(StorageError):
    """A part or manifest is not what was committed. Facts: path."""


class StorageVersionError(StorageError):
    """A manifest of a format version this release does not read. Facts: path, expected, found."""


class StorageConflictError(StorageError):
    """Another writer has stored the same feed further. Facts: channel, expected, found."""
