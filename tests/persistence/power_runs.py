"""`python -m tests.persistence.power_runs KIND CUTS SEED`: cuts the power of a process that writes, again and again.

Kinds: `journal` (a writer alone), `channel` (a durable channel through the API, its ring lost with the power), `node` (a whole
node with simulated venues and a reader that stores checkpoints: its journal, tables, snapshots and checkpoints, and a backup of what
the power left), `lying` (as
`channel`, on a disk that from some moment on answers syncs and does not do them). Prints one line with what was counted, or ends
with status 1.

Each machine lives through several cuts, so what one left is what the next begins with.
"""

import functools
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple

import tidebook as tb
from tests.persistence.power import Disk, cannot_mount, disk
from tidebook import persistence
from tidebook._core import CheckpointStore, FeedDecoder, JournalReader, JournalWriter
from tidebook.errors import JournalDamagedError
from tidebook.node.backup import back_up
from tidebook.node.directory import checkpoints_file, journal_directory, snapshots_directory
from tidebook.node.restore import restore
from tidebook.persistence import SnapshotFacts
from tidebook.persistence.snapshots import stores

CUTS_OF_A_MACHINE = 5
SEGMENT_SIZE_BYTES = 256 << 10
LONGEST_LIFE_S = {"journal": 0.4, "channel": 0.4, "node": 2.0, "lying": 0.4}
CHANNEL = "numbers"
VENUE, FEED = "binance", "feed.binance"
SNAPSHOT_INTERVAL_MIN = 0.004
"""Often enough that a short life takes some."""


def payload(sequence: int) -> bytes:
    """Length and bytes follow from the sequence."""
    return random.Random(sequence).randbytes(sequence * 7 % 600)


# ---- what is cut off: children of this program ------------------------------------------------------------------------


def write_journal(directory: Path) -> None:
    writer = JournalWriter(directory / "journal", CHANNEL, segment_size_bytes=SEGMENT_SIZE_BYTES)
    chance = random.Random(writer.next_sequence)
    while True:
        for _ in range(chance.randint(1, 40)):
            writer.append(payload(writer.next_sequence))
            if chance.random() < 0.1:
                writer.flush()
        print(writer.sync(), flush=True)


def write_channel(directory: Path, rings: Path) -> None:
    options = tb.ChannelOptions(
        buffer_size=1 << 20, durability="wal", wal_dir=directory, journal_sync_interval_ms=2, consumers_max=4
    )
    with tb.open_producer(tb.create_channel(CHANNEL, options, directory=rings)) as producer:
        chance = random.Random(producer.published)
        while True:
            for _ in range(chance.randint(0, 40)):
                producer.write(payload(producer.published + 1))
            print(producer.write(payload(producer.published + 1), wait="durable"), flush=True)


def digest(before: bytes, payload: bytes) -> bytes:
    """A state of every message and their order: of those before, and this one."""
    return blake2b(before + payload, digest_size=16).digest()


def store_checkpoints(rings: Path) -> None:
    """Reads the feed of a running node from its first message on, or from behind its checkpoint, and stores others."""
    consumer = tb.open_consumer(FEED, "digest", start="earliest", directory=rings / "default")
    found = consumer.recover("digest")
    state = b"" if found is None else found.state
    chance = random.Random(consumer.next_sequence)

    def take(_: int, payload: bytes) -> None:
        nonlocal state
        state = digest(state, payload)

    while True:
        assert not isinstance(consumer.poll(take, limit=chance.randint(1, 400), timeout=0.02), tb.Gap)
        if consumer.committed:
            consumer.checkpoint("digest", state)
            print(consumer.committed, flush=True)


def command_of(kind: str, machine: Disk, rings: Path) -> list[str]:
    if kind == "lying":
        honest = command_of("channel", machine, rings)
        if cannot_inject() is not None:
            return honest
        lies = ["-e", "trace=fsync,fdatasync", "-e", "inject=fsync,fdatasync:retval=0:when=12+"]
        return ["strace", "-f", "-qq", "-o", "/dev/null", *lies, *honest]
    if kind != "node":
        return [sys.executable, "-m", "tests.persistence.power_runs", f"child-{kind}", str(machine.root), str(rings)]
    options = ["--venues", "binance", "--port", "0", "--json", "--rate", "2000", "--flush-interval-s", "0.1"]
    return [sys.executable, "-m", "tidebook", "run", "--data", str(machine.root / "data"), *options]


# ---- what is checked --------------------------------------------------------------------------------------------------


