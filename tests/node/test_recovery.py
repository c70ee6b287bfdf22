"""What a start finds, keeps, cuts and refuses: all channels at once, told once, and never decided alone."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.node.test_live import node
from tidebook import persistence
from tidebook._core import JournalReader
from tidebook.config.settings import Settings
from tidebook.errors import JournalDamagedError
from tidebook.feeds.registry import feed_kind
from tidebook.node.recovery import Recovery, RecoveryInterruptedError
from tidebook.node.venue_feed import FeedOptions, FeedPlan
from tidebook.storage.follower import FollowerOptions
from tidebook.storage.writer import WriterOptions

# Writes `count` messages to the capture of a venue, waits until `synced` of them are on disk, and ends as it is told.
WRITE = """
import os, signal, sys
from pathlib import Path
from tidebook._core import FeedChannel
data, rings, venue, count, synced, end = sys.argv[1:]
journal = Path(data) / "journal" / f"feed.{venue}"
journal.mkdir(parents=True, exist_ok=True)
(journal / "simulated").write_bytes(b"messages of a simulated venue\\n")
channel = FeedChannel(f"feed.{venue}", rings, journal, sync_interval_ms=1 if end == "close" else 3_600_000)
for n in range(int(count)):
    channel.write(n, 0, 4, b"", b"%d" % n)
if end == "kill":
    os.kill(os.getpid(), signal.SIGKILL)
