"""`tidebook channel doctor` and `cursor`: who is in the way is named, with what to do; what is well is left alone."""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tidebook as tb
from tests.cli.conftest import Shown
from tidebook.observe import machine
from tidebook.observe.machine import examine_machine
from tidebook.observe.processes import process as process_of
from tidebook.transport.doctor import examine_files
from tidebook.transport.view import channel_files

Run = Callable[..., Shown]
Start = Callable[..., Any]

TICK = np.dtype([("price", "<i8"), ("size", "<i8")])

HOLD = """
import sys, tidebook as tb
with tb.open_producer("orders", directory=sys.argv[1]) as producer:
    producer.write(b"first")
    with producer.claim(8):
        print("held", flush=True)
        sys.stdin.read()
"""
READ = """
import sys, tidebook as tb
after = None if sys.argv[3] == "never" else float(sys.argv[3])
with tb.open_consumer(sys.argv[2], "other", directory=sys.argv[1], start="earliest", detach_after_s=after):
    print("joined", flush=True)
    sys.stdin.read()
"""
WRITE = """
import sys, tidebook as tb
with tb.open_producer(sys.argv[2], directory=sys.argv[1]):
    print("opened", flush=True)
    sys.stdin.read()
"""

JOIN = """
import fcntl, os, struct, sys, tidebook as tb
channel = tb.open_channel("orders", directory=sys.argv[1])
with channel.path.open("r+b") as file:
    # One byte at `joins` (docs/formats/ring.md): what who joins holds for microseconds.
    fcntl.fcntl(file, fcntl.F_OFD_SETLK, struct.pack("hhxxxxqqixxxx", fcntl.F_WRLCK, os.SEEK_SET, 4352, 1, 0))
    print("joining", flush=True)
    sys.stdin.read()
"""


def stop(child: Any) -> None:
    """Stops a process and waits until the kernel says that it is."""
    os.kill(child.pid, signal.SIGSTOP)
    os.waitpid(child.pid, os.WUNTRACED)


@pytest.fixture
def directory(root: Path) -> Path:
    return root / "default"


def problems(shown: Shown) -> list[dict[str, Any]]:
    return [one for one in shown.json["channels"] if one["level"] == "problem"]


def test_a_stopped_producer_with_an_open_claim_is_named_with_its_process(
    directory: Path, tidebook: Run, process: Start
) -> None:
    channel = tb.create_channel("orders", tb.ChannelOptions(mode="mpsc"), directory=directory)
    holder = process(HOLD, str(directory))
    with tb.open_producer(channel) as other, tb.open_consumer(channel, "engine", start="earliest"):
        other.write(b"behind")
        stop(holder)
        shown = tidebook("channel", "doctor", "--json")
        (found,) = problems(shown)
        assert shown.code == 1
        assert (found["subject"], found["short"]) == ("orders", "stopped claim")
        facts = {"sequence": 2, "line": 0, "process_id": holder.pid, "stopped": True}
        assert found["facts"] == facts
        assert f"message 2 is claimed and not committed: its producer, process {holder.pid} (" in found["what"]
        assert "import sys, tidebook as tb" in found["what"]
        assert f"kill -CONT {holder.pid}" in found["remedy"]
        text = tidebook("channel", "doctor")
        assert (text.code, text.out.splitlines()[-1]) == (1, "1 problem")
        assert f"process {holder.pid}" in text.out
        assert "stopped claim" in tidebook("channel", "ls").out
        os.kill(holder.pid, signal.SIGCONT)


def test_a_claim_that_is_only_kept_and_one_of_a_dead_producer_are_told_apart(
    directory: Path, tidebook: Run, process: Start
) -> None:
    channel = tb.create_channel("orders", tb.ChannelOptions(mode="mpsc"), directory=directory)
    holder = process(HOLD, str(directory))
    (kept,) = problems(tidebook("channel", "doctor", "--json"))
    assert (kept["short"], kept["facts"]["process_id"]) == ("slow claim", holder.pid)
    holder.kill()
    holder.wait()
    (dead,) = problems(tidebook("channel", "doctor", "--json"))
    assert (dead["short"], dead["facts"]["dead"]) == ("dead claim", True)
    # What it says to do heals it.
    with tb.open_producer(channel) as producer:
        producer.write(b"goes on")
        assert problems(tidebook("channel", "doctor", "--json")) == []