def read_messages(directory: Path, checked: int) -> int:
    """Reads on behind `checked`; the last sequence. No hole, no repetition, the payloads that were written."""
    for sequence, found in persistence.read(directory, from_sequence=checked + 1):
        assert sequence == checked + 1
        assert found == payload(sequence), f"payload of {sequence}"
        checked = sequence
    return checked


def visible_in(directory: Path) -> int:
    """The last message that a reader is given before anybody opens the journal: what each segment but the newest holds, at least."""
    if not list(directory.glob("*.segment")):
        return 0
    last = max((sequence for sequence, _ in persistence.read(directory)), default=0)
    sealed = persistence.stats(directory).segments[-1].first_sequence - 1
    assert last >= sealed, f"{last} read, {sealed} durable by the header of the newest segment"
    return last


class Derived(NamedTuple):
    """What the messages of a feed's journal give."""

    trades: list[tuple[int, int]]
    """(source sequence, trade id) of every trade, in order."""
    states: dict[int, tuple[int, str]]
    """Hash of the feed's state, and that of all that a snapshot saves, behind the messages asked for."""
    digests: list[bytes]
    """A reader's state behind each number of messages, from none on."""


def derived(journal: Path, at: set[int]) -> Derived:
    reader, decoder = JournalReader(journal), FeedDecoder(VENUE)
    found = Derived([], {}, [b""])
    # Batch by batch: each snapshot is behind one.
    while (read := reader.next(1)) is not None:
        rows = decoder.decode(*read)["trades"]
        found.trades.extend(zip(rows["source_sequence"].tolist(), rows["trade_id"].tolist(), strict=True))
        for number in range(len(read[1])):
            found.digests.append(digest(found.digests[-1], read[1][number]))
        if decoder.sequence in at:
            found.states[decoder.sequence] = decoder.state_hash, decoder.saved_hash()
    return found


def check_node(data: Path, last: int, checkpoint: int, counted: "Counted") -> None:
    """Rows, snapshots and checkpoints are what the journal gives, and of no message that it does not have."""
    journal = journal_directory(data, FEED)
    snapshots = verified_snapshots(data)
    truth = derived(journal, set(snapshots))
    assert len(truth.digests) == last + 1
    position = check_tables(data, last, truth)
    assert all(sequence <= position for sequence in snapshots), f"stored up to {position}, snapshots: {list(snapshots)}"
    check_snapshots(data, snapshots, truth)
    stored = check_checkpoints(journal, last, truth)
    assert stored >= checkpoint, f"checkpoint of {checkpoint} acknowledged, the newest is of {stored}"
    counted.stored = max(counted.stored, position)
    counted.snapshots += len(snapshots)
    counted.checkpoints += stored > 0


def check_tables(data: Path, last: int, truth: Derived) -> int:
    """The tables hold what the journal gives up to their position and nothing beyond it; that position."""
    if not (data / "_manifest").is_dir():
        return 0
    store = tb.open(data)
    position = store.position(FEED)
    assert position <= last, f"stored up to {position}, journaled up to {last}"
    assert store.verify().ok
    if not position:
        return 0
    stored: list[tuple[int, int]] = []
    # A first commit may be of messages that gave no row.
    if store.manifest.files:
        frame = store.scan("trades").collect().sort("source_sequence", "source_index")
        stored = list(zip(frame["source_sequence"].to_list(), frame["trade_id"].to_list(), strict=True))
    assert stored == [trade for trade in truth.trades if trade[0] <= position]
    return position


def verified_snapshots(data: Path) -> dict[int, SnapshotFacts]:
    """Every snapshot that has its name, by its message; one that is not whole raises."""
    found = [store.verify(sequence) for store in stores(snapshots_directory(data)) for sequence in store.sequences()]
    return {facts.sequence: facts for facts in found}


def check_snapshots(data: Path, snapshots: dict[int, SnapshotFacts], truth: Derived) -> None:
    """Each is of a batch that the journal has, and the state that it loads as is the one derived from the first message."""
    journal = journal_directory(data, FEED)
    for sequence, facts in snapshots.items():
        assert sequence in truth.states, f"a snapshot of message {sequence}, behind which the journal has no batch"
        decoder, refused = FeedDecoder.begin(VENUE, journal, snapshots_directory(data), sequence)
        assert (decoder.sequence, refused) == (sequence, [])
        assert facts.state_hash == decoder.state_hash
        assert (decoder.state_hash, decoder.saved_hash()) == truth.states[sequence], f"the snapshot of {sequence}"


