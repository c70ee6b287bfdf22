"""Typed face of `crates/py`, the compiled core. Private: import what is public from `tidebook`."""

import os
import pathlib
from collections.abc import Callable, Sequence
from typing import Any, Literal, NoReturn, Self, final

import numpy
from typing_extensions import disjoint_base

__all__ = [
    "BatchFinder",
    "CheckpointStore",
    "CommandOutcome",
    "Damage",
    "DepthBook",
    "DurableChannel",
    "FeedChannel",
    "FeedDecoder",
    "Follower",
    "Full",
    "Gap",
    "JournalReader",
    "JournalWriter",
    "MarketDataEngine",
    "Payloads",
    "Portfolio",
    "RecordBuffer",
    "Recording",
    "RecordingWriter",
    "Ring",
    "RingAlarm",
    "RingBatch",
    "RingClaim",
    "RingConsumer",
    "RingProducer",
    "RingVerifier",
    "RingView",
    "RingWalker",
    "Schema",
    "Seen",
    "SnapshotStore",
    "Venue",
    "VenueEngine",
    "VenueState",
    "adopt_journal",
    "blake3_of_bytes",
    "blake3_of_file",
    "client_order_id_bytes",
    "client_order_id_text",
    "command_layouts",
    "compact_journal",
    "cut_journal",
    "damaged_journal_id",
    "error_classes",
    "examine_journal",
    "format_units",
    "inspect_journal",
    "instrument_name",
    "journal_configurations",
    "journal_durable_end",
    "journal_first_to_keep",
    "journal_keep_rule",
    "journal_layouts",
    "journal_stats",
    "mark_journal_put_back",
    "measure_drain",
    "measure_echo",
    "measure_hand_over",
    "measure_stream",
    "pack_message",
    "parse_units",
    "pin_thread",
    "profile",
    "recover_state",
    "restore_journal",
    "ring_directory",
    "ring_path",
    "schemas",
    "snapshot_is_of_history",
    "unpack_message",
    "usable_feed_snapshots",
    "usable_market_data_snapshots",
    "usable_venue_snapshots",
    "venue_codes",
    "venue_sizes",
    "venues",
    "verify_journal",
    "version",
]

@final
class BatchFinder:
    """Finds the batches of messages in a journal, by the heads of batches alone; fastest in the order of the messages.

    Calls release the GIL and wait for each other.
    """

    def __new__(cls, directory: str | os.PathLike[str]) -> BatchFinder:
        """Nothing is opened yet."""
    def find(self, sequence: int) -> tuple[int, int, int | None] | None:
        """Number and chain value of the batch that holds a message, known durable or not, and when its segment was begun.

        Another journal has the same two only where its history is the same up to there. None where there is no such message.
        Raises: JournalAbsentError, JournalCompactedError for a message that is gone, and the other kinds of JournalError.
        """

@final
class CheckpointStore:
    """States and cursors in an LMDB environment; the same one for all of this process that open its directory.

    `kind` is `state` or `consumer`. A checkpoint is a dict: checkpoint_id, kind, channel, name, epoch, sequence, batch (number
    and chain value, None where nothing shows it), created_ns (since 1970 UTC), state_size_bytes, and where it is read whole
    `state`. All calls release the GIL.
    Raises: CheckpointError and its kinds.
    """

    def __new__(cls, directory: str | os.PathLike[str]) -> CheckpointStore:
        """Opens the store, making the directory where it is not there, but not those above it, after a look at all its pages."""
    @staticmethod
    def named(directory: str | os.PathLike[str]) -> CheckpointStore:
        """As opening it, in a directory that somebody named: those above it are made too, durably."""
    @staticmethod
    def existing(directory: str | os.PathLike[str]) -> CheckpointStore | None:
        """The store of a directory, and none is made: None where nothing has its name.

        Raises: CheckpointError for a directory without what belongs there, as its disk is not mounted: what is stored in it is not
                known then; and as opening it.
        """
    @property
    def path(self) -> pathlib.Path: ...
    def put(
        self,
        kind: str,
        channel: str,
        name: str,
        *,
        epoch: int,
        sequence: int,
        batch: tuple[int, int] | None = None,
        state: bytes | None = None,
        durable: int | None = None,
    ) -> int:
        """Stores a state with its cursor, durably, and gives the checkpoint's number; the newest three are kept.

        `batch` is number and chain value of the batch of the channel's journal that holds `sequence`.
        Raises: CheckpointError (facts: sequence, durable) when `sequence` is beyond `durable`; CheckpointFullError.
        """
    def newest(self, kind: str, channel: str, name: str) -> dict[str, Any] | None:
        """The newest checkpoint of a state or consumer. Raises: CheckpointDamagedError."""
    def get(self, checkpoint_id: int) -> dict[str, Any] | None:
        """The checkpoint of a number, if it is still kept. Raises: CheckpointDamagedError."""
    def survey(self) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """All checkpoints without their states, and those that are not what was written: checkpoint_id, kind, channel, name (None where unknown), reason."""
    def list(self) -> list[dict[str, Any]]:
        """All checkpoints without their states. Raises: CheckpointDamagedError."""
    def channels(self) -> Sequence[str]:
        """Channels that checkpoints are of, by name, of damaged ones too."""
    def remove(self, kind: str, channel: str, name: str) -> int:
        """Forgets all checkpoints of a state or consumer; how many there were."""
    def remove_numbers(self, checkpoint_ids: Sequence[int]) -> int:
        """Forgets checkpoints by their numbers, in one commit; how many of them there were."""
    def copy_to(self, directory: str | os.PathLike[str]) -> None:
        """Copies all of one moment, durably, into a directory that is made for it."""

@final
class CommandOutcome:
    """What became of one command; true if it was accepted, by risk and by the venue."""

    @property
    def sequence(self) -> int:
        """Of the command on `orders`."""
    @property
    def order_id(self) -> int:
        """The order it placed or names; 0 where none was placed."""
    @property
    def reason(self) -> int:
        """Why it was refused: a `Reason`; 0 where it was not."""
    @property
    def accepted(self) -> bool: ...
    @property
    def filled(self) -> int:
        """What of the order this command filled, in size units."""
    @property
    def remaining(self) -> int:
        """What is left of the order, in size units; of a market order by amount, of the amount."""
    @property
    def executions(self) -> numpy.ndarray[Any, numpy.dtype[numpy.void]]:
        """All that happened, of `EXECUTION`, expiries that came before the command too."""
    def __bool__(self) -> bool: ...

@final
class DepthBook:
    """A depth book (L2) of one instrument, made from depth records."""

    def __new__(cls) -> DepthBook: ...
    def apply(self, records: numpy.ndarray[Any, Any]) -> None:
        """Applies depth records of one instrument in order: changes, snapshots and clears.

        Shape:  any array of `schemas()["depth"].dtype()`.
        Raises: TypeError for another dtype; ValueError for a record of another instrument, those before it applied.
        """
    def best(self) -> tuple[int, int, int, int]:
        """Bid price, bid size, ask price, ask size.

        Units:  those of the records' exponents. A missing side has size 0 and its price means nothing.
        """
    def levels(self, count: int = 10) -> tuple[numpy.ndarray[Any, Any], numpy.ndarray[Any, Any]]:
        """Prices and sizes of the best levels of both sides.

        Shape:  int64 (2, count) each; row 0 bids falling, row 1 asks rising.
        Units:  those of the records' exponents. A missing level has size 0 and its price means nothing.
        Memory: a copy; later records do not change it.
        """
    def counts(self) -> tuple[int, int]:
        """Number of bid levels and of ask levels."""
    def state_hash(self) -> int:
        """A number that two books share when they hold the same levels, whatever led there."""
    @property
    def venue_sequence(self) -> int:
        """The venue's sequence of the last record applied; 0 before."""

