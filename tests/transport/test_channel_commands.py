"""`tidebook channel ...` over a ring that was written before: what an operator sees, and the exit codes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import tidebook as tb


@pytest.fixture
def ticks(rings: Path) -> tb.Channel:
    """A hundred records; a consumer that read sixty and is gone."""
    dtype = [("price", "<i8"), ("size", "<i8")]
    channel = tb.create_channel("ticks", tb.ChannelOptions(dtype=dtype), directory=rings / "default")
    records = np.zeros(100, dtype)
    records["price"] = np.arange(100)
    with tb.open_producer(channel) as producer, tb.open_consumer(channel, "reader") as consumer:
        producer.write_batch(records)
        batch = consumer.poll_batch(60)
        assert isinstance(batch, tb.Batch)
        batch.release()
    return channel


def run(rings: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tidebook", "channel", *arguments]
    environment = {**os.environ, "TIDEBOOK_RINGS": str(rings)}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


def test_ls_shows_what_is_there_and_who_lags(rings: Path, ticks: tb.Channel) -> None:
    shown = run(rings, "ls")
    assert shown.returncode == 0, shown.stderr
    assert ticks.name in shown.stdout
    assert "100" in shown.stdout


def test_tail_decodes_records_and_filters_them(rings: Path, ticks: tb.Channel) -> None:
    rows = run(rings, "tail", ticks.name, "--where", "price > 97").stdout.splitlines()
    assert [row.split() for row in rows] == [["sequence", "price", "size"], ["99", "98", "0"], ["100", "99", "0"]]


def test_dump_writes_every_message_there_is(rings: Path, ticks: tb.Channel, tmp_path: Path) -> None:
    out = tmp_path / "ticks.jsonl"
    assert run(rings, "dump", ticks.name, "--format", "jsonl", "-o", str(out)).returncode == 0
    assert [json.loads(line)["price"] for line in out.read_text().splitlines()] == list(range(100))


def test_verify_names_the_first_damaged_message_and_fails(rings: Path, ticks: tb.Channel) -> None:
    assert run(rings, "verify", ticks.name).returncode == 0
    with ticks.path.open("r+b") as file:
        # In the price of the last record: slots are the end of the file.
        stride = ticks.ring.slot[1]
        file.seek(ticks.path.stat().st_size - (ticks.ring.capacity - 100) * stride + 16)
        file.write(b"\xff")
    damaged = run(rings, "verify", ticks.name)
    assert damaged.returncode != 0
    assert "100" in damaged.stdout + damaged.stderr


def test_the_cursor_of_a_consumer_that_is_gone_can_be_moved(rings: Path, ticks: tb.Channel) -> None:
    assert run(rings, "cursor", "reset", ticks.name, "reader", "--start", "91").returncode == 0
    with tb.open_consumer(ticks, "reader") as reader:
        assert reader.next_sequence == 91


def test_doctor_says_what_it_examined_and_that_nothing_is_wrong(rings: Path, ticks: tb.Channel) -> None:
    told = run(rings, "doctor")
    assert told.returncode == 0, told.stdout
    assert "/dev/shm" in told.stdout
    assert ticks.name in told.stdout


@pytest.fixture
def orders(rings: Path, tmp_path: Path) -> tb.Channel:
    """A durable channel whose reader has stored a state and, when it closed, its cursor."""
    options = tb.ChannelOptions(durability="wal", wal_dir=tmp_path / "wal")
    channel = tb.create_channel("orders", options, directory=rings / "default")
    with tb.open_producer(channel) as producer, tb.open_consumer(channel, "reader") as consumer:
        producer.write(b"one", wait="durable")
        consumer.poll(lambda *_: None, timeout=60)
        consumer.checkpoint("sum", b"one")
    return channel


def test_a_damaged_stored_cursor_is_told_with_its_cause_beside_what_is_whole_and_can_be_forgotten(
    rings: Path, orders: tb.Channel, tmp_path: Path
) -> None:
    """Method: every byte that may be the number of its message, behind its key."""
    file, key = tmp_path / "wal" / "orders" / "checkpoints" / "data.mdb", b"\x11orders\0reader\0"
    before, *rest = file.read_bytes().split(key)
    file.write_bytes(key.join([before, *(after[:16] + bytes([after[16] ^ 1]) + after[17:] for after in rest)]))
    shown = json.loads(run(rings, "cursor", "ls", "--json").stdout)
    assert {one["consumer"] for one in shown["consumers"]} == {"journal", "reader"}
    state, cursor = shown["checkpoints"]
    assert (state["kind"], state["name"], state["sequence"], state["behind"]) == ("state", "sum", 1, 0)
    assert (cursor["kind"], cursor["name"], cursor["damaged"]) == ("consumer", "reader", "checksum of its head")
    table = run(rings, "cursor", "ls").stdout
    assert "damaged cursor" in table
    assert "checksum of its head" in table
    forgotten = run(rings, "cursor", "remove", str(orders.path), "reader")
    assert (forgotten.returncode, forgotten.stdout) == (0, f"{orders.path}: reader is forgotten\n")
    after = json.loads(run(rings, "cursor", "ls", "--json").stdout)
    assert [one["kind"] for one in after["checkpoints"]] == ["state"]


def test_checkpoints_that_cannot_be_read_hide_no_consumer_and_are_told_with_their_cause(
    rings: Path, orders: tb.Channel, tmp_path: Path
) -> None:
    file = tmp_path / "wal" / "orders" / "checkpoints" / "data.mdb"
    file.write_bytes(file.read_bytes()[:-4096])
    shown = run(rings, "cursor", "ls", orders.name)
    assert shown.returncode == 0, shown.stderr
    assert "reader" in shown.stdout
    assert f"orders: its checkpoints cannot be read: the checkpoints in {file.parent} are damaged" in shown.stdout


def test_a_bare_name_is_a_channel_of_the_default_node_for_what_changes_something(
    rings: Path, ticks: tb.Channel
) -> None:
    """Method: the same command again, when the default node's channel is gone and another node has one of the name."""
    other = tb.create_channel("ticks", {}, directory=rings / "desk")
    assert run(rings, "rm", "ticks").returncode == 0
    assert not ticks.path.exists()
    for command in (
        ("rm", "ticks"),
        ("cursor", "remove", "ticks", "reader"),
        ("cursor", "reset", "ticks", "reader", "--start", "latest"),
    ):
        again = run(rings, *command)
        assert again.returncode == 1, again.stdout
        assert "no channel ticks of node default" in again.stderr
        assert "desk/ticks" in again.stderr
    assert other.path.exists()
    assert run(rings, "tail", "ticks").returncode == 0, "who only looks finds the one there is"
    assert run(rings, "rm", "desk/ticks").returncode == 0
    assert not other.path.exists()