def check_checkpoints(journal: Path, last: int, truth: Derived) -> int:
    """Each state is that of the messages up to its cursor, and no cursor is beyond the journal; the newest state's message."""
    if not checkpoints_file(journal).exists():
        return 0
    store, newest = CheckpointStore(checkpoints_file(journal).parent), 0
    for listed in store.list():
        sequence = listed["sequence"]
        assert sequence <= last, f"a {listed['kind']} stands at {sequence}, journaled up to {last}"
        if listed["kind"] == "state":
            found = store.get(listed["checkpoint_id"])
            assert found is not None
            assert found["state"] == truth.digests[sequence], f"the state of {sequence} messages"
            newest = max(newest, sequence)
    return newest


def last_backed_up(data: Path, restored: Path) -> int:
    """The last message of the feed's journal as it comes back from a backup; 0 where there is nothing to back up yet."""
    if not journal_directory(data, FEED).is_dir():
        return 0
    backups = restored.with_name("backups")
    made = back_up(data, backups)
    restore(backups / made.id, restored)
    held = journal_directory(restored, FEED)
    last = persistence.verify(held).last_sequence if held.is_dir() else 0
    for directory in (backups, restored):
        shutil.rmtree(directory)
    return last


class Counted:
    """What a campaign met."""

    cuts = torn = acknowledged = messages = stored = detected = snapshots = checkpoints = 0


DIRECTORIES = {"journal": "journal", "channel": CHANNEL, "lying": CHANNEL, "node": f"data/journal/{FEED}"}


def recover(kind: str, machine: Disk, acknowledged: int, checked: int, counted: Counted, *, checkpoint: int = 0) -> int:
    """Opens what the power left and compares it with what was acknowledged; the last message that is there.

    `checkpoint` is the message of the newest checkpoint that was acknowledged.
    """
    directory = machine.root / DIRECTORIES[kind]
    if not directory.exists():
        assert not acknowledged, f"{acknowledged} acknowledged, and no journal is there"
        return 0
    visible = visible_in(directory)
    backed_up = last_backed_up(machine.root / "data", machine.root / "restored") if kind == "node" else None
    name = FEED if kind == "node" else CHANNEL
    writer = JournalWriter(directory, name, segment_size_bytes=SEGMENT_SIZE_BYTES, evidence=acknowledged)
    report, last = writer.recovery, writer.next_sequence - 1
    writer.close()
    assert last >= acknowledged, f"{acknowledged} acknowledged, {last} recovered"
    assert visible <= last, f"{visible} shown durable, {last} recovered"
    assert backed_up in {None, last}, f"{backed_up} in a backup of what the power left, {last} recovered"
    assert persistence.verify(directory).last_sequence == last
    if kind != "node":
        assert read_messages(directory, checked) == last
    else:
        check_node(machine.root / "data", last, checkpoint, counted)
    counted.cuts += 1
    counted.torn += report["torn_bytes"] > 0
    counted.messages += last - checked
    return last


def find_the_lie(machine: Disk, acknowledged: int, counted: Counted) -> None:
    """Who knows from elsewhere what was durable is never given a journal that lacks it: here the last acknowledgement."""
    directory = machine.root / CHANNEL
    counted.cuts += 1
    try:
        writer = JournalWriter(directory, CHANNEL, segment_size_bytes=SEGMENT_SIZE_BYTES, evidence=acknowledged)
    except JournalDamagedError:
        counted.detected += 1
        return
    last = writer.next_sequence - 1
    assert last >= acknowledged, f"{acknowledged} known durable, {last} recovered without a word"
    writer.close()
    assert read_messages(directory, 0) == last
    counted.messages += last


@functools.cache
def cannot_inject() -> str | None:
    """Why strace cannot make calls of a process fail here, or None."""
    command = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "inject=fsync:error=EIO", "true"]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True)
    except FileNotFoundError:
        return "there is no strace"
    except subprocess.CalledProcessError as error:
        return str(error.stderr).strip().replace("\n", "; ")
    return None


# ---- the campaign -----------------------------------------------------------------------------------------------------


def durable_of(rings: Path) -> int:
    """What the node's channel says is durable, which it tells its consumers."""
    return tb.open_channel(FEED, directory=rings / "default").ring.durable


def stored_upto(data: Path) -> int:
    return tb.open(data).position(FEED) if (data / "_manifest").is_dir() else 0


class Acknowledged(NamedTuple):
    """What a life said was durable."""

    message: int
    """0 for none, as below."""
    checkpoint: int = 0
    """Message of a reader's newest checkpoint."""