@final
class DurableChannel:
    """The owner of a channel with a journal: journals what producers publish on its ring, moves the durable watermark.

    Producers and consumers, in this process or others, open the ring by its path. `sync_interval_ms` None is group
    commit. Calls release the GIL.
    Raises: ChannelError, JournalError and its kinds, from every method.
    """

    @staticmethod
    def slots(
        channel: str,
        ring_path: str | os.PathLike[str],
        journal_dir: str | os.PathLike[str],
        record_size_bytes: int,
        count: int,
        *,
        schema: tuple[str, int, str] | None = None,
        crc: bool = True,
        parking: bool = False,
        consumers_max: int = 16,
        sync_interval_ms: int | None = None,
        segment_size_bytes: int = 67108864,
        staging_size_bytes: int = 67108864,
        evidence: int = 0,
        configuration: str = "",
    ) -> DurableChannel:
        """Over a ring of `count` records; ring and journal are opened or made and brought to one sequence first.

        `evidence` is the highest sequence known to have been durable: a journal that ends before it is damaged.
        `configuration` is JSON that the journal keeps, with what the channel is run with.
        """
    @staticmethod
    def frames(
        channel: str,
        ring_path: str | os.PathLike[str],
        journal_dir: str | os.PathLike[str],
        size_bytes: int,
        *,
        crc: bool = True,
        parking: bool = False,
        consumers_max: int = 16,
        sync_interval_ms: int | None = None,
        segment_size_bytes: int = 67108864,
        staging_size_bytes: int = 67108864,
        evidence: int = 0,
        configuration: str = "",
    ) -> DurableChannel:
        """Over a ring of messages of any length; a segment must hold half the ring."""
    @property
    def recovery(self) -> dict[str, Any]:
        """What opening found: text (one line), next_sequence, replayed_from_ring (messages a killed owner had not journaled),
        ring_discarded (why the ring was made anew, or None), ring_lost (committed messages that went with it; None if
        unknown or none was), undecidable_from, epoch_behind_copy (the new epoch of a journal that was put back from a copy, or None).
        """
    def guarantee(self) -> dict[str, Any]:
        """What is promised right now: text (one line), published, durable (sequences), journal (directory), failure
        (text or None).
        """
    def wait_durable(self, sequence: int, timeout_s: float) -> bool:
        """Waits until `sequence` is durable; False when the time passed or journaling stopped before.

        Raises: ValueError for a time that is none.
        """
    def close(self) -> None:
        """Journals all that is published, syncs and ends; a second call does nothing."""

@final
class FeedChannel:
    """The raw capture `feed.<venue>` of a venue: ring and journal as one sequence, owned and written by this process.

    Raises: ChannelError, JournalError and its kinds, from every method. Calls release the GIL.
    """

    def __new__(
        cls,
        name: str,
        rings_dir: str | os.PathLike[str],
        journal_dir: str | os.PathLike[str],
        *,
        ring_size_bytes: int = 67108864,
        sync_interval_ms: int = 10,
        evidence: int = 0,
    ) -> FeedChannel:
        """Opens or makes the channel. What a killed owner had committed to the ring is journaled first.

        `evidence` is the highest sequence known to have been durable, such as a store's position: a journal that ends
        before it is damaged.
        """
    @property
    def recovery(self) -> dict[str, Any]:
        """What opening found: as of `DurableChannel`."""
    def write(self, ts_recv_ns: int, connection: int, kind: int, context: bytes, body: bytes) -> int:
        """Publishes a message and gives its sequence; waits for the journal only when the ring is full of what it
        has not taken yet. Kinds as `pack_message`.

        Raises: RawMessageError for another kind; JournalError when the journal has stopped.
        """
    def wait_durable(self, sequence: int, timeout_s: float) -> bool:
        """Waits until `sequence` is durable; False when the time passed or journaling stopped before.

        Raises: ValueError for a time that is none.
        """
    def guarantee(self) -> dict[str, Any]:
        """What is promised right now: as of `DurableChannel`."""
    def close(self) -> None:
        """Journals all that is published, syncs and ends; a second call does nothing."""

@final
class FeedDecoder:
    """The market-data engine of one feed over raw messages: the code that runs live, without thread or channel.

    Raises: UnknownVenueError for a venue no decoder is for.
    """

    def __new__(cls, venue: str) -> FeedDecoder: ...
    @staticmethod
    def begin(
        venue: str,
        journal_dir: str | os.PathLike[str],
        snapshots_dir: str | os.PathLike[str],
        sequence_max: int,
    ) -> tuple[FeedDecoder, list[str]]:
        """The decoder behind the newest snapshot up to `sequence_max` that can be used and belongs to the journal, at the
        first message without one; and why newer ones could not be used.

        Raises: SnapshotError when none can be used and the journal does not begin with the first message; JournalError.
        """
    @property
    def sequence(self) -> int:
        """Sequence of the last message; 0 before the first. `decode` goes on with the next."""
    @property
    def state_hash(self) -> int:
        """Of the whole state, as snapshots keep it; reads all books. Releases the GIL."""
    def definitions(self) -> numpy.ndarray[Any, Any]:
        """`instruments` records from before `sequence`: the one that holds of each instrument, and older ones that are kept.

        Memory: read-only, the array's own.
        """
    def snapshot(
        self,
        snapshots_dir: str | os.PathLike[str],
        batch_end: tuple[int, int, int, int, int],
        created_ns: int,
        keep: int,
    ) -> tuple[pathlib.Path, int, list[int]]:
        """Takes a snapshot of what was decoded up to `batch_end` (see `JournalReader.batch_end`), reads it back and keeps
        the newest `keep`: its file, its bytes, messages of all that are there and verify, rising. Releases the GIL.

        Raises: SnapshotError; what was there before stays.
        """
    def saved_hash(self) -> str:
        """BLAKE3 of the whole state as a snapshot holds it, 64 hexadecimal digits: `state_hash` and what that leaves out
        (definitions, tops, health). Releases the GIL.
        """
    def decode(self, first_sequence: int, messages: Payloads) -> dict[str, numpy.ndarray[Any, Any]]:
        """Records derived from messages, the first of which has this sequence: type -> structured array, definitions
        (`instruments`) first.

        Shape:  (rows,) of the type's published layout, in order of (source_sequence, source_index).
        Memory: read-only, the array's own. Releases the GIL while it decodes.
        Raises: RawMessageError for a payload no version of ours wrote. Malformed market data never raises.
        """
    def report(self) -> dict[str, Any]:
        """venue, messages, instruments, books (how many there are), checks_passed, checks_failed, gaps, oracles (name, passed, failed), counters, quarantined
        (the first frames set aside: sequence, offset, expected), state_hash.
        """

@final
class Full:
    """No room in time: a value that is false, not an error."""

    def __bool__(self) -> Literal[False]: ...
    @property
    def written(self) -> int:
        """Messages of the call that were written before."""
    @property
    def consumer(self) -> str:
        """Name of the slowest consumer that is waited for; empty where a producer is in the way."""
    @property
    def producer(self) -> int | None:
        """Process id of another producer that has claimed a message and does not commit it, where that is in the way."""
    def __enter__(self) -> NoReturn:
        """For `with` over a claim that found no room. Raises: ChannelFullError, always."""
    def __exit__(self, *error: object) -> None: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __ne__(self, other: object, /) -> bool: ...

