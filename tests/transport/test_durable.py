"""Channels with a journal: what was acknowledged stays, whatever happens to processes and to shared memory."""

import asyncio
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tidebook as tb
from tests import confined
from tidebook import persistence
from tidebook._core import JournalReader
from tidebook.errors import (
    ChannelError,
    ChannelNotFoundError,
    ChannelUsageError,
    EndpointBusyError,
    JournalError,
)

NUMBER = np.dtype([("number", "<u8")])
KINDS = pytest.mark.parametrize("dtype", [NUMBER, None], ids=["records", "messages"])


def options(wal_dir: Path, **more: object) -> tb.ChannelOptions:
    asked = {"dtype": NUMBER, "buffer_size": 1 << 14, "durability": "wal", "wal_dir": wal_dir} | more
    return tb.ChannelOptions(**asked)  # type: ignore[arg-type]


def message(number: int) -> bytes:
    return number.to_bytes(8, "little")


def journaled(wal_dir: Path) -> list[int]:
    """The numbers in the journal, with their sequences checked."""
    found: list[int] = []
    reader = JournalReader(wal_dir / "numbers")
    while (taken := reader.next(1_000)) is not None:
        first, payloads = taken
        assert first == len(found) + 1
        found += [int.from_bytes(payloads[index], "little") for index in range(len(payloads))]
    return found