def live(kind: str, machine: Disk, rings: Path, chance: random.Random) -> Acknowledged:
    """One life of the process up to the end of its power."""
    rings.mkdir(mode=0o700)
    environment = os.environ | {
        "TIDEBOOK_RINGS": str(rings),
        "TIDEBOOK_SNAPSHOT_INTERVAL_MIN": str(SNAPSHOT_INTERVAL_MIN),
        "TIDEBOOK_VENUE_ENABLED": "false",
    }
    process = start(command_of(kind, machine, rings), 0, environment)
    assert process.stdout is not None
    # Every fifth is cut off while it starts.
    starts = chance.random() < 0.2
    first = "" if starts else process.stdout.readline()
    if not starts and not first:
        raise AssertionError(process.communicate()[1])
    reader = None
    if kind == "node" and not starts:
        reading = [sys.executable, "-m", "tests.persistence.power_runs", "child-checkpoints", str(rings)]
        reader = start(reading, process.pid, environment)
        before = stored_upto(machine.root / "data")
        deadline = time.monotonic() + 60
        while stored_upto(machine.root / "data") == before and time.monotonic() < deadline:
            time.sleep(0.01)
    time.sleep(chance.uniform(0, LONGEST_LIFE_S[kind]))
    acknowledged = durable_of(rings) if kind == "node" and not starts else 0
    machine.lose_power(process.pid, lied=kind == "lying")
    said, trouble = process.communicate()
    said = first + said
    shutil.rmtree(rings)
    if kind == "node":
        assert not said or json.loads(said.splitlines()[0])["node"] == "default"
        stored, trouble = ("", "") if reader is None else reader.communicate()
        assert not trouble, trouble
        return Acknowledged(acknowledged, newest_of(stored))
    return Acknowledged(newest_of(said))


def start(command: list[str], group: int, environment: dict[str, str]) -> "subprocess.Popen[str]":
    """A process of this group, of one of its own with 0: what loses its power together."""
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, process_group=group, env=environment)


def newest_of(said: str) -> int:
    """What stands in the pipe was said before the power went, but for a line that was cut."""
    return max([int(line) for line in said.splitlines(keepends=True) if line.endswith("\n")], default=0)


def campaign(kind: str, cuts: int, seed: int) -> Counted:
    chance, counted = random.Random(seed), Counted()
    with private_directory() as where:
        while counted.cuts < cuts:
            with disk(chance, real=kind != "lying" or cannot_inject() is None) as machine:
                last = 0
                if kind == "lying":
                    find_the_lie(machine, live(kind, machine, where / "rings", chance).message, counted)
                    continue
                checkpoint = 0
                for _ in range(min(CUTS_OF_A_MACHINE, cuts - counted.cuts)):
                    said = live(kind, machine, where / "rings", chance)
                    checkpoint = max(checkpoint, said.checkpoint)
                    counted.acknowledged = max(counted.acknowledged, said.message)
                    last = recover(kind, machine, max(said.message, last), last, counted, checkpoint=checkpoint)
    sinks = counted.stored, counted.snapshots, counted.checkpoints
    assert kind != "node" or all(sinks), f"rows, snapshots, checkpoints: {sinks}, the campaign does not reach them"
    return counted


@contextmanager
def private_directory() -> Iterator[Path]:
    """On tmpfs, as rings are."""
    with tempfile.TemporaryDirectory(prefix="tidebook-power-", dir="/dev/shm") as where:
        yield Path(where)


def main(kind: str, *words: str) -> None:
    if kind == "child-journal":
        write_journal(Path(words[0]))
    elif kind == "child-channel":
        write_channel(Path(words[0]), Path(words[1]))
    elif kind == "child-checkpoints":
        store_checkpoints(Path(words[0]))
    else:
        cuts, seed = int(words[0]), int(words[1])
        counted = campaign(kind, cuts, seed)
        form = "ext4 on a loop device" if cannot_mount() is None else f"simulated ({cannot_mount()})"
        more = ""
        if kind == "node":
            more = (
                f", stored up to message {counted.stored}, {counted.snapshots} snapshots compared, "
                f"checkpoints behind {counted.checkpoints} cuts"
            )
        if kind == "lying":
            more = f", {counted.detected} losses, each refused"
            form = form if cannot_inject() is None else f"simulated ({cannot_inject()})"
        print(f"{counted.cuts} cuts, {counted.messages} messages, {counted.torn} torn tails{more}; {form}")


if __name__ == "__main__":
    main(*sys.argv[1:])