@final
class Gap:
    """Messages a consumer will never see."""

    def __new__(cls, first: int, count: int) -> Gap: ...
    @property
    def first(self) -> int:
        """Sequence of the first."""
    @property
    def count(self) -> int:
        """How many."""
    def __eq__(self, other: object, /) -> bool: ...
    def __ne__(self, other: object, /) -> bool: ...

@final
class JournalReader:
    """Reads the messages of a journal in order, verifying each; may follow a live writer in any process.

    Raises: JournalError and its kinds, from every method.
    """

    def __new__(
        cls,
        directory: str | os.PathLike[str],
        *,
        from_sequence: int = 0,
        channel: str | None = None,
        durable_only: bool = True,
    ) -> JournalReader:
        """Opens at `from_sequence`, 0 for the first held; a `channel` given must be the journal's.

        `durable_only=False` also gives what a crash may still take; nothing lasting may come of it.
        """
    @property
    def channel(self) -> str:
        """Channel whose messages these are."""
    @property
    def journal_id(self) -> int:
        """Tells the journal from another of the same channel."""
    @property
    def next_sequence(self) -> int:
        """Sequence of the next message; further on than the last one given where the journal was cut between."""
    @property
    def durable(self) -> int:
        """Highest sequence this reader has seen to be durable; as new as its last read."""
    @property
    def batch_end(self) -> tuple[int, int, int, int, int] | None:
        """Where the last batch that was given ends: journal id, epoch, sequence, batch number, chain; None before one."""
    def next(self, messages_max: int = 8192) -> tuple[int, Payloads] | None:
        """First sequence and messages of the next whole batches, `messages_max` or somewhat more; None for now.

        They follow each other; where a cut of the journal lies between, the next call gives what is behind it. Asking again follows the tail. Releases the GIL.
        """

@final
class JournalWriter:
    """Appends messages to a journal; one writer a directory, in any process.

    Raises: JournalError and its kinds, from every method. Calls release the GIL and wait for each other.
    """

    def __new__(
        cls,
        directory: str | os.PathLike[str],
        channel: str,
        *,
        segment_size_bytes: int = 67108864,
        evidence: int = 0,
        configuration: str = "",
    ) -> JournalWriter:
        """Opens or makes the journal, recovering it first.

        `configuration` is JSON that says what the channel is run with; every segment begins with it.

        `evidence` is the highest sequence known from elsewhere to have been durable: a journal that ends before it is
        damaged, not torn.
        """
    @property
    def recovery(self) -> dict[str, Any]:
        """What opening found: created, first_sequence, last_sequence, proven_durable, closed, undecidable_from
        (None, or the first sequence of which this journal alone cannot tell whether it was synced), torn_bytes.
        """
    @property
    def next_sequence(self) -> int:
        """Sequence the next message will have."""
    @property
    def durable(self) -> int:
        """Highest synced sequence."""
    def configure(self, configuration: str) -> None:
        """The channel is run otherwise from the next message on; what was appended is synced first."""
    def append(self, payload: bytes) -> int:
        """Sequence of the message; in memory until `flush` and `sync`."""
    def append_all(self, payloads: Payloads) -> int:
        """Sequence of the last of many messages."""
    def flush(self) -> None:
        """Hands appended messages to the operating system."""
    def sync(self) -> int:
        """Makes all appended messages durable and gives the highest durable sequence."""
    def close(self) -> None:
        """Syncs, seals and ends; a second call does nothing."""

@final
class SnapshotStore:
    """Snapshots of one kind of state in one directory; `tidebook.persistence.SnapshotStore` is the face of it."""

    def __new__(cls, directory: str | os.PathLike[str], kind: str) -> SnapshotStore:
        """Raises: SnapshotError for a kind that is no name."""
    @property
    def kind(self) -> str:
        """Kind of the states."""
    @property
    def directory(self) -> pathlib.Path:
        """Where they are."""
    def sequences(self) -> list[int]:
        """Sequences of the snapshots there are, rising."""
    def verify(self, sequence: int) -> dict[str, Any]:
        """Reads every byte; what the snapshot is. Raises: SnapshotError and its kinds."""
    def read(self, sequence: int) -> tuple[dict[str, Any], bytes]:
        """What the snapshot is, and its content. Raises: as `verify`."""
    def write(self, state: Any, place: dict[str, Any], created_ns: int) -> dict[str, Any]:
        """Writes a snapshot of a state, reads it back and verifies it. Raises: SnapshotError and its kinds, StateError."""
    def rotate(self, keep: int) -> dict[str, list[int]]:
        """Removes the oldest beyond the newest that verify: kept, removed, damaged. Raises: SnapshotError."""
    def spare(self, sequences: Sequence[int]) -> None:
        """Has every rotation of this store leave the newest two up to each of these too, because somebody will begin behind one."""
    def proven_durable(self, journal: str | os.PathLike[str]) -> int:
        """Highest sequence of the journal that a snapshot proves durable; 0 for none. Raises: SnapshotMismatchError."""

def recover_state(
    factory: Callable[[], Any],
    journal: str | os.PathLike[str],
    store: SnapshotStore,
    *,
    snapshot_sequence_max: int | None = None,
    progress: Callable[[int, int], object] | None = None,
) -> tuple[Any, dict[str, Any]]:
    """The state from the newest snapshot that can be used and the messages behind it, and what was found.

    Raises: SnapshotError and its kinds, JournalError and its kinds, StateError; KeyboardInterrupt and what `progress` raised.
    """

@final
class Follower:
    """A thread that replays a journal and takes snapshots of a state of its own; ends with `stop` or the object."""

    def __new__(
        cls,
        factory: Callable[[], Any],
        journal: str | os.PathLike[str],
        store: SnapshotStore,
        *,
        interval_s: float = 300.0,
        keep: int = 12,
        lag_count_max: int = 1_000_000,
        prove_by_loading: bool = True,
        tell: Callable[[str, dict[str, Any]], object] | None = None,
    ) -> Follower:
        """Starts it. Raises: SnapshotError for options that cannot be."""
    @staticmethod
    def of_venue(
        journal: str | os.PathLike[str],
        store: SnapshotStore,
        *,
        interval_s: float = 300.0,
        keep: int = 12,
        lag_count_max: int = 1_000_000,
        prove_by_loading: bool = True,
        tell: Callable[[str, dict[str, Any]], object] | None = None,
    ) -> Follower:
        """Of a venue: `journal` is that of `orders`, `store` one of kind `orders` in `<snapshots>/orders/orders`, where `VenueEngine` looks.

        Its state is the core's own and needs no Python. Raises: SnapshotError for options that cannot be; JournalError.
        """
    @staticmethod
    def of_market_data(
        journal: str | os.PathLike[str],
        names_file: str | os.PathLike[str],
        store: SnapshotStore,
        *,
        interval_s: float = 300.0,
        keep: int = 12,
        lag_count_max: int = 1_000_000,
        prove_by_loading: bool = True,
        tell: Callable[[str, dict[str, Any]], object] | None = None,
    ) -> Follower:
        """Of a venue's market data: `store` is one of kind `market_data` in `<snapshots>/orders/market_data`, where `MarketDataEngine` looks.

        `names_file` is the one that `MarketDataEngine` is given. Raises: as `of_venue`.
        """
    @property
    def status(self) -> dict[str, Any]:
        """applied, durable, lag_count, lagging, snapshot_count, snapshot, failure, trouble."""
    def snapshot(self) -> dict[str, Any] | None:
        """Takes one of all that is durable now and waits for it. Raises: SnapshotError."""
    def stop(self) -> None:
        """Ends the thread; a second call does nothing."""

