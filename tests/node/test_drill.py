"""The loss of a directory rehearsed: what comes back is compared, and the exit code says whether it is what was there."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.node.test_feed_snapshots import Feed, message
from tests.node.test_live import get, node, wait_for
from tidebook._core import JournalWriter, pack_message, unpack_message
from tidebook.errors import BackupError, RawMessageError
from tidebook.node.backup import back_up
from tidebook.node.drill import drill
from tidebook.node.feed_snapshots import SnapshotOptions
from tidebook.node.presence import owning
from tidebook.node.restore import restore
from tidebook.persistence.data_directory import MAINTENANCE_LOCK
from tidebook.persistence.file_lock import locked

CHANNEL = "desk.orders"


def write(directory: Path, *payloads: bytes) -> None:
    with owning(directory, "record"):
        writer = JournalWriter(directory / "journal" / CHANNEL, CHANNEL)
        for payload in payloads:
            writer.append(payload)
        writer.sync()
        writer.close()


def tidebook(*words: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "tidebook", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | environment)


def test_a_drill_beside_a_running_node_finds_every_feed_as_it_was_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From snapshots of some messages ago, compared with the whole history."""
    monkeypatch.setenv("TIDEBOOK_SNAPSHOT_INTERVAL_MIN", "0.005")
    data, rings = tmp_path / "data", tmp_path / "rings"
    rings.mkdir(mode=0o700)
    options = ("--venues", "binance,kraken", "--rate", "400", "--flush-interval-s", "0.3")
    with node(data, rings, *options) as (process, address):
        wait_for(lambda: all(feed["books_usable"] == 2 for feed in get(address, "feeds")))
        wait_for(lambda: len({path.parent for path in data.glob("snapshots/*/*/*.snapshot")}) == 2)
        shown = tidebook("drill", "--data", str(data), "--json", TIDEBOOK_RINGS=str(rings))
        assert shown.returncode == 0, shown.stderr
        found = json.loads(shown.stdout)
        assert {path.name for path in tmp_path.iterdir()} == {"data", "rings"}
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 0
    assert found["ok"]
    assert [channel["channel"] for channel in found["channels"]] == ["feed.binance", "feed.kraken"]
    for channel in found["channels"]:
        assert channel["lost"] == 0
        assert 0 < channel["snapshot"] <= channel["messages"]
        assert (channel["snapshot_original"], channel["refused"]) == (0, [])
        assert channel["state_hash"] == channel["state_hash_original"] != "0" * 16


def test_an_older_backup_is_told_by_how_much_and_another_state_by_the_exit_code(tmp_path: Path) -> None:
    """Two directories with one past went on differently; a backup of one is no backup of the other."""
    data, other, kept = tmp_path / "data", tmp_path / "other", tmp_path / "backups"
    write(data, b"one", b"two")
    first = back_up(data, kept)
    restore(kept / first.id, other)
    write(data, b"three", b"four")
    (older,) = drill(data, kept).channels
    assert (older.ok, older.messages, older.lost, older.newer) == (True, 2, 0, 2)
    write(other, b"three", b"fear")
    (same,) = drill(data, kept / first.id).channels
    assert same.ok
    strange = back_up(other, tmp_path / "strange")
    shown = tidebook("drill", "--data", str(data), "--backup", str(tmp_path / "strange" / strange.id))
    assert shown.returncode == 1
    assert "ANOTHER STATE" in shown.stdout
    assert {path.name for path in tmp_path.iterdir()} == {"data", "other", "backups", "strange"}


def tick_of(number: int, size: str) -> bytes:
    """Message `number`: what the venue says of an instrument."""
    price = {"filterType": "PRICE_FILTER", "minPrice": "0.01", "maxPrice": "1000000.00", "tickSize": size}
    lot = {"filterType": "LOT_SIZE", "minQty": "0.00001", "maxQty": "9000.0", "stepSize": "0.00001"}
    symbol = {
        "symbol": "BTCUSDT",
        "status": "TRADING",
        "baseAsset": "BTC",
        "quoteAsset": "USDT",
        "filters": [price, lot],
    }
    body = json.dumps({"symbols": [symbol]}).encode()
    return pack_message(unpack_message(message(number))[0], 1, 2, body, b"/api/v3/exchangeInfo")


def test_what_the_hash_of_a_state_leaves_out_is_compared_too(tmp_path: Path) -> None:
    """Two feeds with one past and one present; of an instrument each keeps another definition that held in between."""
    data, other, kept = tmp_path / "data", tmp_path / "other", tmp_path / "backups"
    feed = Feed(data, SnapshotOptions(interval_s=3600.0))
    feed.write(120)
    feed.store()
    feed.writer.close()
    restore(kept / back_up(data, kept).id, other)
    for directory, between in ((data, "0.02"), (other, "0.03")):
        gone_on = Feed(directory, SnapshotOptions(interval_s=3600.0))
        for number, size in ((121, between), (122, "0.01")):
            gone_on.writer.append(tick_of(number, size))
        gone_on.writer.sync()
        gone_on.writer.close()
    (same,) = drill(data, kept).channels
    assert (same.ok, same.saved_hash) == (True, same.saved_hash_original)
    strange = back_up(other, tmp_path / "strange")
    (found,) = drill(data, tmp_path / "strange" / strange.id).channels
    assert found.state_hash == found.state_hash_original, "it is what the other comparison is for"
    assert found.saved_hash != found.saved_hash_original
    assert not found.ok
    shown = tidebook("drill", "--data", str(data), "--backup", str(tmp_path / "strange" / strange.id))
    assert shown.returncode == 1
    assert "ANOTHER STATE" in shown.stdout