assert channel.wait_durable(int(synced), 30.0)
channel.close()
"""
OPTIONS = FeedOptions(simulated=True, sync_interval_ms=1, follower=FollowerOptions(), writer=WriterOptions())
VENUES = ("binance", "coinbase", "kraken")


@pytest.fixture
def rings(tmp_path: Path) -> Path:
    directory = tmp_path / "rings"
    directory.mkdir(mode=0o700)
    return directory


def write(data: Path, rings: Path, venue: str, count: int, end: str) -> None:
    words = [str(data), str(rings), venue, str(count), str(count), end]
    ended = subprocess.run([sys.executable, "-c", WRITE, *words], capture_output=True, text=True, check=False)
    assert ended.returncode == (-signal.SIGKILL if end == "kill" else 0), ended.stderr


def recovery(data: Path, rings: Path, *, venues: Sequence[str] = VENUES, whole: bool = True) -> Recovery:
    plans = [FeedPlan(venue=venue, settings=feed_kind(venue).settings(Settings())) for venue in venues]
    return Recovery(plans, data, rings, OPTIONS, whole=whole)


def segments(data: Path, venue: str) -> list[Path]:
    return sorted((data / "journal" / f"feed.{venue}").glob("*.segment"))


def flip(path: Path, offset: int) -> None:
    held = bytearray(path.read_bytes())
    held[offset] ^= 1
    path.write_bytes(held)


def test_each_channel_is_told_with_what_was_found_kept_cut_and_taken_from_its_ring(tmp_path: Path, rings: Path) -> None:
    """One channel was closed, one is new, one was killed with messages in its ring and then had a torn end."""
    data = tmp_path / "data"
    write(data, rings, "binance", 50, "close")
    write(data, rings, "kraken", 20, "close")
    write(data, rings, "kraken", 7, "kill")
    torn = segments(data, "kraken")[-1]
    held = bytearray(torn.read_bytes())
    # Behind the channel's configuration, which every segment begins with and which was durable before any message.
    end = len(held.rstrip(b"\0")) + 7 & ~7
    held[end : end + 8] = b"unwhole!"
    torn.write_bytes(held)
    told: list[tuple[str, str, int]] = []
    job = recovery(data, rings)
    feeds = job.run(lambda *step: told.append(step))
    try:
        binance, coinbase, kraken = job.channels
        assert (binance.found, binance.kept_first, binance.kept_last, binance.closed) == (50, 1, 50, True)
        assert (binance.cut_bytes, binance.from_ring, binance.ring, binance.verified) == (0, 0, "", True)
        assert coinbase.is_new
        assert (kraken.found, kraken.kept_last, kraken.from_ring, kraken.cut_bytes) == (20, 27, 7, 8)
        assert (kraken.closed, kraken.is_loss, kraken.undecidable_from) == (False, True, 21)
        assert [feed.channel for feed in feeds] == [found.channel for found in job.channels]
        steps = [step for channel, step, _ in told if channel == "feed.binance"]
        assert list(dict.fromkeys(steps)) == ["looking", "verifying", "opening", "done"]
        assert sum(messages for channel, _, messages in told if channel == "feed.binance") == 50
    finally:
        for feed in feeds:
            feed.capture.close()
    read = JournalReader(data / "journal/feed.kraken").next(100)
    assert read is not None
    assert len(read[1]) == 27


def test_damage_is_refused_with_its_place_and_the_command_that_shows_the_choices_and_changes_nothing(
    tmp_path: Path, rings: Path
) -> None:
    """In a sealed segment, which opening alone does not read; of two channels, each told with its cause."""
    data = tmp_path / "data"
    for venue in VENUES:
        write(data, rings, venue, 30, "close")
        write(data, rings, venue, 30, "close")
    first = segments(data, "coinbase")[0]
    flip(first, 4096 + 60)
    flip(segments(data, "kraken")[0], 4096 + 60)
    before = {path: path.read_bytes() for path in segments(data, "coinbase")}
    words = ["run", "--data", str(data), "--venues", ",".join(VENUES), "--port", "0"]
    command = [sys.executable, "-m", "tidebook", *words]
    environment = os.environ | {"TIDEBOOK_RINGS": str(rings), "COLUMNS": "200"}
    shown = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert shown.returncode == 1
    line = shown.stderr.splitlines()[-1]
    assert line.startswith(f"tidebook: {first}: damaged at segment 1, offset 4096, sequence 1: ")
    assert f"`tidebook journal repair {first.parent}` tells what can be done" in line
    rows = {row.split()[0]: row for row in shown.stdout.splitlines() if row.startswith("feed.")}
    assert list(rows) == [f"feed.{venue}" for venue in VENUES]
    for venue in ("coinbase", "kraken"):
        assert "up to the damage" in rows[f"feed.{venue}"]
        assert "REFUSED" in rows[f"feed.{venue}"]
    assert "closed cleanly" in rows["feed.binance"]
    assert "every batch" in rows["feed.binance"]
    causes = [row for row in shown.stdout.splitlines() if row.startswith("refused: ")]
    assert [cause.split(": ")[1] for cause in causes] == ["feed.kraken"], "the other cause is the error, told once"
    assert all("tidebook journal repair" in cause for cause in causes)
    asked = subprocess.run([*command, "--json"], env=environment, capture_output=True, text=True, check=False)
    _, coinbase, _ = json.loads(asked.stdout)["recovery"]["channels"]
    assert coinbase["refused_facts"] == {"segment": 1, "offset": 4096, "sequence": 1}
    assert {path: path.read_bytes() for path in segments(data, "coinbase")} == before


@pytest.mark.parametrize("asked_while", ["looking", "verifying"])
def test_a_recovery_that_is_interrupted_leaves_nothing_open_and_is_run_again(
    tmp_path: Path, rings: Path, asked_while: str
) -> None:
    data = tmp_path / "data"
    write(data, rings, "binance", 40, "close")
    job = recovery(data, rings)

    def interrupt(channel: str, step: str, messages: int) -> None:
        if channel == "feed.binance" and step == asked_while and (step, messages) != ("verifying", 0):
            job.interrupt()

    with pytest.raises(RecoveryInterruptedError):
        job.run(interrupt)
    again = recovery(data, rings)
    for feed in again.run():
        feed.capture.close()
    assert again.channels[0].kept_last == 40


def test_a_recovery_that_is_killed_at_any_step_is_run_again_and_finds_every_message(
    tmp_path: Path, rings: Path, root: Path
) -> None:
    """Three messages are in the journal and three in shared memory alone; each kill may find these on their way."""
    data = tmp_path / "data"
    write(data, rings, "kraken", 3, "close")
    write(data, rings, "kraken", 3, "kill")
    words = [sys.executable, "-m", "tests.node.recovery_kills", str(data), str(rings), "kraken"]
    ended = subprocess.run(words, cwd=root, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert int(ended.stdout.split()[-1]) >= 5, "it is told of looking, verifying, opening and the end"
    assert [payload[16:] for _, payload in persistence.read(data / "journal/feed.kraken")] == [b"0", b"1", b"2"] * 2


def test_only_what_opening_needs_is_read_where_that_was_asked_for(tmp_path: Path, rings: Path) -> None:
    data = tmp_path / "data"
    write(data, rings, "kraken", 10, "close")
    write(data, rings, "kraken", 10, "close")
    flip(segments(data, "kraken")[0], 4096 + 60)
    quick = recovery(data, rings, whole=False)
    for feed in quick.run():
        feed.capture.close()
    assert (quick.channels[2].verified, quick.channels[2].kept_last) == (False, 20)
    with pytest.raises(JournalDamagedError):
        recovery(data, rings).run()


def test_a_node_tells_its_recovery_to_people_and_to_programs(tmp_path: Path, rings: Path) -> None:
    data = tmp_path / "data"
    write(data, rings, "kraken", 25, "close")
    with node(data, rings, "--venues", "kraken", "--rate", "200") as (process, _):
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 0
    command = [sys.executable, "-m", "tidebook", "run", "--data", str(data), "--venues", "kraken", "--port", "0"]
    environment = os.environ | {"TIDEBOOK_RINGS": str(rings)}
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        title, head, _, row = (process.stdout.readline() for _ in range(4))
        assert title.startswith("recovered in ")
        assert head.split()[:3] == ["channel", "found", "kept"]
        assert row.split()[0] == "feed.kraken"
        assert row.rstrip().endswith("closed cleanly")
        assert process.stdout.readline().startswith("Tidebook runs on simulated kraken: http://127.0.0.1:")
        process.send_signal(signal.SIGINT)
        assert "channel recovered" in process.communicate(timeout=60)[1]


OWN = """
import os, signal, sys
import tidebook as tb
wal, name, count, end = sys.argv[1:]
interval = 3_600_000 if end == "kill" else 1
channel = tb.create_channel(name, {"durability": "wal", "wal_dir": wal, "journal_sync_interval_ms": interval})
producer = tb.open_producer(channel)
for _ in range(int(count)):
    producer.write(b"fill")