@final
class MarketDataEngine:
    """A running market-data engine: the thread that turns every `feed.<venue>` into the one set of `md.*` beside them.

    It derives each feed's history first and drops what the channels hold already. Ends with `stop` or the object.
    """

    def __new__(
        cls,
        feeds: dict[str, pathlib.Path],
        rings_dir: str | os.PathLike[str],
        *,
        venue: tuple[pathlib.Path, pathlib.Path] | None = None,
        snapshots_dir: str | os.PathLike[str] | None = None,
        wait: str = "park",
        stages_every: int = 32,
        cpu: int | None = None,
        lock_memory: bool = False,
        huge_pages: bool = False,
        numa_node: int | None = None,
        seccomp: str = "off",
        beside: VenueEngine | None = None,
    ) -> MarketDataEngine:
        """Starts it over `feeds`, the journal directory of each venue; `wait` is spin, hybrid or park.

        A feed of which `snapshots_dir` holds a snapshot, the own venue too, is derived from there on, else from its first message: see
        `taken_up`. What is published is the same.
        `venue` is the node's own venue, as one more feed `local`: the journal directory of `orders`, whose engine has to run or to
        have run, and the file that its instruments' names are kept in.
        One live message in `stages_every` is timed at every stage of `latency`; 0: none.
        What is asked for speed (`cpu` of the thread, the rings' memory) may be refused: see `in_force`. `seccomp` on: the
        thread may ask the kernel for nothing but memory, files, clocks and sleep; log: the kernel's log names what else.
        `beside`: a venue with layout together, in whose thread it takes turns, a batch of at most 16 messages of one feed each (of a feed's
        history one of its journal); that thread waits as the more eager of the two, and what is asked for it is for both.

        Channels that were derived from something else than these feeds, or cannot be read, are made anew.
        Raises: ChannelError, also when channels have to be made anew that somebody has open; JournalError; SnapshotError
                when a feed has neither its first messages nor a snapshot that can be used.
        """
    @property
    def made_anew(self) -> str | None:
        """Why the channels that were there were made anew; None when they were not."""
    @property
    def taken_up(self) -> list[tuple[str, int, list[str]]]:
        """How each feed was taken up: venue; message of the snapshot it began behind, 0 without one; why newer snapshots
        could not be used.
        """
    @property
    def in_force(self) -> list[tuple[str, str, bool, str]]:
        """What was asked for speed and what the kernel did: ring or `engine`, option, whether it is in force, detail."""
    def status(self) -> dict[str, Any]:
        """How far it is: messages and published since the start; feeds (by venue: messages; sequence of the newest;
        live: history is done; health, the newest record of `md.health` as a dict, None before one, its lags None where
        no message of it told the venue's clock); live (all are); failure (text or None); latency_count, latency_p50_ns, latency_p99_ns and
        latency_max_ns from receipt to published (None without any).
        """
    def latency(self) -> dict[str, dict[str, dict[str, Any]]]:
        """How long live messages took, by venue and stage: exchange_received (two clocks: below 0 counts as 0),
        received_decoded, decoded_book (messages that change a book), book_published, received_published (the whole).

        Each: count; sum_ns; p50_ns, p90_ns, p99_ns, p999_ns and max_ns (at most 6.25 % too high; None without any);
        buckets, those that hold something by size: (largest value in ns, values).
        """
    def whose(self, channel: str, first: int, count: int) -> dict[int, int] | None:
        """How many of these records of a channel of its own are of which instrument, by `instrument_id`: for a reader who lost them.

        Known of some hundred thousand records behind, for this engine's own; None where it is not known any more.
        """
    def stop(self) -> None:
        """Ends the thread after the batch in hand; a second call does nothing. Raises: what ended it earlier."""

@final
class Payloads:
    """Raw messages in one buffer, handed between recording, journal and decoder without copies."""

    def __new__(cls, payloads: list[bytes]) -> Payloads: ...
    @property
    def size_bytes(self) -> int:
        """Bytes of all payloads together."""
    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> bytes: ...

@disjoint_base
class Portfolio:
    """Positions, cost, profit, fees and cash of all accounts; `tidebook.venue.Portfolio` is the face of it."""

    def __new__(cls) -> Self: ...
    def _commands(self, commands: numpy.ndarray[Any, Any]) -> None: ...
    def _executions(self, executions: numpy.ndarray[Any, Any]) -> None: ...
    def _positions(self, account: int | None = None) -> list[tuple[int, ...]]: ...
    def _balances(self, account: int | None = None) -> list[tuple[int, int, int, int]]: ...
    def equity(self, account: int, asset: int) -> int:
        """Cash of the asset and what positions quoted in it are worth, in ledger units (10^-18)."""

@final
class RecordBuffer:
    """Memory of records that an array views: a read-only buffer of bytes."""

    def __len__(self) -> int:
        """Bytes."""

@final
class Recording:
    """One capture file (plain, zstd or gzip), its format found by content, as raw messages in order.

    `day` (`2019-01-30`) is for files whose times count from midnight and whose name does not say which.
    Raises: CaptureError naming file, line and byte. Behind a damaged line of a line format reading goes on with the
            next call; other formats end there.
    """

    def __new__(cls, path: str | os.PathLike[str], *, connection: int = 1, day: str | None = None) -> Recording: ...
    @property
    def venue(self) -> str:
        """Venue whose messages these are."""
    @property
    def format(self) -> str:
        """Name of the capture format."""
    @property
    def size_bytes(self) -> int:
        """Bytes of the decompressed file."""
    def digest(self) -> str:
        """BLAKE3-256 of the decompressed file, 64 hexadecimal digits: the same however it is compressed. Releases the GIL."""
    @property
    def position_bytes(self) -> int:
        """Bytes read so far."""
    def next_ts_recv(self) -> int | None:
        """Receive time of the next message, ns; None at the end, and where a damaged place comes first."""
    def next(self, messages_max: int = 8192) -> Payloads:
        """The next messages, at most `messages_max`; none at the end. Releases the GIL."""

@final
class RecordingWriter:
    """Turns raw messages into the bytes of a capture file: hftbacktest, cbcap or tbcap.

    Raises: CaptureError when the format is unknown, read-only or cannot hold a message.
    """

    def __new__(cls, format: str, venue: str) -> RecordingWriter: ...
    def start(self) -> bytes:
        """What the file begins with even when no message follows."""
    def write(self, payloads: Payloads) -> tuple[bytes, int]:
        """Bytes of these messages, and how many the format has no word for and left out."""