def test_a_backup_of_another_directory_or_a_damaged_one_is_no_drill(tmp_path: Path) -> None:
    data, other = tmp_path / "data", tmp_path / "other"
    write(data, b"one")
    write(other, b"one")
    made = back_up(other, tmp_path / "backups")
    with pytest.raises(BackupError, match="name a backup of this directory"):
        drill(data, tmp_path / "backups")
    (data / "journal" / CHANNEL).rename(tmp_path / "taken")
    with pytest.raises(
        BackupError, match=rf"has {CHANNEL}, and .* has no such journal: .* name a backup of this directory"
    ):
        drill(data, tmp_path / "backups")
    (tmp_path / "taken").rename(data / "journal" / CHANNEL)
    segment = tmp_path / "backups" / made.id / "data" / "journal" / CHANNEL / "0000000001.segment"
    segment.write_bytes(segment.read_bytes()[:-1])
    with pytest.raises(BackupError, match=str(segment)):
        drill(other, tmp_path / "backups")
    shutil.rmtree(tmp_path / "backups")
    assert {path.name for path in tmp_path.iterdir()} == {"data", "other"}


def test_messages_under_the_name_of_a_feed_that_no_feed_wrote_are_told_with_their_channel(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with owning(data, "record"):
        writer = JournalWriter(data / "journal" / "feed.coinbase", "feed.coinbase")
        writer.append(b"an order")
        writer.sync()
        writer.close()
    with pytest.raises(
        RawMessageError, match=r"message 1 of feed\.coinbase, which a feed alone may write: raw message of 8"
    ):
        drill(data)


def test_a_channel_that_the_backup_has_not_is_told_and_fails_the_drill(tmp_path: Path) -> None:
    data, kept = tmp_path / "data", tmp_path / "backups"
    write(data, b"one", b"two")
    back_up(data, kept)
    with owning(data, "record"):
        writer = JournalWriter(data / "journal" / "desk.fills", "desk.fills")
        writer.append(b"a fill")
        writer.sync()
        writer.close()
    shown = tidebook("drill", "--data", str(data), "--backup", str(kept))
    assert shown.returncode == 1
    assert "desk.fills" in shown.stdout
    assert "NOT IN THE BACKUP" in shown.stdout
    fills, orders = sorted(drill(data, kept).channels, key=lambda channel: channel.channel)
    assert (fills.absent, fills.ok, fills.lost, fills.newer) == (True, False, 0, 1)
    assert orders.ok
    assert "desk.orders: messages 1 to " in shown.stdout
    assert "were compared, and no state: the drill derives those of feeds alone" in shown.stdout


@pytest.fixture
def waiting_drill(tmp_path: Path) -> Iterator["subprocess.Popen[str]"]:
    """A drill of `data`, of which there is a backup in `kept`; it has made its directory and waits for this process, which compacts."""
    data = tmp_path / "data"
    write(data, b"one", b"two")
    back_up(data, tmp_path / "kept")
    with locked(data / MAINTENANCE_LOCK) as got:
        assert got
        command = [sys.executable, "-m", "tidebook", "drill", "--data", str(data)]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
            assert process.stderr is not None
            told = process.stderr.readline()
            assert told.startswith("waiting, up to 600 s, for who backs up or compacts"), told
            assert f"process {os.getpid()} (" in told
            yield process
            process.kill()


def test_what_a_killed_drill_left_is_removed_and_told_by_the_next_one(
    tmp_path: Path, waiting_drill: "subprocess.Popen[str]"
) -> None:
    """Copies of a drill that lives, and what somebody else put under such a name, stay."""
    (left,) = tmp_path.glob(".data-drill-*")
    other = tmp_path / ".data-drill-notes"
    other.mkdir()
    (other / "notes.txt").write_text("no copies")
    told: list[str] = []
    assert drill(tmp_path / "data", tmp_path / "kept", tell=told.append).ok
    assert (told, left.is_dir()) == ([], True)
    waiting_drill.kill()
    waiting_drill.wait()
    (left / "backups" / "copied").write_bytes(bytes(3_000_000))
    assert drill(tmp_path / "data", tmp_path / "kept", tell=told.append).ok
    assert told == [f"{left}: 3 MB of copies that a drill left which was killed; removed"]
    assert {path.name for path in tmp_path.iterdir()} == {"data", "kept", other.name}


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_drill_that_is_ended_while_it_waits_removes_what_it_made(
    tmp_path: Path, waiting_drill: "subprocess.Popen[str]", sent: signal.Signals, code: int
) -> None:
    waiting_drill.send_signal(sent)
    assert waiting_drill.wait(timeout=60) == code
    assert {path.name for path in tmp_path.iterdir()} == {"data", "kept"}


def test_a_place_where_no_copies_can_be_made_is_named_with_what_to_do(tmp_path: Path) -> None:
    write(tmp_path / "data", b"one")
    with pytest.raises(BackupError, match="name another place with --scratch"):
        drill(tmp_path / "data", scratch=tmp_path / "nowhere")