def test_who_was_stopped_while_he_joined_is_named(directory: Path, tidebook: Run, process: Start) -> None:
    tb.create_channel("orders", directory=directory)
    child = process(JOIN, str(directory))
    stop(child)
    shown = tidebook("channel", "doctor", "orders", "--json")
    (found,) = problems(shown)
    assert found["short"] == "door held"
    assert found["facts"]["process_ids"] == [child.pid]
    assert f"kill -CONT {child.pid}" in found["remedy"]
    child.kill()
    child.wait()
    assert problems(tidebook("channel", "doctor", "orders", "--json")) == []


def test_stopped_consumers_and_producers_are_named(directory: Path, tidebook: Run, process: Start) -> None:
    tb.create_channel("ticks", tb.ChannelOptions(dtype=TICK), directory=directory)
    writer, reader = process(WRITE, str(directory), "ticks"), process(READ, str(directory), "ticks", "10")
    assert tidebook("channel", "doctor", "--json").json["channels"] == []
    stop(writer)
    stop(reader)
    found = problems(tidebook("channel", "doctor", "--json"))
    assert [(one["short"], one["facts"]["process_id"]) for one in found] == [
        ("stopped producer", writer.pid),
        ("stopped consumer", reader.pid),
    ]
    assert "producers wait for it when the ring is full" in found[1]["what"]


@pytest.mark.parametrize(("after", "level"), [("10", "note"), ("never", "problem")])
def test_an_absent_consumer_that_is_waited_for_is_named_with_how_long(
    directory: Path, tidebook: Run, process: Start, after: str, level: str
) -> None:
    channel = tb.create_channel("ticks", tb.ChannelOptions(dtype=TICK, buffer_size=4096), directory=directory)
    reader = process(READ, str(directory), "ticks", after)
    with tb.open_producer(channel) as producer:
        reader.kill()
        reader.wait()
        producer.write_batch(np.zeros(10, TICK))
        (found,) = tidebook("channel", "doctor", "ticks", "--json").json["channels"]
        assert (found["level"], found["short"], found["facts"]["lag"]) == (level, "absent consumer", 10)
        assert ("for ever" in found["what"]) == (after == "never")
        assert "tidebook channel cursor remove ticks other" in found["remedy"]
        # Full, it is one that others wait for.
        producer.write_batch(np.zeros(1000, TICK), timeout=0.0)
        (full,) = tidebook("channel", "doctor", "ticks", "--json").json["channels"]
        assert (full["level"], full["facts"]["lag"]) == ("problem", channel.ring.capacity)
        assert tidebook("channel", "cursor", "remove", "ticks", "other").code == 0
        assert tidebook("channel", "doctor", "ticks", "--json").json["channels"] == []


def test_who_left_a_channel_that_nobody_writes_is_in_nobodys_way(directory: Path, tidebook: Run) -> None:
    """Neither `with` that ends a named consumer nor one that ends a durable channel is anything to mend."""
    ticks = tb.create_channel("ticks", {"dtype": TICK}, directory=directory)
    orders = tb.create_channel("orders", {"durability": "wal", "wal_dir": str(directory / "wal")}, directory=directory)
    for channel, message in ((ticks, bytes(TICK.itemsize)), (orders, b"buy")):
        with tb.open_producer(channel) as producer, tb.open_consumer(channel, "notebook", start="earliest"):
            producer.write(message)
    shown = tidebook("channel", "doctor", "--json")
    assert [(one["subject"], one["level"], one["short"]) for one in shown.json["channels"]] == [
        ("orders", "note", "nobody"),
        ("ticks", "note", "nobody"),
    ]
    assert shown.code == 0 or any(one["level"] == "problem" for one in shown.json["machine"])
    for command in (("remove",), ("reset", "--start", "latest")):
        refused = tidebook("channel", "cursor", command[0], "orders", "journal", *command[1:])
        assert refused.code == 2
        assert "journal of orders is its journal" in refused.err


