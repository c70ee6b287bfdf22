"""A node's whole trouble in one piece: a backup while it runs, a kill, a restore elsewhere and in place, and the next start.

The rings of the node that was killed stay in shared memory throughout, as they do on a machine that goes on.
"""

import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

import tidebook as tb
from tests.node.test_live import derived_trades, node, stored_trades, wait_for
from tests.node.test_live import rings as rings
from tidebook import persistence
from tidebook._core import Ring
from tidebook.node.presence import owning
from tidebook.node.storing import stored_position

CHANNEL = "feed.kraken"
OPTIONS = ("--venues", "kraken", "--rate", "300", "--flush-interval-s", "0.2")
# More than the ring of a feed holds, and killed: what overwrites it is large, so that it is soon done.
FLOOD = """
import os, signal, sys
from tidebook._core import FeedChannel
channel = FeedChannel("feed.kraken", sys.argv[1], sys.argv[2])
for n in range(80):
    last = channel.write(n, 0, 4, b"", bytes(1 << 20))
assert channel.wait_durable(last, 60.0)
os.kill(os.getpid(), signal.SIGKILL)
"""


def tidebook(rings: Path, *words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tidebook", *map(str, words)]
    environment = os.environ | {"TIDEBOOK_RINGS": str(rings), "COLUMNS": "200"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def messages(data: Path) -> list[bytes]:
    """All that is durable; message n is the nth."""
    read = list(persistence.read(data / "journal" / CHANNEL))
    assert [sequence for sequence, _ in read] == list(range(1, len(read) + 1)), "each number once, without a hole"
    return [payload for _, payload in read]


def life(data: Path, rings: Path, end: signal.Signals) -> None:
    """A life of the node that stores something new, of what its ring held before too."""
    before = stored_position(data, CHANNEL) if (data / "_manifest").is_dir() else 0
    ring = rings / "default" / f"{CHANNEL}.ring"
    if ring.exists():
        before = max(before, Ring.open(ring).published)
    with node(data, rings, *OPTIONS) as (process, _):
        wait_for(lambda: (data / "_manifest").is_dir() and stored_position(data, CHANNEL) > before + 200)
        process.send_signal(end)
        assert process.wait(timeout=60) == (0 if end == signal.SIGINT else -end)


def assert_rows_are_those_of_the_journal(data: Path) -> None:
    rows = stored_trades(data, "KRAKEN")
    assert len(set(rows)) == len(rows) > 0, "none is there twice"
    position = stored_position(data, CHANNEL)
    assert rows == [trade for trade in derived_trades(data, "kraken") if trade[0] <= position]
    assert tb.open(data).verify().ok


@pytest.mark.timeout(360)  # seven nodes, each of which writes a whole segment of zeros
def test_a_node_that_is_restored_elsewhere_and_in_place_beside_its_old_rings_loses_and_repeats_nothing(
    tmp_path: Path, rings: Path
) -> None:
    data, copy, backups = tmp_path / "data", tmp_path / "copy", tmp_path / "backups"
    with node(data, rings, *OPTIONS) as (process, _):
        wait_for(lambda: (data / "_manifest").is_dir() and stored_position(data, CHANNEL) > 200)
        acknowledged = persistence.inspect(data / "journal" / CHANNEL).durable
        made = tidebook(rings, "backup", backups, "--data", data, "--json")
        assert made.returncode == 0, made.stderr
        (held,) = json.loads(made.stdout)["journals"]
        assert held["last_sequence"] >= acknowledged
        wait_for(lambda: stored_position(data, CHANNEL) > held["last_sequence"] + 200)
        process.kill()
        process.wait()
    original = messages(data)

    # Elsewhere: what the copy lacks is in the ring, also what the original's journal has not.
    assert tidebook(rings, "restore", backups, "--data", copy).returncode == 0
    assert messages(copy) == original[: held["last_sequence"]]
    told = tidebook(rings, "status", "--data", copy)
    assert (told.returncode, told.stderr) == (0, "")
    assert (
        f"{CHANNEL}: nobody writes; up to {held['last_sequence']:,} on disk, of this machine alone; a ring goes on with"
        in (told.stdout)
    )
    life(copy, rings, signal.SIGKILL)
    gone_on = messages(copy)
    assert gone_on[: len(original)] == original
    assert_rows_are_those_of_the_journal(copy)

    # In place, where the ring holds all that is missing: one of the epoch in which the copy was made.
    again = tmp_path / "again"
    assert tidebook(rings, "backup", again, "--data", copy).returncode == 0
    life(copy, rings, signal.SIGKILL)
    gone_on = messages(copy)
    shutil.rmtree(copy)
    assert tidebook(rings, "restore", again, "--data", copy).returncode == 0
    told = tidebook(rings, "status", "--data", copy)
    assert told.returncode == 1
    assert (
        "an older copy was put back, or its end is lost. A start takes what the ring still holds of it" in told.stdout
    )
    choices = tidebook(rings, "journal", "repair", copy / "journal" / CHANNEL)
    assert "  start its owner, which takes what the ring still holds; loses nothing, or is refused" in choices.stdout
    life(copy, rings, signal.SIGINT)
    assert messages(copy)[: len(gone_on)] == gone_on
    assert_rows_are_those_of_the_journal(copy)

    # In place, and the ring has overwritten what is missing.
    flood = [sys.executable, "-c", FLOOD, str(rings / "default"), str(copy / "journal" / CHANNEL)]
    with owning(copy, "run"):
        assert subprocess.run(flood, check=False).returncode == -signal.SIGKILL
    shutil.rmtree(copy)
    assert tidebook(rings, "restore", backups, "--data", copy).returncode == 0
    refused = tidebook(rings, "run", "--data", copy, "--port", 0, *OPTIONS)
    assert refused.returncode == 1
    last = refused.stderr.splitlines()[-1]
    assert f"this journal is whole and ends at {held['last_sequence']}" in last
    remedy = re.search(r"`tidebook (channel rm \S+) (--lose-unjournaled)`", last)
    assert remedy is not None, last
    asked = tidebook(rings, *remedy[1].split())
    assert asked.returncode == 2
    assert f"does not have, which ends at {held['last_sequence']:,} because a copy was put back" in asked.stderr
    removed = tidebook(rings, *remedy[1].split(), remedy[2])
    assert (removed.returncode, removed.stderr) == (0, "")
    said = rf"(default/)?{re.escape(CHANNEL)}: removed, with [\d,]+ messages not in its journal\n"
    assert re.fullmatch(said, removed.stdout), removed.stdout
    life(copy, rings, signal.SIGINT)
    assert messages(copy)[: held["last_sequence"]] == original[: held["last_sequence"]]
    assert_rows_are_those_of_the_journal(copy)
    whole = tidebook(rings, "status", "--data", copy, "--verify")
    assert whole.returncode == 0, whole.stdout
    assert "all of it is whole" in whole.stdout


WRITE = """
import sys
import tidebook as tb
channel = tb.create_channel("orders", {"durability": "wal", "wal_dir": "data/journal"})
with tb.open_producer(channel) as producer:
    for message in sys.argv[1:]:
        producer.write(message.encode(), wait="durable")
"""


@pytest.mark.parametrize("is_ring_lost", [True, False])
def test_a_ledger_of_epoch_and_sequence_has_every_message_that_a_restored_journal_gives_a_number_again(
    root: Path, tmp_path: Path, rings: Path, is_ring_lost: bool
) -> None:
    """Method: the ledger of the page about channels, before and after the disk is lost, twice, and the backup put back. The ring is
    lost with it, or removed as the error of a start says.
    """
    page = (root / "docs/channels.md").read_text()
    (program,) = re.findall(r"```python\n# ledger.py\n(.*?)```", page, re.DOTALL)
    environment = os.environ | {"TIDEBOOK_RINGS": str(rings)}

    def run(program: str, *words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", program, *words]
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    def keep(*messages: str) -> None:
        for done in (run(WRITE, *messages), run(program.replace('"wal_dir": "wal"', '"wal_dir": "data/journal"'))):
            assert done.returncode == 0, done.stderr
            assert not done.stderr or "was put back from a copy" in done.stderr

    def kept() -> list[list[str]]:
        """Of each epoch, in the order in which they were kept."""
        with sqlite3.connect(tmp_path / "ledger.db") as ledger:
            rows = ledger.execute("SELECT epoch, text FROM orders ORDER BY rowid").fetchall()
        return [[text for of, text in rows if of == epoch] for epoch in dict.fromkeys(epoch for epoch, _ in rows)]

    data, backups = tmp_path / "data", tmp_path / "backups"
    keep("a1", "a2", "a3")
    assert tidebook(rings, "backup", backups, "--data", data).returncode == 0
    keep("a4", "a5", "a6", "a7")
    before = kept()
    assert before == [["a1", "a2", "a3", "a4", "a5", "a6", "a7"]]
    for life, written in enumerate(["b", "c"], start=1):
        data.rename(tmp_path / f"lost{life}")
        assert tidebook(rings, "restore", backups, "--data", data).returncode == 0
        if is_ring_lost:
            shutil.rmtree(rings / "default")
        else:
            assert tidebook(rings, "channel", "rm", "orders", "--lose-unjournaled").returncode == 0
        keep(f"{written}4")
        keep(f"{written}5")
        before = [*before, ["a1", "a2", "a3", f"{written}4", f"{written}5"]]
        assert kept() == before
