"""`python -m tests.persistence.power_runs KIND CUTS SEED`: cuts the power of a process that writes, again and again.

Kinds: `journal` (a writer alone), `channel` (a durable channel through the API, its ring lost with the power), `node` (a whole
node with simulated venues, its journal and its tables), `lying` (as `channel`, on a disk that from some moment on answers syncs
and does not do them). Prints one line with what was counted, or ends with status 1.

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
from pathlib import Path

import tidebook as tb
from tests.persistence.power import Disk, cannot_mount, disk
from tidebook import persistence
from tidebook._core import FeedDecoder, JournalReader, JournalWriter
from tidebook.errors import JournalDamagedError

CUTS_OF_A_MACHINE = 5
SEGMENT_SIZE_BYTES = 256 << 10
LONGEST_LIFE_S = {"journal": 0.4, "channel": 0.4, "node": 2.0, "lying": 0.4}
CHANNEL = "numbers"


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


def derived(journal: Path, position: int) -> list[tuple[int, int]]:
    """(source sequence, trade id) of every trade that the messages up to `position` give."""
    reader, decoder = JournalReader(journal), FeedDecoder("binance")
    trades: list[tuple[int, int]] = []
    while (read := reader.next()) is not None:
        rows = decoder.decode(*read)["trades"]
        trades += zip(rows["source_sequence"].tolist(), rows["trade_id"].tolist(), strict=True)
    return [trade for trade in trades if trade[0] <= position]


def check_tables(data: Path, journal_last: int) -> int:
    """The tables hold what the journal gives up to their position and nothing beyond it; that position."""
    if not (data / "_manifest").is_dir():
        return 0
    store = tb.open(data)
    position = store.position("feed.binance")
    assert position <= journal_last, f"stored up to {position}, journaled up to {journal_last}"
    assert store.verify().ok
    if not position:
        return 0
    frame = store.scan("trades").collect().sort("source_sequence", "source_index")
    stored = list(zip(frame["source_sequence"].to_list(), frame["trade_id"].to_list(), strict=True))
    assert stored == derived(data / "journal/feed.binance", position)
    return position


class Counted:
    """What a campaign met."""

    cuts = torn = acknowledged = messages = stored = detected = 0


DIRECTORIES = {"journal": "journal", "channel": CHANNEL, "lying": CHANNEL, "node": "data/journal/feed.binance"}


def recover(kind: str, machine: Disk, acknowledged: int, checked: int, counted: Counted) -> int:
    """Opens what the power left and compares it with what was acknowledged; the last message that is there."""
    directory = machine.root / DIRECTORIES[kind]
    if not directory.exists():
        assert not acknowledged, f"{acknowledged} acknowledged, and no journal is there"
        return 0
    name = "feed.binance" if kind == "node" else CHANNEL
    writer = JournalWriter(directory, name, segment_size_bytes=SEGMENT_SIZE_BYTES, evidence=acknowledged)
    report, last = writer.recovery, writer.next_sequence - 1
    writer.close()
    assert last >= acknowledged, f"{acknowledged} acknowledged, {last} recovered"
    assert persistence.verify(directory).last_sequence == last
    if kind != "node":
        assert read_messages(directory, checked) == last
    else:
        counted.stored = max(counted.stored, check_tables(machine.root / "data", last))
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
    return tb.open_channel("feed.binance", directory=rings / "default").ring.durable


def stored_upto(data: Path) -> int:
    return tb.open(data).position("feed.binance") if (data / "_manifest").is_dir() else 0


def live(kind: str, machine: Disk, rings: Path, chance: random.Random) -> int:
    """One life of the process up to the end of its power; the last sequence it had acknowledged, 0 for none."""
    rings.mkdir(mode=0o700)
    process = subprocess.Popen(
        command_of(kind, machine, rings),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env=os.environ | {"TIDEBOOK_RINGS": str(rings)},
    )
    assert process.stdout is not None
    # Every fifth is cut off while it starts.
    starts = chance.random() < 0.2
    first = "" if starts else process.stdout.readline()
    if not starts and not first:
        raise AssertionError(process.communicate()[1])
    if kind == "node" and not starts:
        before = stored_upto(machine.root / "data")
        deadline = time.monotonic() + 60
        while stored_upto(machine.root / "data") == before and time.monotonic() < deadline:
            time.sleep(0.01)
    time.sleep(chance.uniform(0, LONGEST_LIFE_S[kind]))
    acknowledged = durable_of(rings) if kind == "node" and not starts else 0
    machine.lose_power(process.pid, lied=kind == "lying")
    said = (first + process.communicate()[0]).splitlines(keepends=True)
    shutil.rmtree(rings)
    if kind == "node":
        assert not said or json.loads(said[0])["node"] == "default"
        return acknowledged
    # What stands in the pipe was said before the power went, but for a line that was cut.
    return max([int(line) for line in said if line.endswith("\n")], default=0)


def campaign(kind: str, cuts: int, seed: int) -> Counted:
    chance, counted = random.Random(seed), Counted()
    with private_directory() as where:
        while counted.cuts < cuts:
            with disk(chance, real=kind != "lying" or cannot_inject() is None) as machine:
                last = 0
                if kind == "lying":
                    find_the_lie(machine, live(kind, machine, where / "rings", chance), counted)
                    continue
                for _ in range(min(CUTS_OF_A_MACHINE, cuts - counted.cuts)):
                    acknowledged = live(kind, machine, where / "rings", chance)
                    counted.acknowledged = max(counted.acknowledged, acknowledged)
                    last = recover(kind, machine, max(acknowledged, last), last, counted)
    assert kind != "node" or counted.stored, "nothing was ever stored: the campaign does not reach what it is for"
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
    else:
        cuts, seed = int(words[0]), int(words[1])
        counted = campaign(kind, cuts, seed)
        form = "ext4 on a loop device" if cannot_mount() is None else f"simulated ({cannot_mount()})"
        more = f", stored up to message {counted.stored}" if kind == "node" else ""
        if kind == "lying":
            more = f", {counted.detected} losses, each refused"
            form = form if cannot_inject() is None else f"simulated ({cannot_inject()})"
        print(f"{counted.cuts} cuts, {counted.messages} messages, {counted.torn} torn tails{more}; {form}")


if __name__ == "__main__":
    main(*sys.argv[1:])