def test_what_a_killed_producer_left_beside_its_journal_is_told_with_what_to_do(directory: Path, tidebook: Run) -> None:
    """Method: the two looks given by hand, with a journal that has not read and is not open."""
    from tidebook.transport.doctor import channel_findings
    from tidebook.transport.view import ChannelView, find_channel

    orders = tb.create_channel("orders", {"durability": "wal", "wal_dir": str(directory / "wal")}, directory=directory)
    with tb.open_producer(orders) as producer:
        producer.write(b"buy", wait="durable")
    view = ChannelView(find_channel("orders"))
    status = view.status()
    (journal,) = status["consumers"]
    journal["lag"] = 3
    told = channel_findings(view, status, status)
    assert [(one.level, one.short) for one in told] == [("note", "not on disk"), ("note", "nobody")]
    assert told[0].what == "3 messages of the ring are not in the journal yet"
    assert "cursor" not in told[0].remedy
    (unread,) = channel_findings(view, status, status | {"producer_alive": True})
    assert (unread.level, unread.short) == ("problem", "not journaled")


def test_a_consumer_that_does_not_read_is_told_from_one_that_is_slow(directory: Path) -> None:
    """Method: the two looks given by hand: with and without a step between them."""
    from tidebook.transport.doctor import channel_findings
    from tidebook.transport.view import ChannelView, find_channel

    channel = tb.create_channel("ticks", tb.ChannelOptions(dtype=TICK, buffer_size=4096), directory=directory)
    with tb.open_producer(channel) as producer, tb.open_consumer(channel, "reader") as reader:
        producer.write_batch(np.zeros(channel.ring.capacity, TICK))
        view = ChannelView(find_channel("ticks"))
        before = view.status()
        (idle,) = channel_findings(view, before, view.status())
        assert (idle.level, idle.short) == ("problem", "idle consumer")
        batch = reader.poll_batch(3)
        assert isinstance(batch, tb.Batch)
        batch.release()
        (slow,) = channel_findings(view, before, view.status())
        assert (slow.level, slow.short) == ("note", "slow consumer")


def test_losses_and_damage_that_consumers_met_are_told(directory: Path) -> None:
    from tidebook.transport.doctor import channel_findings
    from tidebook.transport.view import ChannelView, find_channel

    channel = tb.create_channel("ticks", tb.ChannelOptions(dtype=TICK, buffer_size=2048), directory=directory)
    consumer = tb.open_consumer(channel, "lossy", policy="overwrite", start="earliest")
    with tb.open_producer(channel) as producer, consumer:
        view = ChannelView(find_channel("ticks"))
        before = view.status()
        producer.write_batch(np.zeros(500, TICK))
        assert isinstance(consumer.poll_batch(), tb.Gap)
        (losing,) = channel_findings(view, before, view.status())
        assert (losing.level, losing.short) == ("note", "losing")
        assert channel_findings(view, view.status(), view.status()) == [], "not told again when it is over"
        stride, count = channel.ring.slot[1], channel.ring.capacity
        offset = channel.path.stat().st_size - stride * count + consumer.next_sequence % count * stride + 20
        with channel.path.open("r+b") as file:
            file.seek(offset)
            file.write(b"\x01")
        with pytest.raises(tb.errors.CorruptMessageError):
            consumer.poll_batch()
        (damage,) = channel_findings(view, view.status(), view.status())
        assert (damage.level, damage.short) == ("problem", "damage")