@final
class Ring:
    """A ring: see `tidebook.transport`, which is its public face."""

    @staticmethod
    def create_slots(
        path: str | os.PathLike[str],
        record_size_bytes: int,
        count: int,
        *,
        schema: tuple[str, int, str] | None = None,
        crc: bool = True,
        parking: bool = False,
        consumers_max: int = 16,
        producers_max: int | None = None,
        group: int | None = None,
        last_values: tuple[int, int, int] | None = None,
    ) -> Ring:
        """With `producers_max` in mode mpsc. `group`: the number of the group that may have it too.

        `last_values`: keys, where the key stands in a record, its bytes.
        """
    @staticmethod
    def create_runs(
        path: str | os.PathLike[str],
        slot_size_bytes: int,
        count: int,
        producers_max: int,
        *,
        crc: bool = True,
        parking: bool = False,
        consumers_max: int = 16,
        group: int | None = None,
    ) -> Ring: ...
    @staticmethod
    def create_frames(
        path: str | os.PathLike[str],
        size_bytes: int,
        *,
        crc: bool = True,
        parking: bool = False,
        consumers_max: int = 16,
        group: int | None = None,
    ) -> Ring: ...
    @staticmethod
    def open(path: str | os.PathLike[str], *, group: int | None = None, allow_others: bool = False) -> Ring: ...
    @staticmethod
    def remove(path: str | os.PathLike[str]) -> None: ...
    def unlink(self) -> None: ...
    @property
    def path(self) -> pathlib.Path: ...
    @property
    def kind(self) -> str: ...
    @property
    def mode(self) -> str: ...
    @property
    def producers_max(self) -> int: ...
    @property
    def consumers_max(self) -> int: ...
    @property
    def capacity(self) -> int: ...
    @property
    def record_size_bytes(self) -> int: ...
    @property
    def slot(self) -> tuple[int, int]:
        """Bytes from the start of a slot to its record, and from slot to slot."""
    @property
    def schema(self) -> tuple[str, int, str] | None: ...
    @property
    def last_values(self) -> tuple[int, int, int] | None: ...
    def read_last_value(self, key: int) -> bytes | None:
        """The newest record of a key behind its sequence of 8 bytes; None when it had none yet."""
    def read_last_values(self) -> bytes:
        """As many of these as there are keys; zeros where there was none yet. Releases the GIL."""
    @property
    def epoch(self) -> int: ...
    @property
    def crc(self) -> bool: ...
    @property
    def parking(self) -> bool: ...
    @property
    def never_waits(self) -> bool: ...
    @property
    def visible_durable(self) -> bool: ...
    @property
    def published(self) -> int: ...
    @property
    def durable(self) -> int: ...
    def tune(
        self, *, lock: bool = False, huge_pages: bool = False, numa_node: int | None = None
    ) -> list[tuple[str, bool, str]]:
        """Asks for this process's mapping of it; what is in force: option, whether, detail."""
    def remove_consumer(self, name: str) -> None: ...
    def move_consumer(self, name: str, to: str, sequence: int = 0) -> int:
        """To `earliest`, `latest`, or anything else for `sequence`; gives what it reads next."""
    def status(self) -> dict[str, Any]: ...

@final
class RingAlarm:
    """What an event loop watches while its tasks wait for consumers: readable when one of these waits is over.

    One thread of the process sleeps for all of them.
    Raises: ChannelError when the system has no descriptor or thread left.
    """

    def __new__(cls) -> RingAlarm: ...
    def fileno(self) -> int: ...
    def wait(self, consumer: RingConsumer, token: int) -> bool:
        """Puts the token among those of `take` once a read may find something, or the consumer is closed.

        False when there is something already. Raises: ChannelUsageError while another wait for it lasts.
        """
    def forget(self, consumer: RingConsumer, token: int) -> None:
        """Ends a wait that was begun, over or not."""
    def take(self) -> list[int]:
        """Tokens of waits that are over; the descriptor is quiet until the next."""

@final
class RingView:
    """A ring that can be read and not changed; see `tidebook.transport.view`."""

    @staticmethod
    def open(path: str | os.PathLike[str], *, group: int | None = None, allow_others: bool = False) -> RingView: ...
    @property
    def path(self) -> pathlib.Path: ...
    def has_name(self) -> bool: ...
    def info(self) -> dict[str, Any]: ...
    def status(self) -> dict[str, Any]: ...
    def walk(self, first: int = 0, *, peek: bool = False) -> RingWalker: ...
    def verify(self) -> RingVerifier: ...

@final
class Damage:
    """A message that cannot be read: a value, not an error."""

    @property
    def sequence(self) -> int: ...
    @property
    def lost(self) -> int:
        """Messages that cannot be read because of it, itself included."""
    @property
    def offset(self) -> int:
        """First byte of the file that is wrong."""
    @property
    def what(self) -> str: ...

@final
class Seen:
    """Messages that a walk has copied."""

    @property
    def sequences(self) -> bytes:
        """Little-endian u64 of each."""
    @property
    def payloads(self) -> bytes:
        """All of them, one after the other."""
    def messages(self) -> list[bytes]: ...
    def __len__(self) -> int: ...

@final
class RingWalker:
    """A reader without a line."""

    @property
    def next_sequence(self) -> int: ...
    def read(self, limit: int, size_max_bytes: int) -> Seen | Gap | Damage | None: ...

@final
class RingVerifier:
    """A check of a ring in progress."""

    @property
    def next_sequence(self) -> int: ...
    def step(self, limit: int) -> bool: ...
    def found(self) -> dict[str, Any]: ...

@final
class RingBatch:
    """Messages read at once; of slots also a read-only buffer of them all, headers included."""

    @property
    def first_sequence(self) -> int: ...
    @property
    def released(self) -> bool: ...
    def messages(self) -> list[bytes]: ...
    def release(self) -> None: ...
    def finish(self) -> None: ...
    def __len__(self) -> int: ...

@final
class RingClaim:
    """A message being filled in place; its payload is a writable buffer that lies in the ring."""

    @property
    def is_open(self) -> bool: ...
    def commit(self) -> int: ...
    def abort(self) -> None: ...
    def __len__(self) -> int: ...

@final
class RingConsumer:
    """A reader of a ring."""

    def __new__(
        cls,
        ring: Ring,
        name: str,
        *,
        start: str,
        sequence: int = 0,
        policy: str | None = None,
        patience: float | None = None,
        detach_after: float | None = None,
        peek: bool = False,
        wait: str = "hybrid",
        manual: bool = False,
    ) -> RingConsumer: ...
    @property
    def next_sequence(self) -> int: ...
    @property
    def committed(self) -> int: ...
    @property
    def closed(self) -> bool: ...
    def poll(self, callback: Callable[[int, bytes], object], limit: int, timeout: float | None) -> int | Gap: ...
    def take(self, limit: int, timeout: float | None) -> RingBatch | Gap | None: ...
    def acknowledge(self, sequence: int | None) -> int: ...
    def skip(self) -> Gap: ...
    def close(self) -> None: ...

@final
class RingProducer:
    """A writer of a ring."""

    def __new__(cls, ring: Ring) -> RingProducer: ...
    @property
    def published(self) -> int: ...
    @property
    def closed(self) -> bool: ...
    def write(self, payload: bytes | bytearray | memoryview, timeout: float | None = None) -> int | Full: ...
    def write_messages(
        self, payloads: Sequence[bytes | bytearray | memoryview], timeout: float | None = None
    ) -> int | Full: ...
    def write_records(self, records: memoryview, timeout: float | None = None) -> int | Full: ...
    def claim(self, size_bytes: int, timeout: float | None = None) -> RingClaim | Full: ...
    def close(self) -> None: ...

@final
class Schema:
    """The published layout of one record type: plain little-endian fields without holes."""

    @property
    def name(self) -> str:
        """The record's name; of market data also the last word of its channel `md.<name>`."""
    @property
    def version(self) -> int:
        """Rises with each change of the fields."""
    @property
    def size_bytes(self) -> int:
        """Bytes of one record."""
    @property
    def fields(self) -> list[tuple[str, int, str]]:
        """Fields in order as (name, offset in bytes, numpy format)."""
    def dtype(self) -> numpy.dtype[Any]:
        """The numpy dtype of one record; numpy is imported by the first call."""