def test_a_relative_wal_dir_is_where_it_was_when_the_channel_was_made(
    rings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sub" / "wal" / "numbers").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    channel = tb.create_channel("numbers", options(Path("wal"), dtype=None), directory=rings)
    with tb.open_producer(channel) as producer, tb.open_consumer(channel, "reader") as consumer:
        producer.write(message(1), wait="durable")
        monkeypatch.chdir(tmp_path / "sub")
        producer.write(message(2), wait="durable")
        consumer.poll(lambda *_: None, timeout=60)
        consumer.checkpoint("sum", b"")
    assert journaled(tmp_path / "wal") == [1, 2]
    assert list((tmp_path / "sub" / "wal" / "numbers").iterdir()) == []


def test_another_wal_dir_than_the_one_its_ring_goes_on_with_is_refused_while_that_journal_is_there(
    rings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Method: the program is started in another directory, with a mistyped path, with a copy, and after a move."""
    there, elsewhere = tmp_path / "a", tmp_path / "b"
    there.mkdir()
    elsewhere.mkdir()
    monkeypatch.chdir(there)
    with tb.open_producer(tb.create_channel("numbers", options(Path("wal"), dtype=None), directory=rings)) as producer:
        producer.write(message(1), wait="durable")
    shutil.copytree(there / "wal", tmp_path / "copy")
    monkeypatch.chdir(elsewhere)
    for asked in (Path("wal"), there / "wall", tmp_path / "copy"):
        with pytest.raises(ChannelUsageError, match="has its journal in") as error:
            tb.create_channel("numbers", options(asked, dtype=None), directory=rings)
        assert error.value.facts["option"] == "wal_dir"
        assert error.value.facts["found"] == str(there / "wal" / "numbers")
        assert f"`tidebook channel rm {rings / 'numbers.ring'}`" in str(error.value)
    assert list(elsewhere.iterdir()) == []
    known = there / "wal" / "numbers"
    known.rename(there / "aside")
    known.symlink_to(known)  # which nobody can list, whoever they are
    with pytest.raises(JournalError, match=re.escape(str(known))):
        tb.create_channel("numbers", options(elsewhere / "wal", dtype=None), directory=rings)
    known.unlink()
    (there / "aside").rename(known)
    (tmp_path / "link").symlink_to(there / "wal")
    tb.create_channel("numbers", options(tmp_path / "link", dtype=None), directory=rings)
    (there / "wal").rename(elsewhere / "wal")
    with tb.open_producer(tb.create_channel("numbers", options(Path("wal"), dtype=None), directory=rings)) as producer:
        assert producer.write(message(2), wait="durable") == 2


PRODUCER = """
import sys
import numpy as np
import tidebook as tb

dtype = np.dtype([("number", "<u8")]) if sys.argv[3] == "records" else None
options = tb.ChannelOptions(dtype=dtype, buffer_size=1 << 14, durability="wal", wal_dir=sys.argv[2])
with tb.open_producer(tb.create_channel("numbers", options, directory=sys.argv[1])) as producer:
    print("ready", flush=True)
    durable = 0
    while True:
        number = producer.published + 1
        wait = "durable" if number % 50 == 0 else "published"
        producer.write(number.to_bytes(8, "little"), wait=wait)
        if wait == "durable":
            print(number, flush=True)
"""


def read(consumer: tb.Consumer, seen: int, *, may_lack: bool) -> int:
    """The last number after another batch, which follows `seen`; what a ring made anew lacks is a gap or not there."""
    taken = consumer.poll_batch(timeout=60)
    if isinstance(taken, tb.Gap):
        assert may_lack
        return taken.first + taken.count - 1
    assert isinstance(taken, tb.Batch)
    assert may_lack or taken.first_sequence == seen + 1
    with taken:
        numbers = [int.from_bytes(payload, "little") for payload in taken.messages()]
    assert numbers == list(range(taken.first_sequence, taken.first_sequence + len(numbers)))
    return numbers[-1]


def kill_producers(rings: Path, wal_dir: Path, dtype: np.dtype | None, kills: int, *, reboot: bool) -> None:
    """Method: each is killed after its second acknowledgement; with `reboot` shared memory is lost too."""
    tb.create_channel("numbers", options(wal_dir, dtype=dtype), directory=rings)
    seen = acknowledged = 0
    for _ in range(kills):
        command = [sys.executable, "-c", PRODUCER, str(rings), str(wal_dir), "records" if dtype else "messages"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "ready\n"
            with tb.open_consumer("numbers", "reader", directory=rings) as consumer:
                for _ in range(2):
                    acknowledged = int(process.stdout.readline())
                    while seen < acknowledged:
                        seen = read(consumer, seen, may_lack=reboot)
        finally:
            process.send_signal(signal.SIGKILL)
            with process.stdout:
                said = process.stdout.read()
            process.wait(60)
        acknowledged = max([acknowledged, *map(int, said.split())])
        if reboot:
            (rings / "numbers.ring").unlink()
    channel = tb.create_channel("numbers", options(wal_dir, dtype=dtype), directory=rings)
    with tb.open_producer(channel) as producer:
        published = producer.published
    assert published >= acknowledged
    assert journaled(wal_dir) == list(range(1, published + 1))


@KINDS
def test_what_a_killed_producer_had_published_is_journaled_and_read_once(
    rings: Path, tmp_path: Path, dtype: np.dtype | None
) -> None:
    kill_producers(rings, tmp_path, dtype, kills=3, reboot=False)


def test_what_was_acknowledged_is_in_the_journal_when_shared_memory_is_lost_too(rings: Path, tmp_path: Path) -> None:
    kill_producers(rings, tmp_path, NUMBER, kills=2, reboot=True)


def test_consumers_see_what_is_synced_and_a_peek_what_is_published(rings: Path, tmp_path: Path) -> None:
    channel = tb.create_channel("numbers", options(tmp_path, journal_sync_interval_ms=20), directory=rings)
    with (
        tb.open_producer(channel) as producer,
        tb.open_consumer(channel, "reader") as consumer,
        tb.open_consumer(channel, "ahead", peek=True) as ahead,
    ):
        for number in range(1, 20):
            assert producer.write(message(number)) == number
            early = ahead.poll_batch()
            assert isinstance(early, tb.Batch)
            assert early.sequences.tolist() == [number]
            batch = consumer.poll_batch(timeout=60)
            assert isinstance(batch, tb.Batch)
            assert batch.sequences.tolist() == [number]
            assert producer.guarantee()["durable"] >= number
        assert producer.write(message(20), wait="durable") == 20
        assert channel.ring.durable == 20
        assert producer.write_batch([message(21), message(22)], wait="durable") == 22
        assert channel.ring.durable == 22
        producer.write(message(23))
        assert producer.flush() == 23
        assert channel.ring.durable == 23
        assert producer.guarantee()["text"].startswith("wal, synced every 20 ms, durable up to 23 of 23 in ")
    assert journaled(tmp_path) == list(range(1, 24))


async def test_a_task_is_woken_when_a_message_is_synced(rings: Path, tmp_path: Path) -> None:
    channel = tb.create_channel("numbers", options(tmp_path), directory=rings)
    with tb.open_producer(channel) as producer, tb.open_consumer(channel, "reader") as consumer:
        waiting = asyncio.create_task(consumer.next_batch())
        await asyncio.sleep(0)
        producer.write(message(1))
        batch = await asyncio.wait_for(waiting, 60)
        assert isinstance(batch, tb.Batch)
        assert channel.ring.durable == 1


def test_whether_a_slow_disk_may_be_behind_is_told(rings: Path, tmp_path: Path) -> None:
    for size_bytes, told in ((1 << 20, None), (0, "staging_size_bytes is 0")):
        channel = tb.create_channel("numbers", options(tmp_path, staging_size_bytes=size_bytes), directory=rings)
        with tb.open_producer(channel) as producer:
            assert producer.guarantee()["no_staging"] == told


def test_a_durable_channel_has_one_producer_who_runs_its_journal(rings: Path, tmp_path: Path) -> None:
    channel = tb.create_channel("numbers", options(tmp_path), directory=rings)
    with pytest.raises(ChannelUsageError, match="is durable and nobody runs its journal"):
        tb.open_producer("numbers", directory=rings)
    with tb.open_producer(channel) as producer:
        assert producer.recovery == "next sequence 1, 0 messages from the ring"
        with pytest.raises(EndpointBusyError, match="has a living producer: it runs the journal"):
            tb.open_producer(tb.create_channel("numbers", options(tmp_path), directory=rings))
        producer.write(message(1))
    with tb.open_producer(channel) as producer:
        assert producer.published == 1
        assert producer.recovery == "next sequence 2, 0 messages from the ring"


def test_the_name_of_the_journal_is_nobody_elses_on_a_durable_channel(rings: Path, tmp_path: Path) -> None:
    channel = tb.create_channel("numbers", options(tmp_path), directory=rings)
    with pytest.raises(ChannelUsageError, match="name = 'journal': on a durable channel that is its journal's"):
        tb.open_consumer(channel, "journal")
    memory = tb.create_channel("others", tb.ChannelOptions(dtype=NUMBER), directory=rings)
    with tb.open_consumer(memory, "journal") as consumer:
        assert consumer.poll_batch() is None


def test_a_message_written_after_its_journal_was_removed_is_never_acknowledged_and_stays_in_the_ring(
    rings: Path, tmp_path: Path
) -> None:
    channel = tb.create_channel("numbers", options(tmp_path), directory=rings)
    producer = tb.open_producer(channel)
    producer.write(message(1), wait="durable")
    shutil.rmtree(tmp_path / "numbers")
    with pytest.raises(JournalError, match="has stopped at 1"):
        producer.write(message(2), wait="durable")
    with pytest.raises(JournalError):
        producer.close()
    with pytest.raises(ChannelError, match=r"never synced \(1\)"):
        tb.open_producer(channel)
    assert channel.ring.published == 2


def test_a_journal_that_stops_is_told_to_who_writes_and_nothing_more_is_acknowledged(
    rings: Path, tmp_path: Path
) -> None:
    channel = tb.create_channel("numbers", options(tmp_path), directory=rings)
    producer = tb.open_producer(channel)
    producer.write(message(1), wait="durable")
    shutil.rmtree(tmp_path / "numbers")
    number = 2
    with pytest.raises(JournalError, match="has stopped at"):  # noqa: PT012 - it is noticed within seconds
        while True:
            producer.write(message(number), wait="durable")
            number += 1
    durable = channel.ring.durable
    with pytest.raises(JournalError, match="has stopped at"):
        producer.write(message(number))
    with pytest.raises(JournalError, match="has stopped at"):
        producer.write_batch([message(number)])
    with pytest.raises(JournalError):
        producer.flush()
    with pytest.raises(JournalError):
        producer.close()
    assert channel.ring.durable == durable


FORKING = """
import os
import signal
import sys
import tidebook as tb

channel = tb.create_channel("numbers", {"durability": "wal", "wal_dir": sys.argv[2]}, directory=sys.argv[1])
producer = tb.open_producer(channel)
producer.write(b"of the parent", wait="durable")
child = os.fork()
"""


def forking(rings: Path, wal_dir: Path, then: str) -> subprocess.Popen[str]:
    """A process that opens a durable channel, forks, and goes on with this in both."""
    command = [sys.executable, "-W", "ignore", "-c", FORKING + then, str(rings), str(wal_dir)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


KILLED_WITH_A_CHILD = """
if child:
    print(child, flush=True)
    signal.pause()
sys.stdin.read()
"""

CLOSED_WITH_A_CHILD = """
if child:
    producer.close()
    print(child, flush=True)
    signal.pause()
sys.stdin.read()
"""


@pytest.mark.parametrize("then", [KILLED_WITH_A_CHILD, CLOSED_WITH_A_CHILD], ids=["killed", "closed"])
def test_a_journal_whose_owner_is_gone_opens_while_a_child_it_forked_lives(
    rings: Path, tmp_path: Path, then: str
) -> None:
    process = forking(rings, tmp_path, then)
    assert process.stdout is not None
    child = int(process.stdout.readline())
    if then == KILLED_WITH_A_CHILD:
        process.kill()
        process.wait(60)
    try:
        channel = tb.create_channel("numbers", {"durability": "wal", "wal_dir": tmp_path}, directory=rings)
        with tb.open_producer(channel) as producer:
            assert producer.write(b"of the next", wait="durable") == 2
        os.kill(child, 0)
    finally:
        process.kill()
        process.communicate()


CHILDREN = {
    "closes": "producer.close()",
    "forgets": "del producer",
    "ends": "sys.exit(0)",
    "writes": """
assert "forked from the one that runs it" in producer.guarantee()["failure"]
try:
    producer.write(b"of the child")
except (tb.errors.EndpointLostError, tb.errors.JournalError) as error:
    assert "fork" in str(error), error
else:
    raise SystemExit("written")
""",
}


@pytest.mark.parametrize("act", CHILDREN.values(), ids=CHILDREN)
def test_a_forked_child_leaves_the_journal_of_its_parent_alone(rings: Path, tmp_path: Path, act: str) -> None:
    parent = """
if child:
    _, status = os.waitpid(child, 0)
    assert status == 0, status
    assert producer.write(b"of the parent still", wait="durable") == 2
    producer.close()
    sys.exit(0)
"""
    process = forking(rings, tmp_path, parent + act)
    _, said = process.communicate(timeout=60)
    assert (process.returncode, said) == (0, "")


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"durability": "replicated"}, "durability = 'replicated': replication is not built; use durability wal"),
        ({"replication": "tcp://127.0.0.1:1"}, "replication = 'tcp://127.0.0.1:1': replication is not built"),
        ({"durability": "disk"}, "durability = 'disk': must be memory or wal"),
        ({"durability": "wal"}, "wal_dir = None: durability wal needs the directory"),
        ({"wal_dir": "journals"}, "wal_dir = 'journals': only durability wal has a journal"),
        ({"durability": "wal", "wal_dir": "journals", "mode": "mpsc"}, "mode = 'mpsc': a journaled channel has one"),
        ({"durability": "wal", "wal_dir": "journals", "journal_sync_interval_ms": 0}, "must be from 1 to 86400000"),
        ({"staging_size_bytes": -1}, "staging_size_bytes = -1: must be from 0 to"),
        (
            {"durability": "wal", "wal_dir": "journals", "group": 0},
            "group = 0: a journaled channel is its user's alone",
        ),
        ({"db_backend": "rocksdb"}, "db_backend = 'rocksdb': the only one is lmdb"),
        ({"snapshot_interval_ms": 100}, "snapshot_interval_ms = 100: cursors are stored for a journal"),
        ({"durability": "wal", "wal_dir": "journals", "snapshot_interval_ms": 0}, "must be from 1 to 86400000"),
        ({"buffer_file": "/dev/shm/{name}"}, r"buffer_file = '/dev/shm/\{name\}': must end with /\{name\}.ring"),
        ({"dtype": NUMBER, "schema": "trades"}, "schema = 'trades': the records have a dtype already"),
        ({"bufer_size": 4096}, "bufer_size is no option of a channel; did you mean buffer_size?"),
        ({"colour": "red"}, "colour is no option of a channel; there are dtype, schema, buffer_size"),
        ({"schema": "candles"}, "schema = 'candles' is not published"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_not_built_or_contradicts_itself_is_refused_by_name(
    rings: Path, asked: dict[str, Any], told: str
) -> None:
    with pytest.raises(ChannelUsageError, match=told) as error:
        tb.create_channel("numbers", asked, directory=rings)
    assert "\n" not in str(error.value)
    assert list(rings.iterdir()) == []


def test_options_are_also_a_mapping_and_say_where_ring_and_journal_are(rings: Path, tmp_path: Path) -> None:
    asked = {
        "dtype": NUMBER,
        "buffer_file": f"{rings}/own/{{name}}.ring",
        "durability": "wal",
        "wal_dir": f"{tmp_path}/{{name}}/wal",
        "db_backend": "lmdb",
    }
    channel = tb.create_channel("numbers", asked)
    assert channel.path == rings / "own/numbers.ring"
    assert (tmp_path / "numbers/wal").is_dir()
    assert tb.open_channel("numbers", directory=rings / "own").ring.epoch == channel.ring.epoch
    with pytest.raises(ChannelUsageError, match="buffer_file and directory both say where the ring is"):
        tb.create_channel("numbers", asked, directory=rings)


def test_a_channel_is_not_taken_for_one_of_another_durability(rings: Path, tmp_path: Path) -> None:
    memory = tb.create_channel("numbers", tb.ChannelOptions(dtype=NUMBER), directory=rings)
    with pytest.raises(ChannelUsageError, match="is there with durability memory, asked for was wal"):
        tb.create_channel("numbers", options(tmp_path), directory=rings)
    with tb.open_producer(memory) as producer:
        producer.write(message(1))
        assert producer.flush() == 1
        assert producer.guarantee()["text"].startswith("memory, published up to 1: survives the death of any process")
        with pytest.raises(ChannelUsageError, match="has no journal here; make it with durability wal"):
            producer.write(message(2), wait="durable")
        with pytest.raises(ChannelUsageError, match="wait = 'later' is none of published, durable"):
            producer.write(message(2), wait="later")  # type: ignore[arg-type]
        assert producer.published == 1
    with pytest.raises(ChannelUsageError, match="policy = spill: this channel has no journal"):
        tb.open_consumer(memory, policy="spill")
    memory.remove()
    tb.create_channel("numbers", options(tmp_path), directory=rings)
    with pytest.raises(ChannelUsageError, match="is there with durability wal, asked for was memory"):
        tb.create_channel("numbers", tb.ChannelOptions(dtype=NUMBER), directory=rings)


OLD = np.dtype([("px", "<i8"), ("qty", "<i8")])
LAYOUTS = {
    "another type": (
        np.dtype([("ratio", "<f8"), ("qty", "<i8")]),
        "ratio: f8 at byte 0 expected, not in the journal; px: i8 at byte 0 in the journal, not expected",
    ),
    "another size": (
        np.dtype({"names": ["px", "qty"], "formats": ["<i8", "<i8"], "offsets": [0, 8], "itemsize": 24}),
        "24 bytes a record expected, 16 in the journal",
    ),
    "plain messages": (None, "plain messages expected, records of px, qty in the journal"),
}


def reboot(rings: Path) -> None:
    """Shared memory is lost."""
    for file in rings.iterdir():
        file.unlink()


@pytest.mark.parametrize("case", LAYOUTS)
def test_a_journal_of_another_layout_is_refused_by_its_fields_after_its_ring_is_gone(
    rings: Path, tmp_path: Path, case: str
) -> None:
    """Method: the ring's file is removed, as a reboot does; then the right program still finds what it left."""
    layout, told = LAYOUTS[case]
    channel = tb.create_channel("numbers", options(tmp_path, dtype=OLD), directory=rings)
    with tb.open_producer(channel) as producer:
        producer.write_batch(np.array([(1, 2), (3, 4), (5, 6)], OLD), wait="durable")
    reboot(rings)
    before = sorted((path.name, path.read_bytes()) for path in (tmp_path / "numbers").iterdir() if path.is_file())
    with pytest.raises(ChannelUsageError) as error:
        tb.create_channel("numbers", options(tmp_path, dtype=layout), directory=rings)
    assert str(error.value) == (
        f"channel numbers is there with another layout ({told}): its journal is {tmp_path / 'numbers'}; "
        "use its layout or another name"
    )
    assert not list(rings.glob("*.ring"))
    assert before == sorted(
        (path.name, path.read_bytes()) for path in (tmp_path / "numbers").iterdir() if path.is_file()
    )
    again = tb.create_channel("numbers", options(tmp_path, dtype=OLD), directory=rings)
    with tb.open_producer(again) as producer, tb.open_consumer(again, start="earliest") as consumer:
        assert producer.published == 3
        batch = consumer.poll_batch(timeout=60)
        assert isinstance(batch, tb.Batch)
        assert batch.array["px"].tolist() == [1, 3, 5]


def test_a_journal_of_plain_messages_is_no_journal_of_records(rings: Path, tmp_path: Path) -> None:
    channel = tb.create_channel("numbers", options(tmp_path, dtype=None), directory=rings)
    with tb.open_producer(channel) as producer:
        producer.write(b"eight by", wait="durable")
    reboot(rings)
    with pytest.raises(ChannelUsageError, match="records of number expected, plain messages in the journal"):
        tb.create_channel("numbers", options(tmp_path), directory=rings)


def test_who_opens_a_channel_by_name_after_a_reboot_is_told_who_makes_its_ring(rings: Path, tmp_path: Path) -> None:
    tb.create_channel("numbers", options(tmp_path), directory=rings)
    reboot(rings)
    with pytest.raises(ChannelNotFoundError) as error:
        tb.open_consumer("numbers", directory=rings)
    told = "or make it with create_channel; after a reboot that makes a durable channel's ring anew from its journal"
    assert str(error.value).endswith(told)


def test_a_journal_that_was_put_back_by_hand_gives_no_number_twice_in_one_epoch(
    rings: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Method: `cp -a` of an older copy while shared memory is lost; a move to another place, adopted; and with the ring still there."""
    wal, older = tmp_path / "wal", tmp_path / "older"
    asked = options(wal, dtype=None)

    def written(*numbers: int) -> int:
        """The epoch they were written in."""
        channel = tb.create_channel("numbers", asked, directory=rings)
        with tb.open_producer(channel) as producer:
            for number in numbers:
                assert producer.write(message(number), wait="durable") == number
        return tb.open_channel("numbers", directory=rings).ring.epoch

    def copy(source: Path, target: Path) -> None:
        subprocess.run(["cp", "-a", str(source), str(target)], check=True)

    first = written(1, 2, 3)
    copy(wal, older)
    assert written(4, 5) == first
    shutil.rmtree(wal)
    copy(older, wal)
    # The ring of this boot has what the copy lacks: nothing is lost. Nothing in it says that nobody has gone on without it.
    with_ring = written(6)
    assert with_ring >> 32 > first >> 32
    assert journaled(wal) == [1, 2, 3, 4, 5, 6]
    assert "was put back from a copy" in caplog.text
    tb.open_channel("numbers", directory=rings).remove()
    shutil.rmtree(wal)
    copy(older, wal)
    second = written(4)
    assert second >> 32 > first >> 32
    assert second != with_ring
    assert second & 0xFFFFFFFF == first & 0xFFFFFFFF
    assert written(5) == second
    tb.open_channel("numbers", directory=rings).remove()
    copy(wal, tmp_path / "moved")
    shutil.rmtree(wal)
    (tmp_path / "moved").rename(wal)
    adopted = subprocess.run(
        [sys.executable, "-m", "tidebook", "journal", "adopt", str(wal / "numbers")], capture_output=True, text=True
    )
    assert adopted.stdout == f"{wal / 'numbers'}: keeps epoch {second >> 32}, behind message 5\n", adopted.stderr
    assert written(6) == second


@pytest.mark.parametrize("restored", [False, True], ids=["copied by hand", "restored"])
def test_two_nodes_that_go_on_by_turns_with_a_copy_give_no_number_twice_in_one_epoch(
    rings: Path, tmp_path: Path, restored: bool
) -> None:
    """Method: the copy is of what the first node wrote, the second goes on, the copy is put back, and the first goes on beside its ring,
    which has all that the copy has and knows nothing of the second.
    """
    data, copy = tmp_path / "data", tmp_path / "copy"
    given: dict[tuple[int, int], bytes] = {}

    def goes_on(node: str, *messages: bytes) -> None:
        channel = tb.create_channel(
            "orders", {"durability": "wal", "wal_dir": data / "journal"}, directory=rings / node
        )
        with tb.open_producer(channel) as producer:
            epoch = producer.channel.ring.epoch
            for text in messages:
                sequence = producer.write(text, wait="durable")
                assert isinstance(sequence, int)
                place = (epoch, sequence)
                assert place not in given, f"{text!r} and {given[place]!r} have one number"
                given[place] = text

    def run(*words: str | Path) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "tidebook", *map(str, words)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    def tidebook(*words: str | Path) -> None:
        done = run(*words)
        assert done.returncode == 0, done.stderr

    goes_on("first", b"a1", b"a2", b"a3")
    if restored:
        tidebook("backup", copy, "--data", data)
    else:
        subprocess.run(["cp", "-a", str(data), str(copy)], check=True)
    goes_on("second", b"b1", b"b2")
    shutil.rmtree(data)
    if restored:
        tidebook("restore", copy, "--data", data)
    else:
        subprocess.run(["cp", "-a", str(copy), str(data)], check=True)
    goes_on("first", b"c1", b"c2", b"c3")
    # The ring of the second is the only place of b1 and b2 by now, and their numbers have others in the journal.
    ring = rings / "second" / "orders.ring"
    with pytest.raises(
        ChannelError, match=r"messages up to 5 to be durable, and the journal has others in their place"
    ):
        goes_on("second", b"refused")
    refused = run("channel", "rm", ring)
    assert refused.returncode == 2
    assert "knows 2 messages that its journal" in refused.stderr
    assert "has others in their place" in refused.stderr
    assert ring.exists()
    given_up = run("channel", "rm", ring, "--lose-unjournaled")
    assert "with 2 messages not in its journal" in given_up.stdout, given_up.stderr
    goes_on("second", b"d1")
    goes_on("first", b"e1")
    assert sorted(given.values()) == [b"a1", b"a2", b"a3", b"b1", b"b2", b"c1", b"c2", b"c3", b"d1", b"e1"]
    held = [bytes(message) for _, message in persistence.read(data / "journal" / "orders")]
    assert held == [b"a1", b"a2", b"a3", b"c1", b"c2", b"c3", b"d1", b"e1"]


READ_ONLY = """
import sys
import tidebook as tb
from tests import confined
from tidebook import persistence
confined.read_only()
journal = sys.argv[1]
print([bytes(message) for _, message in persistence.read(journal)])
try:
    persistence.adopt(journal)
except tb.errors.JournalError as error:
    print(error)
"""


def test_on_a_read_only_file_system_a_journal_is_read_and_who_would_write_it_is_told_that(
    rings: Path, tmp_path: Path
) -> None:
    """Method: the kernel answers each opening to write as such a file system does."""
    with tb.open_producer(tb.create_channel("numbers", options(tmp_path, dtype=None), directory=rings)) as producer:
        producer.write(b"one", wait="durable")
    read, refused = confined.run(READ_ONLY, tmp_path / "numbers").splitlines()
    assert read == "[b'one']"
    place = f"lock {tmp_path}/numbers/lock: the file system is read-only"
    assert refused.startswith(place)
    assert "`tidebook journal ls`, `dump` and `export`" in refused


KILLED = """
import os, signal, sys
import tidebook as tb
options = {"durability": "wal", "wal_dir": sys.argv[1], "journal_sync_interval_ms": 86_400_000}
producer = tb.open_producer(tb.create_channel("numbers", options, node="first"))
for number in range(1, 6):
    producer.write(number.to_bytes(8, "little"))
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_journal_is_refused_to_a_node_while_the_ring_of_another_holds_what_was_never_synced(
    rings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their numbers would be given to other messages. The first node journals its own at its next start, and then both go on."""
    monkeypatch.setenv("TIDEBOOK_RINGS", str(rings))
    wal = {"durability": "wal", "wal_dir": tmp_path}
    killed = subprocess.run([sys.executable, "-c", KILLED, tmp_path], check=False)
    assert killed.returncode == -signal.SIGKILL
    with pytest.raises(
        ChannelError, match=r"first/numbers\.ring of another node too, which holds 5 messages that were"
    ):
        tb.create_channel("numbers", wal, node="second")
    assert not (rings / "second" / "numbers.ring").exists()
    with tb.open_producer(tb.create_channel("numbers", wal, node="first")) as producer:
        assert "5 messages from the ring" in str(producer.recovery)
    with tb.open_producer(tb.create_channel("numbers", wal, node="second")) as producer:
        assert producer.write(message(6), wait="durable") == 6
    with tb.open_producer(tb.create_channel("numbers", wal, node="first")) as producer:
        assert producer.write(message(7), wait="durable") == 7
    assert journaled(tmp_path) == list(range(1, 8))


def test_what_another_nodes_ring_holds_unsynced_can_be_given_up(
    rings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TIDEBOOK_RINGS", str(rings))
    subprocess.run([sys.executable, "-c", KILLED, tmp_path], check=False)
    ring = str(rings / "first/numbers.ring")
    removed = [sys.executable, "-m", "tidebook", "channel", "rm", ring, "--lose-unjournaled"]
    subprocess.run(removed, check=True, capture_output=True)
    with tb.open_producer(
        tb.create_channel("numbers", {"durability": "wal", "wal_dir": tmp_path}, node="second")
    ) as producer:
        assert producer.write(message(1), wait="durable") == 1
    assert journaled(tmp_path) == [1]


def test_a_producer_is_opened_again_while_its_consumers_have_all_other_places(rings: Path, tmp_path: Path) -> None:
    """Of sixteen places one is its journal's, which needs no other to go on with the ring."""
    asked = options(tmp_path, dtype=None)
    channel = tb.create_channel("numbers", asked, directory=rings)
    with tb.open_producer(channel) as producer:
        producer.write(message(1), wait="durable")
    consumers = [tb.open_consumer(channel, f"reader {number}", start=1) for number in range(15)]
    with tb.open_producer(channel) as producer:
        assert producer.write(message(2), wait="durable") == 2
    with pytest.raises(EndpointBusyError) as error:
        tb.open_consumer(channel, "one more")
    assert error.value.facts["max"] == 16
    for consumer in consumers:
        consumer.close()
    with tb.open_producer(tb.create_channel("numbers", asked, directory=rings)) as producer:
        assert producer.write(message(3), wait="durable") == 3
    assert journaled(tmp_path) == [1, 2, 3]