def test_rings_that_cannot_be_used_or_that_others_can_write_are_named(directory: Path, tidebook: Run) -> None:
    for name in ("older", "writable", "fine", "another boot"):
        tb.create_channel(name.replace(" ", "-"), directory=directory)
    (directory / "junk.ring").write_bytes(b"x" * 9000)
    (directory / "writable.ring").chmod(0o620)
    with (directory / "older.ring").open("r+b") as file:
        file.seek(8)
        file.write(b"\x01")
    superblock = bytearray((directory / "another-boot.ring").read_bytes()[:4096])
    superblock[80] ^= 1
    superblock[4092:] = crc32c(bytes(superblock[:4092])).to_bytes(4, "little")
    with (directory / "another-boot.ring").open("r+b") as file:
        file.write(superblock)
    shown = tidebook("channel", "doctor", "--json")
    found = {one["subject"]: one for one in problems(shown)}
    assert (shown.code, sorted(found)) == (1, ["another-boot", "junk", "older", "writable"])
    assert "was made before the last boot" in found["another-boot"]["what"]
    assert "has layout version 1, this release reads 2" in found["older"]["what"]
    assert found["writable"]["short"] == "others can write"
    assert f"chmod go-w {directory}/writable.ring" in found["writable"]["remedy"]
    assert f"rm {directory}/junk.ring" in found["junk"]["remedy"]
    nobody = [one for one in shown.json["channels"] if one["short"] == "nobody"]
    assert [one["subject"] for one in nobody] == ["fine", "writable"]


def crc32c(data: bytes) -> int:
    """Bit by bit, as the standard says it."""
    state = 0xFFFF_FFFF
    for byte in data:
        state ^= byte
        for _ in range(8):
            state = state >> 1 ^ (0x82F6_3B78 if state & 1 else 0)
    return state ^ 0xFFFF_FFFF


def test_a_ring_that_is_shared_with_a_group_on_purpose_is_no_problem(root: Path, tidebook: Run) -> None:
    options = tb.ChannelOptions(group=os.getegid())
    with tb.open_producer(tb.create_channel("orders", options, directory=root / "desk")):
        shown = tidebook("channel", "doctor", "--json")
        (found,) = shown.json["channels"]
        assert (found["level"], found["short"]) == ("note", "shared")
        (root / "desk").chmod(0o777)
        (found,) = tidebook("channel", "doctor", "--json").json["channels"]
        assert (found["level"], found["short"]) == ("problem", "others can write")


def test_a_process_is_described_by_its_state_and_command(process: Start) -> None:
    child = process("import sys; print(1, flush=True); sys.stdin.read()")
    found = process_of(child.pid)
    assert found is not None
    assert not found.is_stopped
    assert "import sys; print(1, flush=True)" in found.command
    stop(child)
    found = process_of(child.pid)
    assert found is not None
    assert (found.state, found.is_stopped) == ("T", True)
    assert process_of(2**22 + 1) is None


def files(root: Path, **contents: str) -> Path:
    """A root with these files; `__` stands for a slash."""
    for name, content in contents.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    (root / "dev/shm").mkdir(parents=True, exist_ok=True)
    return root


def machine_says(root: Path, subject: str) -> list[tuple[str, str, str]]:
    return [(one.level, one.what, one.remedy) for one in examine_machine(root=root) if one.subject == subject]