@disjoint_base
class Venue:
    """Risk and matching in this process; `tidebook.venue.Venue` is the face of it."""

    def __new__(
        cls,
        *,
        orders_max: int | None = None,
        accounts_max: int | None = None,
        instruments_max: int | None = None,
        ended_ids_max: int | None = None,
        history: bool = True,
        state: VenueState | None = None,
    ) -> Self: ...
    def place(
        self,
        account: int,
        instrument_id: int,
        side: int,
        price: int = 0,
        size: int = 0,
        *,
        order_type: int = 1,
        time_in_force: int | None = None,
        client_order_id: str | bytes | None = None,
        amount: int = 0,
        trigger_price: int = 0,
        display_size: int = 0,
        offset: int = 0,
        peg: int = 0,
        self_trade: int = 0,
        flags: int = 0,
        expire_ts: int = 0,
        ts: int = 0,
    ) -> CommandOutcome:
        """Submits a new order: a limit order unless `order_type` says otherwise. Arguments and units are those of `tidebook.venue.place`.

        Raises: TypeError, OverflowError for what a field cannot hold; CommandError for a text that is no client's id.
        """
    def cancel(
        self,
        account: int,
        instrument_id: int,
        order_id: int = 0,
        *,
        client_order_id: str | bytes | None = None,
        ts: int = 0,
    ) -> CommandOutcome:
        """Submits a cancel, by the order's id or the client's. Raises: as `place`."""
    def replace(
        self,
        account: int,
        instrument_id: int,
        order_id: int = 0,
        price: int = 0,
        size: int | None = None,
        *,
        client_order_id: str | bytes | None = None,
        trigger_price: int = 0,
        display_size: int = 0,
        offset: int = 0,
        expire_ts: int = 0,
        ts: int = 0,
    ) -> CommandOutcome:
        """Submits an order's new state, every field as it shall be; `size` None keeps the size. Raises: as `place`."""
    @property
    def sequence(self) -> int:
        """Of the last command; 0 before the first."""
    @property
    def ts(self) -> int:
        """The venue's time: the latest of all commands, ns since 1970 UTC."""
    @property
    def execution_count(self) -> int:
        """Executions so far: the number of the last one."""
    @property
    def order_count(self) -> int:
        """Open orders, waiting ones too."""
    @property
    def history_begin(self) -> int | None:
        """First sequence that `at()` can go back to; None without history."""
    def state_hash(self) -> int:
        """A hash of everything that may change what later commands do, when risk has seen all that happened: the same for the same commands,
        submitted or replayed.
        """
    def recomputed_state_hash(self) -> int | None:
        """The same hash, computed anew from the whole state."""
    def open_orders(
        self, account: int | None = None, instrument_id: int | None = None
    ) -> numpy.ndarray[Any, numpy.dtype[numpy.void]]:
        """Open orders, of `OPEN_ORDER`: of an account in the order of acceptance; else by instrument, bids before asks, those in the
        book by price (best first) and priority, then those that wait.
        """
    def order_of(self, account: int, client_order_id: str | bytes) -> int | None:
        """Id of the order that bears a client's id, or bore it and is remembered. Raises: CommandError."""
    def depth(self, instrument_id: int, count: int = 10) -> tuple[numpy.ndarray[Any, Any], numpy.ndarray[Any, Any]]:
        """Prices and shown sizes of the best levels of both sides.

        Shape:  int64 (2, count) each; row 0 bids falling, row 1 asks rising.
        Units:  those of the instrument. A missing level has size 0 and its price means nothing.
        """
    def last_trade(self, instrument_id: int) -> int | None:
        """Price of the last trade in price units, if there was one."""
    def instrument_ids(self) -> list[int]:
        """Numbers of all instruments, rising."""
    def account_ids(self) -> list[int]:
        """Numbers of all accounts, rising."""
    def equity(self, account: int, asset: int) -> int:
        """Cash of the asset and what positions quoted in it are worth, in ledger units (10^-18)."""
    def _submit(
        self, commands: numpy.ndarray[Any, Any]
    ) -> tuple[
        int,
        numpy.ndarray[Any, numpy.dtype[numpy.void]],
        numpy.ndarray[Any, numpy.dtype[numpy.void]],
        numpy.ndarray[Any, numpy.dtype[numpy.void]],
        numpy.ndarray[Any, numpy.dtype[numpy.void]],
        list[int],
    ]: ...
    def _replay(
        self, commands: numpy.ndarray[Any, Any], recheck: bool
    ) -> tuple[numpy.ndarray[Any, numpy.dtype[numpy.void]], numpy.ndarray[Any, numpy.dtype[numpy.void]]]: ...
    def _replay_with_tops(
        self, commands: numpy.ndarray[Any, Any]
    ) -> tuple[numpy.ndarray[Any, numpy.dtype[numpy.void]], numpy.ndarray[Any, numpy.dtype[numpy.void]], bytes]: ...
    def _read_on(
        self, sequence: int | None = None, progress: Callable[[int], object] | None = None
    ) -> tuple[int, numpy.ndarray[Any, numpy.dtype[numpy.void]], numpy.ndarray[Any, numpy.dtype[numpy.void]]]: ...
    def _order(self, order_id: int) -> numpy.ndarray[Any, numpy.dtype[numpy.void]]: ...
    def _shortfall(self, command: bytes) -> tuple[int, int, int] | None: ...
    def _margins(self, account: int | None = None) -> list[tuple[int, int, int, int, int, bool]]: ...
    def _margin_calls(self) -> list[tuple[int, int]]: ...
    def _session(self, instrument_id: int) -> int: ...
    def _definition(self, instrument_id: int) -> bytes | None: ...
    def _positions(self, account: int | None = None) -> list[tuple[int, ...]]: ...
    def _balances(self, account: int | None = None) -> list[tuple[int, int, int, int]]: ...
    def _commands(self, first: int, last: int) -> numpy.ndarray[Any, numpy.dtype[numpy.void]]: ...
    def _fork(self) -> VenueState: ...
    def _at(self, sequence: int, progress: Callable[[int], object] | None = None) -> VenueState: ...
    def _save(self, directory: str | os.PathLike[str], created_ns: int) -> pathlib.Path: ...
    @staticmethod
    def _load(directory: str | os.PathLike[str], sequence: int | None = None, history: bool = True) -> VenueState: ...
    @staticmethod
    def _open(
        journal: str | os.PathLike[str],
        snapshots: str | os.PathLike[str] | None = None,
        sequence: int | None = None,
        recheck: bool = False,
        progress: Callable[[int], object] | None = None,
        *,
        orders_max: int | None = None,
        accounts_max: int | None = None,
        instruments_max: int | None = None,
        ended_ids_max: int | None = None,
        history: bool = True,
    ) -> VenueState: ...

@final
class VenueState:
    """A venue on its way into a `Venue`, whose constructor takes it once."""