if end == "kill":
    os.kill(os.getpid(), signal.SIGKILL)
if end == "stay":
    producer.flush()
    print("written", flush=True)
    sys.stdin.read()
producer.close()
"""


def write_own(data: Path, name: str, count: int, end: str) -> None:
    """As a program of one's own does, which has put its journal into the node's directory."""
    words = [sys.executable, "-c", OWN, str(data / "journal"), name, str(count), end]
    ended = subprocess.run(words, capture_output=True, text=True, check=False)
    assert ended.returncode == (-signal.SIGKILL if end == "kill" else 0), ended.stderr


def test_channels_that_are_not_the_nodes_are_checked_and_told_and_nothing_of_them_is_changed(
    tmp_path: Path, rings: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of one's own: one that was closed, one killed with messages in its ring, one that is written; a feed that is left out."""
    monkeypatch.setenv("TIDEBOOK_RINGS", str(rings))
    data = tmp_path / "data"
    write(data, rings / "default", "binance", 30, "close")
    write(data, rings / "default", "kraken", 20, "close")
    write_own(data, "fills", 12, "close")
    write_own(data, "quotes", 5, "close")
    write_own(data, "quotes", 3, "kill")
    with subprocess.Popen(
        [sys.executable, "-c", OWN, str(data / "journal"), "orders.own", "7", "stay"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "written\n"
        before = {
            path: path.read_bytes() for name in ("fills", "quotes") for path in (data / "journal" / name).iterdir()
        }
        job = recovery(data, rings / "default", venues=["binance"])
        for feed in job.run():
            feed.capture.close()
        writer.communicate()
    binance, kraken, fills, written, quotes = job.channels
    assert binance.is_own
    names = ("feed.kraken", "fills", "orders.own", "quotes")
    others = (kraken, fills, written, quotes)
    assert tuple(found.channel for found in others) == names
    assert not any(found.is_own or found.refused or found.is_loss for found in others)
    assert all(found.verified for found in others)
    assert [(found.found, found.kept_last, found.closed) for found in others] == [
        (20, 20, True),
        (12, 12, True),
        (7, 7, False),
        (5, 5, False),
    ]
    assert [found.is_written for found in others] == [False, False, True, False]
    assert (quotes.from_ring, quotes.cut_bytes) == (3, 0), "its next producer takes them"
    assert {path: path.read_bytes() for path in before} == before


def test_a_damaged_channel_of_ones_own_is_named_on_the_start_screen_and_the_node_runs(
    tmp_path: Path, rings: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One with a flipped bit, one whose ring knows more than an older copy that was put back has, and one whose disk is not mounted."""
    monkeypatch.setenv("TIDEBOOK_RINGS", str(rings))
    data = tmp_path / "data"
    write(data, rings / "default", "kraken", 20, "close")
    for name in ("fills", "quotes"):
        write_own(data, name, 12, "close")
        write_own(data, name, 12, "close")
    damaged = sorted((data / "journal" / "fills").glob("*.segment"))[1]  # create_channel began one that holds nothing
    flip(damaged, 4096 + 300)
    copy = tmp_path / "copy"
    shutil.copytree(data / "journal" / "quotes", copy)
    write_own(data, "quotes", 4, "close")
    shutil.rmtree(data / "journal" / "quotes")
    copy.rename(data / "journal" / "quotes")
    (data / "journal" / "away").symlink_to(tmp_path / "not" / "mounted")
    command = [sys.executable, "-m", "tidebook", "run", "--data", str(data), "--venues", "kraken", "--port", "0"]
    environment = os.environ | {"COLUMNS": "200"}
    shown: list[str] = []
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            shown.append(line)
            if line.startswith("Tidebook runs on"):
                break
        process.send_signal(signal.SIGINT)
        logged = process.communicate(timeout=60)[1]
    assert process.returncode == 0, logged
    rows = {row.split()[0]: row for row in shown if row.split()}
    assert "closed cleanly" in rows["feed.kraken"]
    for name in ("away", "fills", "quotes"):
        assert "DAMAGED, not the node's" in rows[name]
    said = [line for line in shown if line.startswith("damaged, and the node runs without it: ")]
    assert said.pop(0).startswith("damaged, and the node runs without it: away: ")
    assert said[0].startswith(f"damaged, and the node runs without it: fills: {damaged}: damaged at segment 2")
    assert f"tidebook journal repair {damaged.parent}" in said[0]
    assert "quotes" in said[1]
    assert "knows 28 to be durable and the journal ends at 24" in said[1]
    assert logged.count("a channel that is not the node's is damaged") == 3
    with node(data, rings, "--venues", "kraken") as (running, _):
        running.send_signal(signal.SIGINT)
        assert running.wait(timeout=60) == 0