def test_the_machine_is_examined_for_what_costs_microseconds_or_rings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Method: a file system of our own making, with everything wrong and with everything right."""
    cpu = "sys__devices__system__cpu__"
    thp = "sys__kernel__mm__transparent_hugepage__"
    clock = "sys__devices__system__clocksource__clocksource0__current_clocksource"
    wrong = files(
        tmp_path / "wrong",
        **{
            f"{cpu}isolated": "\n",
            f"{cpu}cpu0__cpufreq__scaling_governor": "powersave\n",
            f"{thp}enabled": "[always] madvise never\n",
            f"{thp}shmem_enabled": "always within_size advise [never] deny force\n",
            clock: "hpet\n",
        },
    )
    right = files(
        tmp_path / "right",
        **{
            f"{cpu}isolated": "2-3\n",
            f"{cpu}cpu0__cpufreq__scaling_governor": "performance\n",
            f"{thp}enabled": "always [madvise] never\n",
            f"{thp}shmem_enabled": "always within_size [advise] never deny force\n",
            clock: "tsc\n",
        },
    )
    for subject, level in (
        ("isolated cores", "note"),
        ("governor", "note"),
        ("THP", "note"),
        ("huge pages", "note"),
        ("clock", "problem"),
    ):
        ((found, _, remedy),) = machine_says(wrong, subject)
        assert (found, bool(remedy)) == (level, True), subject
        ((found, _, remedy),) = machine_says(right, subject)
        assert (found, remedy) == ("good", ""), subject
    nothing = files(tmp_path / "nothing")
    assert {one.subject for one in examine_machine(root=nothing)} == {"/dev/shm", "cores", "locked memory"}


def test_dockers_shared_memory_is_named_with_its_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = files(tmp_path)
    real = os.statvfs(root)

    def sized(size: int, free: int) -> Callable[[Any], Any]:
        fields = list(real)[:10]
        fields[:5] = [4096, 4096, size // 4096, free // 4096, free // 4096]
        return lambda _: os.statvfs_result(fields)

    for size, free, level, said in (
        (64 << 20, 60 << 20, "problem", "--shm-size"),
        (8 << 30, 10 << 20, "problem", "enlarge"),
        (8 << 30, 4 << 30, "good", ""),
    ):
        monkeypatch.setattr(os, "statvfs", sized(size, free))
        ((found, _, remedy),) = machine_says(root, "/dev/shm")
        assert (found, said in remedy) == (level, True)
    mounts = files(tmp_path, proc__self__mounts="overlay / overlay rw 0 0\n/dev/sda /dev/shm ext4 rw 0 0\n")
    assert any("is on ext4" in what for _, what, _ in machine_says(mounts, "/dev/shm"))


def test_systemd_that_removes_shared_memory_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 54_321)
    assert machine_says(files(tmp_path / "without"), "logging out") == []
    default = files(tmp_path / "default", run__systemd__system__x="")
    ((level, what, remedy),) = machine_says(default, "logging out")
    assert (level, "RemoveIPC=yes" in what, "enable-linger 54321" in remedy) == ("problem", True, True)
    for name, contents in (
        ("file", {"etc__systemd__logind.conf": "[Login]\n#RemoveIPC=yes\nRemoveIPC=no\n"}),
        ("lingers", {"var__lib__systemd__linger__54321": ""}),
    ):
        ((level, _, _),) = machine_says(files(tmp_path / name, run__systemd__system__x="", **contents), "logging out")
        assert level == "good", name
    dropped = {"etc__systemd__logind.conf": "RemoveIPC=no", "etc__systemd__logind.conf.d__9.conf": "RemoveIPC=yes"}
    ((level, _, _),) = machine_says(files(tmp_path / "dropped", run__systemd__system__x="", **dropped), "logging out")
    assert level == "problem"


def test_a_machine_without_trouble_and_without_channels_is_well(
    root: Path, tidebook: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "examine_machine", lambda _: [])
    shown = tidebook("channel", "doctor")
    assert (shown.code, shown.out.splitlines()[-1]) == (0, "nothing is wrong")
    assert examine_files(channel_files(root)) == []


def test_cursors_are_listed_moved_and_forgotten(directory: Path, tidebook: Run) -> None:
    channel = tb.create_channel("ticks", tb.ChannelOptions(dtype=TICK), directory=directory)
    with tb.open_producer(channel) as producer, tb.open_consumer(channel, "reader", start="earliest") as reader:
        producer.write_batch(np.zeros(20, TICK))
        busy = tidebook("channel", "cursor", "reset", "ticks", "reader", "--start", "latest")
        assert (busy.code, 'consumer "reader" is already open' in busy.err) == (1, True)
        assert tidebook("channel", "cursor", "remove", "ticks", "reader").code == 1
        assert reader.next_sequence == 1
    (listed,) = tidebook("channel", "cursor", "ls", "--json").json["consumers"]
    expected = {"channel": "ticks", "consumer": "reader", "next": 1, "lag": 20, "alive": False, "state": "gating"}
    assert {name: listed[name] for name in expected} == expected
    assert "nobody" in tidebook("channel", "cursor", "ls").out
    for to, following in (("latest", 21), ("earliest", 1), ("8", 8), ("1_5", 15)):
        moved = tidebook("channel", "cursor", "reset", "ticks", "reader", "--start", to)
        assert (moved.code, moved.out) == (0, f"ticks: reader reads message {following} next\n")
        with tb.open_consumer(channel, "reader") as reader:
            assert reader.next_sequence == following
    for to, said in (("22", "beyond the end: the next sequence of this ring is 21"), ("soon", "name earliest, latest")):
        refused = tidebook("channel", "cursor", "reset", "ticks", "reader", "--start", to)
        assert (refused.code, said in refused.err, refused.err.count("\n")) == (2, True, 1)
    assert tidebook("channel", "cursor", "reset", "ticks", "nobody", "--start", "1").code == 2
    assert tidebook("channel", "cursor", "remove", "ticks", "reader").out == "ticks: reader is forgotten\n"
    assert tidebook("channel", "cursor", "ls").out == "no consumers\n"


def test_stored_cursors_and_states_are_listed_and_forgotten(directory: Path, tidebook: Run, tmp_path: Path) -> None:
    channel = tb.create_channel("orders", {"durability": "wal", "wal_dir": tmp_path}, directory=directory)
    with tb.open_producer(channel) as producer:
        producer.write_batch([b"one", b"two", b"three"], wait="durable")
        with tb.open_consumer(channel, "booking") as reader:
            reader.poll(lambda *_: None, limit=2, timeout=60)
            number = reader.checkpoint("totals", b"of two")
    listed = {one["name"]: one for one in tidebook("channel", "cursor", "ls", "--json").json["checkpoints"]}
    expected = {"channel": "orders", "kind": "state", "checkpoint_id": number, "sequence": 2, "behind": 1}
    assert {name: listed["totals"][name] for name in expected} == expected
    assert (listed["booking"]["kind"], listed["booking"]["sequence"]) == ("consumer", 2)
    shown = tidebook("channel", "cursor", "ls").out
    assert "state of 6 bytes" in shown
    # After a reboot the stored cursor is all there is of it.
    (directory / "orders.ring").unlink()
    tb.create_channel("orders", {"durability": "wal", "wal_dir": tmp_path}, directory=directory)
    assert tidebook("channel", "cursor", "remove", "orders", "booking").out == "orders: booking is forgotten\n"
    (left,) = tidebook("channel", "cursor", "ls", "--json").json["checkpoints"]
    assert left["name"] == "totals"
    assert tidebook("channel", "cursor", "remove", "orders", "booking").code == 2


def test_a_stored_cursor_that_is_late_and_checkpoints_that_are_damaged_are_named(
    directory: Path, tidebook: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tidebook.transport.doctor._STORED_AGE_MAX_S", 0.0)
    options = {"durability": "wal", "wal_dir": tmp_path, "snapshot_interval_ms": 86_400_000}
    channel = tb.create_channel("orders", options, directory=directory)
    with tb.open_producer(channel) as producer:
        producer.write_batch([b"one", b"two", b"three"], wait="durable")
        with tb.open_consumer(channel, "booking") as reader:
            reader.poll(lambda *_: None, limit=1, timeout=60)
        with tb.open_consumer(channel, "booking") as reader:
            reader.poll(lambda *_: None, limit=1, timeout=60)
            told = [one["what"] for one in tidebook("channel", "doctor", "--json").json["channels"]]
            (late,) = [what for what in told if what.startswith("the stored cursor of consumer booking is ")]
            assert late.endswith(" s old and 1 messages behind it: a reboot would hand them out again")
        (tmp_path / "orders" / "checkpoints" / "data.mdb").write_bytes(b"something else")
        (damaged,) = problems(tidebook("channel", "doctor", "--json"))
        assert "are damaged (the file was cut while it was open, page 0)" in damaged["what"]