@final
class VenueEngine:
    """The running venue: judges what comes on `orders.in`, journals it as `orders`, matches it, and publishes `executions` and `risk`.

    It makes the four channels in `rings_dir`; they are there when the constructor returns. Others write to `orders.in` with
    `open_producer("orders.in")` and read the others with `open_consumer`. Executions and events are published once `orders` has made
    their command visible; their sequence on the channel is their own number. Ends with `stop` or the object.
    """

    def __new__(
        cls,
        rings_dir: str | os.PathLike[str],
        journal_dir: str | os.PathLike[str],
        *,
        snapshots_dir: str | os.PathLike[str] | None = None,
        durability: str = "wal",
        layout: str | None = None,
        shards: int = 1,
        wait: str | None = None,
        orders_max: int | None = None,
        accounts_max: int | None = None,
        instruments_max: int | None = None,
        recheck: bool = False,
        time: str = "arrival",
        age_max_s: float | None = None,
        timer_interval_s: float | None = None,
        closes_bars: bool = False,
        orders_in_count: int | None = None,
        orders_count: int | None = None,
        executions_count: int | None = None,
        risk_count: int | None = None,
        segment_size_bytes: int = 67_108_864,
        stages_every: int = 32,
        cpus: Sequence[int] = ...,
        lock_memory: bool = False,
        huge_pages: bool = False,
        numa_node: int | None = None,
        seccomp: str = "off",
    ) -> VenueEngine:
        """Recovers the venue from the newest usable snapshot and the journal behind it, and starts it. Releases the GIL.

        `durability`: wal, or memory: no journal, every start begins a new venue. `layout`: fused (one thread), together (one thread that a
        `MarketDataEngine(beside=...)` takes turns in), split (risk and matching have one each), None (fused or split) by the machine's cores. `shards`: 1 to 16 threads that match, each its instruments; more than one are split,
        and what is published and journaled is the same. `wait`: spin (taken as hybrid without two cores to spare), hybrid, park (if nothing is said).
        `orders_max` and its like are the room of a venue that begins; one that is there keeps its own (`venue_sizes`).
        `recheck`: what is replayed is judged again, and a difference is an error. `time`: arrival (the engine's clock; what a client says
        moves nothing), or command (for histories). `age_max_s`: a place, pair or replace that was sent longer ago, by its own `ts`, is
        refused as late. A timer is journaled when something expires, and `timer_interval_s` after the last
        command if that is given; with `closes_bars` also where a bar with the newest fill ends (five times, the latest after a day). `*_count`: slots of the rings, powers of two. One command in `stages_every` is timed.

        Raises: StateError when the journal does not give the venue (a message that is no command, a difference); JournalError;
                SnapshotError; ChannelError; EndpointBusyError when a ring has to be made anew that somebody has open.
        """
    @property
    def recovery(self) -> dict[str, Any]:
        """What the start found: text, next_sequence, replayed_from_ring, ring_discarded, ring_lost and undecidable_from (of `orders`); state (as of
        `recover_state`: used, refused, tail_count, last_sequence and so on); source_sequence (last message of `orders.in` taken
        before); made_anew (channel and reason); sizes; layout, shards and wait as they are in force.
        """
    @property
    def in_force(self) -> list[tuple[str, str, bool, str]]:
        """What was asked for speed and what the kernel did: ring or thread, option, whether it is in force, detail."""
    def status(self) -> dict[str, Any]:
        """How it stands: sequence, durable and applied (last command of `orders`: written, visible, carried out); source_sequence and
        source_published (last message of `orders.in`: taken, there), missed (damaged ones); accepted, rejected and timers since the
        start; executed (executions so far), executions and events (of them and of risk's events: the last that is published);
        open_orders; ahead_ns (how far its time was ahead of the machine's clock, which was set back); guarantee (text; None in memory);
        failure (text or None). layout, shards and threads (that has its threads, the journal's left out), cores (that the process may
        use).
        """
    @property
    def failure(self) -> str | None:
        """Why it takes no commands any more, if it does not: it failed, or was stopped."""
    def latency(self) -> dict[str, dict[str, Any]]:
        """How long commands took, by stage: sent_judged (from the `ts` that the client wrote), judged_matched, judged_released (to the
        first execution being published, which waits for the journal). Each as of `MarketDataEngine.latency`.
        """
    def stop(self) -> dict[str, int] | None:
        """Ends the threads when what they have in hand is durable and published: sequence (last command) and state_hash (that of any
        replay of the same commands once risk has seen all executions). None when it was stopped before. Raises: what ended it earlier.
        """

def blake3_of_bytes(data: bytes | bytearray | memoryview) -> str:
    """BLAKE3-256 of contiguous bytes, 64 hexadecimal digits. Releases the GIL.

    Raises: TypeError if the buffer is not contiguous.
    """

def blake3_of_file(path: str | os.PathLike[str]) -> str:
    """BLAKE3-256 of the bytes of a file, 64 hexadecimal digits. Releases the GIL.

    Raises: OSError with the system's number.
    """

def client_order_id_bytes(text: str) -> bytes:
    """The 16 bytes of a client's id of an order: a UUID in its usual form, or 1 to 20 of the characters A-Z a-z 0-9 _ -.

    Raises: CommandError (facts: field, value) for a text that would not come back.
    """

def client_order_id_text(id: bytes | Sequence[int]) -> str | None:
    """The text of 16 bytes; None for no id and for bytes that no text gives. A UUID comes in small letters."""

def command_layouts() -> dict[str, list[tuple[str, int, str]]]:
    """Fields of a command of each kind, by the kind's word: name, offset in bytes, numpy format; head first, spare bytes of the body left out."""

def compact_journal(
    directory: str | os.PathLike[str], keep_from: int, still: Callable[[], int] | None = None
) -> dict[str, Any]:
    """Removes the oldest segments whose messages all lie before `keep_from`: removed (numbers), size_bytes,
    first_sequence (held now). See `persistence.compact`.

    `still` is called before anything is removed, when who opens is told what is about to go, and gives the first message that has
    to stay by then; what it raises is raised, and nothing is removed.

    Raises: JournalLockedError while another does it; JournalError and its kinds.
    """

def cut_journal(directory: str | os.PathLike[str], sequence: int, evidence: int = 0) -> dict[str, Any]:
    """Makes a damaged journal end with its last good message and go on behind `evidence`: last_sequence, next_sequence, lost,
    quarantined (paths), epoch. See `persistence.cut`.

    Raises: JournalError for another sequence or an undamaged journal; its kinds.
    """

def damaged_journal_id(directory: str | os.PathLike[str]) -> int | None:
    """What tells a journal from another of its channel, whatever is missing of it; None where no header verifies.

    Raises: JournalAbsentError, JournalVersionError.
    """

def error_classes() -> list[str]:
    """Names of the `tidebook.errors` classes the core may raise."""

def examine_journal(directory: str | os.PathLike[str], evidence: int = 0) -> dict[str, Any]:
    """What is damaged: first_sequence, last_good, last_known, torn_bytes, cut_begun, findings (segment, offset, sequence,
    damage). See `persistence.examine`.

    Raises: JournalError and its kinds; damage is in the answer.
    """

def format_units(units: int, exponent: int) -> str:
    """Decimal text of `units` with exactly `exponent` decimals.

    Raises: ValueError if the exponent exceeds 18.
    """

def inspect_journal(directory: str | os.PathLike[str]) -> dict[str, Any]:
    """What headers and the newest segment of a journal say; safe beside a live writer. See `persistence.inspect`.

    Raises: JournalError and its kinds.
    """

def instrument_name(venue: str, symbol: str) -> str:
    """The name of the instrument that the venue calls `symbol`: `BTCUSDT-PERP.BINANCE` for BTCUSDT of binance-usdm.

    Raises: UnknownVenueError for a venue without a decoder.
    """

