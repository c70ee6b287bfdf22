"""Durable channels from Python: what a killed owner left in the ring is journaled first. Campaigns: crates/channel."""

import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tidebook import persistence
from tidebook._core import DurableChannel, FeedChannel, unpack_message
from tidebook.errors import ChannelError, JournalDamagedError, JournalError, JournalLockedError

NAME = "feed.binance"
RING_SIZE_BYTES = 65_536


@pytest.fixture
def rings(tmp_path: Path) -> Path:
    folder = tmp_path / "rings"
    folder.mkdir(mode=0o700)
    return folder


def feed(rings: Path, journal: Path) -> FeedChannel:
    return FeedChannel(NAME, rings, journal, ring_size_bytes=RING_SIZE_BYTES)


def owner(rings: Path, journal: Path) -> DurableChannel:
    return DurableChannel.frames(NAME, rings / f"{NAME}.ring", journal, RING_SIZE_BYTES, parking=True)


def test_an_owner_goes_on_where_the_last_one_ended_and_states_its_guarantee(rings: Path, tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    writing = feed(rings, journal)
    for number in range(10):
        writing.write(number, 1, 1, b"", b"{}")
    with pytest.raises(JournalLockedError):
        owner(rings, journal)
    writing.close()

    channel = owner(rings, journal)
    assert (channel.recovery["next_sequence"], channel.recovery["ring_discarded"]) == (11, None)
    guarantee = channel.guarantee()
    assert (guarantee["published"], guarantee["durable"], guarantee["failure"]) == (10, 10, None)
    assert guarantee["text"].startswith("wal, group commit, durable up to 10 of 10 in ")
    assert channel.wait_durable(10, timeout_s=5)
    assert not channel.wait_durable(11, timeout_s=0.01)
    channel.close()
    channel.close()
    with pytest.raises(ChannelError, match="closed"):
        channel.guarantee()


def test_evidence_beyond_the_end_is_damage(rings: Path, tmp_path: Path) -> None:
    """A store holds messages up to 10, and a power failure took ring, watermark and the journal's tail."""
    journal = tmp_path / "journal"
    writing = feed(rings, journal)
    for number in range(5):
        writing.write(number, 1, 1, b"", b"{}")
    writing.close()
    (rings / f"{NAME}.ring").unlink()
    (journal / "durable").unlink()
    with pytest.raises(JournalDamagedError):
        FeedChannel(NAME, rings, journal, ring_size_bytes=RING_SIZE_BYTES, evidence=10)
    FeedChannel(NAME, rings, journal, ring_size_bytes=RING_SIZE_BYTES, evidence=5).close()


def test_waiting_for_the_disk_holds_up_nobody(rings: Path, tmp_path: Path) -> None:
    """Method: one thread waits for a sequence that never comes; another writes and asks meanwhile."""
    channel = feed(rings, tmp_path / "journal")
    waiting = threading.Thread(target=channel.wait_durable, args=(1_000, 60.0))
    waiting.start()
    for number in range(1, 11):
        assert channel.write(number, 1, 1, b"", b"{}") == number
        assert channel.guarantee()["published"] == number
    assert waiting.is_alive(), "it gave up, so nothing was shown"
    channel.write(0, 1, 1, b"", b"{}")
    for _ in range(989):
        channel.write(0, 1, 1, b"", b"{}")
    waiting.join(60)
    assert not waiting.is_alive()
    with pytest.raises(ValueError, match="timeout_s -1"):
        channel.wait_durable(1, -1.0)
    channel.close()


def test_a_writer_whose_journal_stopped_is_told_the_cause(rings: Path, tmp_path: Path) -> None:
    """Method: the journal's directory vanishes, so its second segment cannot be made."""
    journal = tmp_path / "journal"
    writing = FeedChannel(NAME, rings, journal, ring_size_bytes=16 << 20)
    shutil.rmtree(journal)

    def flood() -> None:
        for number in range(1_000_000):
            writing.write(number, 1, 1, b"", bytes(100_000))

    with pytest.raises(JournalError, match="the journal stopped: "):
        flood()
    assert writing.guarantee()["failure"]
    with pytest.raises(JournalError):
        writing.close()


CHILD = """
import sys
from tidebook._core import FeedChannel
channel = FeedChannel("feed.binance", sys.argv[1], sys.argv[2], ring_size_bytes=65536, sync_interval_ms=3_600_000)
for number in range(1, 101):
    channel.write(number, 1, 1, b"", b"%d" % number)
print("written", flush=True)
sys.stdin.read()
"""


def test_what_a_killed_owner_published_is_journaled_in_order_and_once(rings: Path, tmp_path: Path) -> None:
    """Method: an owner that would sync in an hour is killed after its hundredth message."""
    journal = tmp_path / "journal"
    command = [sys.executable, "-c", CHILD, str(rings), str(journal)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "written\n"
        os.kill(child.pid, signal.SIGKILL)
    assert list(persistence.read(journal)) == []
    channel = owner(rings, journal)
    assert (channel.recovery["replayed_from_ring"], channel.guarantee()["durable"]) == (100, 100)
    bodies = [unpack_message(payload)[4] for _, payload in persistence.read(journal)]
    assert bodies == [b"%d" % number for number in range(1, 101)]