def journal_configurations(directory: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """The first configuration of a journal and each change: segment, first_sequence, created_ns (None in version 1),
    configuration (None where there was none). See `persistence.configurations`.

    Raises: JournalError and its kinds.
    """

def journal_layouts(directory: str | os.PathLike[str]) -> list[tuple[int, str | None, int]]:
    """What the messages of a journal are, the first and each change: first_sequence, layout as a ring has it (empty for plain
    messages, None where the journal does not say), bytes of a record. See `transport.journal.record_layouts`.

    Raises: JournalError and its kinds.
    """

def measure_hand_over(
    out: str | os.PathLike[str], back: str | os.PathLike[str], size_bytes: int, rounds: int, spin: bool
) -> list[int]:
    """Round trips of a message that another process sends back, ns each; fewer when that is gone."""

def measure_echo(
    out: str | os.PathLike[str], back: str | os.PathLike[str], size_bytes: int, rounds: int, spin: bool
) -> int:
    """The other end of it: how many it sent back."""

def measure_stream(path: str | os.PathLike[str], size_bytes: int, count: int) -> int:
    """Writes messages as fast as there is room: how many."""

def journal_durable_end(directory: str | os.PathLike[str]) -> tuple[int, int, bytes | None] | None:
    """Where the durable part of a journal ends, beside its writer too: the newest segment of it, the bytes of that segment, and
    the watermark that says so (None where none verifies: then it is where opening would go on). None for no journal.

    Raises: JournalDamagedError when something that was durable is not there; JournalError and its kinds.
    """

def journal_first_to_keep(
    directory: str | os.PathLike[str],
    rule: str,
    *,
    now_ns: int,
    snapshots: Sequence[int] = ...,
    consumers_floor: int | None = None,
    stored: int | None = None,
) -> int:
    """First sequence that must stay by a keep rule. See `persistence.first_to_keep`.

    Raises: JournalError for a text that is no rule; its kinds.
    """

def journal_keep_rule(rule: str) -> str:
    """The keep rule that a text says, as the core writes it. Raises: JournalError for a text that is none."""

def journal_stats(directory: str | os.PathLike[str]) -> dict[str, Any]:
    """As `inspect_journal`, with `segments` counted one by one and `configurations`. See `persistence.stats`.

    Raises: JournalError and its kinds; JournalDamagedError at the first damage.
    """

def measure_drain(path: str | os.PathLike[str], count: int, spin: bool) -> tuple[int, float]:
    """Reads messages: how many, and seconds from the first on."""

def adopt_journal(directory: str | os.PathLike[str]) -> None:
    """Takes a journal that was moved for the one that was written last. See `persistence.adopt`.

    Raises: JournalAbsentError; JournalLockedError while it is written; JournalError.
    """

def mark_journal_put_back(directory: str | os.PathLike[str]) -> None:
    """Has the next start of a journal that was put back from a copy take a new epoch. See `persistence.mark_put_back`.

    Raises: JournalError when that cannot be written.
    """

def pack_message(ts_recv: int, connection: int, kind: int, body: bytes, context: bytes | None = None) -> bytes:
    """The payload of one raw message: `feed.<venue>` frames and journal records hold these bytes.

    Units:  ts_recv in ns since 1970 UTC; kind 1 ws, 2 rest, 3 state, 4 timer.
    Raises: RawMessageError for another kind.
    """

def parse_units(text: str, exponent: int) -> int:
    """Integer units of the decimal `text` at `exponent`: exact or an error, never rounded.

    Raises: DecimalError (facts `found`, `exponent`) when the text is no such number or would not be exact;
            ValueError if the exponent exceeds 18.
    """

def pin_thread(cpu: int) -> tuple[str, bool, str]:
    """Binds the calling thread to one CPU; what is in force: `cpu`, whether, detail."""

def restore_journal(directory: str | os.PathLike[str], source: str | os.PathLike[str]) -> list[tuple[int, str | None]]:
    """Puts damaged segments back from a copy: each with why it was refused, or None. See `persistence.restore`.

    Raises: JournalError for an undamaged journal; its kinds.
    """

def ring_directory(node: str) -> pathlib.Path:
    """Where the rings of a node are unless told otherwise. Raises: ChannelUsageError for a name that is no file name."""

def ring_path(directory: str | os.PathLike[str], channel: str) -> pathlib.Path:
    """The file of a channel's ring in a directory. Raises: ChannelUsageError for a name that is no file name."""

def schemas() -> dict[str, Schema]:
    """Layout of every record type, by name, in the order of their first use."""

def unpack_message(payload: bytes) -> tuple[int, int, int, bytes, bytes]:
    """(ts_recv, connection, kind, context, body) of a payload, the inverse of `pack_message`.

    Raises: RawMessageError when it is cut or of an unknown kind.
    """

def usable_feed_snapshots(
    venue: str,
    journal_dir: str | os.PathLike[str],
    snapshots_dir: str | os.PathLike[str],
    sequence_max: int,
    count: int,
) -> tuple[list[int], list[str]]:
    """Sequences, rising, of the newest `count` snapshots up to `sequence_max` that `FeedDecoder.begin` could begin behind, and
    why newer ones could not be used. Loads each of them. Releases the GIL.

    Raises: SnapshotMismatchError for one that contradicts the journal; SnapshotError, JournalError.
    """

def venue_codes() -> dict[str, list[tuple[str, int]]]:
    """Word and number of everything that commands, executions and risk events number, by the name of the list (`OrderType`)."""

def snapshot_is_of_history(journal: str | os.PathLike[str], snapshots: str | os.PathLike[str], sequence: int) -> bool:
    """Whether the snapshot at `sequence` in a directory, of whatever kind of state, is whole and of the journal's history.

    Raises: SnapshotMismatchError for one that is whole and contradicts the journal; SnapshotError, JournalError.
    """

def usable_market_data_snapshots(
    journal_dir: str | os.PathLike[str],
    names_file: str | os.PathLike[str],
    snapshots_dir: str | os.PathLike[str],
    sequence_max: int,
    count: int,
) -> tuple[list[int], list[str]]:
    """As `usable_venue_snapshots`, of the venue's market data; `names_file` is the one that `MarketDataEngine` is given."""

def usable_venue_snapshots(
    journal_dir: str | os.PathLike[str], snapshots_dir: str | os.PathLike[str], sequence_max: int, count: int
) -> tuple[list[int], list[str]]:
    """As `usable_feed_snapshots`, of the venue: `journal_dir` is that of `orders`.

    Raises: SnapshotMismatchError for one that contradicts the journal; SnapshotError, JournalError.
    """

def venue_sizes(journal_dir: str | os.PathLike[str]) -> dict[str, dict[str, int]] | None:
    """The room that the venue of this journal was begun with, and that every replay of it needs: `risk` (orders_max, accounts_max,
    instruments_max, ended_ids_max) and `matching` (orders_max, accounts_max, instruments_max). None where there is no journal yet, or
    it does not say. Raises: JournalError.
    """

def venues() -> dict[int, str]:
    """Name of every venue by its number, the top byte of an instrument id, in the order of their numbers."""

def verify_journal(
    directory: str | os.PathLike[str], progress: Callable[[int], object] | None = None
) -> dict[str, Any]:
    """As `inspect_journal`, after every batch verified, with messages, batches and batch_size_bytes.

    `progress` is told how many more messages were verified.
    Threads: as many as there are cores, without the GIL; `progress` is called from any of them, with it.
    Raises: JournalError and its kinds; JournalDamagedError at the first damage; what `progress` raises, which ends it soon.
    """

def profile() -> Literal["release", "dev"]:
    """How the core was compiled: `release`, or `dev`, which is several times slower."""

def version() -> str:
    """Version of the workspace the core was built from."""
