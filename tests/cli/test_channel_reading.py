"""`tidebook channel ls, top, tail, dump, verify`: a channel is seen as it is, and not changed by being looked at."""

import io
import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from rich.console import Console

import tidebook as tb
from tests.cli.conftest import Shown
from tidebook import persistence
from tidebook._core import pack_message, schemas
from tidebook.cli.channel.decoded import time_text
from tidebook.transport.view import ChannelView, Messages, find_channel

Run = Callable[..., Shown]

TICK = np.dtype([("price", "<i8"), ("size", "<f8"), ("levels", "<i4", (3,))])


def ticks(count: int, first: int = 1) -> np.ndarray[Any, Any]:
    records = np.zeros(count, TICK)
    records["price"] = np.arange(first, first + count)
    records["size"] = records["price"] / 4
    records["levels"] = records["price"][:, None] + [0, 10, 20]
    return records


def trades(count: int) -> np.ndarray[Any, Any]:
    records = np.zeros(count, schemas()["trades"].dtype())
    records["ts_event"] = 1_700_000_000_000_000_000 + np.arange(count)
    records["price"], records["price_exp"] = 12_345 + np.arange(count), 2
    records["size"], records["size_exp"] = 150_000_000, 8
    records["instrument_id"], records["side"], records["trade_id"] = 7, 1, 2**64 - 1
    return records


@pytest.fixture
def node(root: Path) -> Path:
    """A node with a channel of each kind: records, messages, many producers, raw messages; two consumers."""
    directory = root / "default"
    with tb.open_producer(tb.create_channel("ticks", tb.ChannelOptions(dtype=TICK), directory=directory)) as producer:
        producer.write_batch(ticks(100))
    with tb.open_producer(tb.create_channel("notes", directory=directory)) as producer:
        producer.write_batch([b"one", "zwölf".encode(), b"\xff\x00binary"])
    options = tb.ChannelOptions(mode="mpsc")
    with tb.open_producer(tb.create_channel("orders", options, directory=root / "desk")) as producer:
        producer.write(b"buy")
    with tb.open_producer(tb.create_channel("feed.test", directory=directory)) as producer:
        producer.write(pack_message(1_700_000_000_000_000_000, 3, 1, b'{"a": 1}', b"books"))
    trading = tb.create_channel("md.trades", tb.ChannelOptions(schema="trades"), directory=directory)
    defining = tb.create_channel("md.instruments", tb.ChannelOptions(schema="instruments"), directory=directory)
    definition = np.zeros(1, schemas()["instruments"].dtype())
    definition["instrument_id"] = 7
    definition["symbol"][0][:15] = list(b"BTCUSDT.BINANCE")
    with tb.open_producer(trading) as producer, tb.open_producer(defining) as defines:
        defines.write_batch(definition)
        producer.write_batch(trades(50))
    with tb.open_consumer("ticks", "reader", start="earliest", directory=directory) as reader:
        batch = reader.poll_batch(60)
        assert isinstance(batch, tb.Batch)
        batch.release()
    return directory


def test_ls_shows_every_node_and_channel(node: Path, tidebook: Run) -> None:
    with tb.open_producer("ticks", directory=node), tb.open_consumer("ticks", "reader", directory=node):
        found = {(one["node"], one["channel"]): one for one in tidebook("channel", "ls", "--json").json["channels"]}
        shown = tidebook("channel", "ls")
    assert list(found) == [
        ("default", "feed.test"),
        ("default", "md.instruments"),
        ("default", "md.trades"),
        ("default", "notes"),
        ("default", "ticks"),
        ("desk", "orders"),
    ]
    one = found["default", "ticks"]
    expected = {"kind": "slots", "mode": "spsc", "published": 100, "producers": 1, "worst_lag": 40, "lost": 0}
    assert {name: one[name] for name in expected} == expected
    assert one["schema"] == {"name": "ticks", "version": 1}
    assert one["occupancy"] == pytest.approx(40 / one["capacity"])
    assert [consumer["name"] for consumer in one["consumers"]] == ["reader"]
    assert found["desk", "orders"]["mode"] == "mpsc"
    assert found["desk", "orders"]["trouble"][0]["short"] == "nobody"
    assert shown.code == 0
    lines = {line.split()[0]: line for line in shown.out.splitlines()[2:]}
    assert re.search(r"ticks +ticks v1 .* 100 +0 .* 1 +1/1 +40$", lines["ticks"].rstrip())
    assert lines["desk/orders"].rstrip().endswith("nobody")


def test_looking_changes_no_byte_of_a_channel(node: Path, tidebook: Run, tmp_path: Path) -> None:
    """Method: every command that looks, on every channel; the files before and after are compared."""
    files = sorted(node.parent.rglob("*.ring"))
    before = [path.read_bytes() for path in files]
    commands = [
        ["ls"], ["top", "--once", "--interval-s", "0.1"], ["verify"], ["cursor", "ls"], ["doctor"],
        *(["tail", name] for name in ("ticks", "notes", "feed.test", "md.trades", "desk/orders")),
        *(["dump", name, "-o", str(tmp_path / f"{name}.csv")] for name in ("ticks", "notes", "md.trades")),
    ]  # fmt: skip
    for command in commands:
        shown = tidebook("channel", *command)
        assert shown.out, (command, shown)
    assert all(path.read_bytes() == content for path, content in zip(files, before, strict=True))
    assert sorted(node.parent.rglob("*")) == sorted([*files, node, node.parent / "desk"])


def test_top_shows_rates_between_two_looks_and_latencies(node: Path, tidebook: Run) -> None:
    """Method: a thread's worth of work done between the looks by a consumer and a producer of this process."""
    channel = tb.open_channel("ticks", directory=node)
    with tb.open_producer(channel) as producer, tb.open_consumer(channel, "reader") as reader:
        for _ in range(20):
            producer.write_batch(ticks(64))
            while reader.poll_batch(64) is not None:
                pass
        found = tidebook("channel", "top", "ticks", "--json", "--interval-s", "0.1").json["channels"][0]
        shown = tidebook("channel", "top", "ticks", "desk/orders", "--once", "--interval-s", "0.1")
    assert found["published"] == 100 + 20 * 64
    assert found["messages_per_s"] == 0
    (consumer,) = found["consumers"]
    assert (consumer["name"], consumer["lag"], consumer["process_id"]) == ("reader", 0, os.getpid())
    assert 0 < consumer["p50_ns"] <= consumer["p99_ns"]
    assert "  reader" in shown.out
    assert "desk/orders" in shown.out
    assert "notes" not in shown.out


def test_rates_are_what_came_between_the_samples(node: Path) -> None:
    from tidebook.transport.sampling import Sample, quantile, rates

    channel = tb.open_channel("ticks", directory=node)
    view = ChannelView(find_channel("ticks"))
    with tb.open_producer(channel) as producer, tb.open_consumer(channel, "reader") as reader:
        before = Sample(10.0, view.status())
        producer.write_batch(ticks(50))
        reader.poll_batch(30)
        reader.poll_batch(1)
        found = rates(view, before, Sample(12.0, view.status()))
    assert (found.messages_per_s, found.bytes_per_s) == (25.0, 25.0 * view.unit_size_bytes)
    assert found.consumers[0].messages_per_s == 15.0
    assert found.worst_lag == 60
    assert [quantile({32: 1, 64: 98, 128: 1}, part) for part in (0.005, 0.5, 0.99, 1)] == [32, 64, 64, 128]
    assert quantile({}, 0.5) is None


def test_tail_decodes_records_by_their_own_layout(node: Path, tidebook: Run) -> None:
    shown = tidebook("channel", "tail", "ticks", "-n", "3")
    assert shown.out.splitlines() == [
        "sequence  price   size   levels",
        "      98     98   24.5   98 (3)",
        "      99     99  24.75   99 (3)",
        "     100    100     25  100 (3)",
    ]
    assert tidebook("channel", "tail", "ticks", "-n", "1", "--json").objects == [
        {"sequence": 100, "price": 100, "size": 25.0, "levels": [100, 110, 120]}
    ]
    published = tidebook("channel", "tail", "md.trades", "-n", "1", "--json").objects[0]
    expected = {"price": "123.94", "size": "1.50000000", "instrument": "BTCUSDT.BINANCE", "trade_id": 2**64 - 1}
    assert {name: published[name] for name in expected} == expected
    line = tidebook("channel", "tail", "md.trades", "-n", "1").out.splitlines()[1]
    assert line.split()[:5] == ["50", "2023-11-14", "22:13:20.000000", "BTCUSDT.BINANCE", "123.94"]


def test_tail_shows_messages_as_text_or_hex_and_raw_ones_taken_apart(node: Path, tidebook: Run) -> None:
    lines = tidebook("channel", "tail", "notes").out.splitlines()
    assert [line.split(None, 2)[2] for line in lines] == ["message", "one", "zwölf", "ff006269 6e617279"]
    (raw,) = tidebook("channel", "tail", "feed.test", "--json").objects
    assert raw == {
        "sequence": 1,
        "ts_recv": 1_700_000_000_000_000_000,
        "kind": "ws",
        "connection": 3,
        "context": "books",
        "body": '{"a": 1}',
    }
    assert tidebook("channel", "tail", "orders", "--node", "desk", "--json").objects[0]["message"] == "buy"


@pytest.mark.parametrize(
    ("name", "where", "sequences"),
    [
        ("ticks", "price > 97", [98, 99, 100]),
        ("ticks", "price BETWEEN 3 AND 5 AND size < 1.2", [3, 4]),
        ("md.trades", "price > 123.91 AND instrument = 'BTCUSDT.BINANCE'", [48, 49, 50]),
        ("md.trades", "trade_id = 18446744073709551615 AND price = 123.45", [1]),
        ("notes", "message LIKE '%w%'", [2]),
        ("ticks", "price > 1000", []),
    ],
)
def test_tail_shows_the_newest_that_match(
    node: Path, tidebook: Run, name: str, where: str, sequences: list[int]
) -> None:
    shown = tidebook("channel", "tail", name, "--where", where, "--json")
    assert [row["sequence"] for row in shown.objects] == sequences
    newest = tidebook("channel", "tail", name, "--where", where, "--json", "-n", "2")
    assert [row["sequence"] for row in newest.objects] == sequences[-2:]


def test_a_condition_that_is_none_is_refused_with_the_columns(node: Path, tidebook: Run) -> None:
    for where, said in (("prize > 3", "columns are sequence, price, size, levels"), ("price >", "is no condition")):
        shown = tidebook("channel", "tail", "ticks", "--where", where)
        assert (shown.code, shown.out) == (2, "")
        assert said in shown.err
        assert shown.err.count("\n") == 1


def test_tail_follows_a_channel_over_its_being_made_anew(node: Path, root: Path) -> None:
    """Method: a process that follows; what it says is awaited, then the channel is written, removed and made again."""
    command = [sys.executable, "-m", "tidebook", "channel", "tail", "notes", "-f", "-n", "1", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as following:
        assert following.stdout is not None
        lines = iter(following.stdout.readline, "")
        assert json.loads(next(lines))["sequence"] == 3
        with tb.open_producer("notes", directory=node) as producer:
            producer.write(b"four")
        assert json.loads(next(lines))["message"] == "four"
        tb.open_channel("notes", directory=node).remove()
        with tb.open_producer(tb.create_channel("notes", directory=node)) as producer:
            producer.write(b"again")
            assert "renewed" in json.loads(next(lines))
            assert json.loads(next(lines)) == {"sequence": 1, "size_bytes": 5, "message": "again"}
        following.send_signal(signal.SIGINT)
        assert following.stderr is not None
        assert following.stderr.read() == "tidebook: interrupted\n"
    assert following.returncode == 130


def test_a_dump_holds_the_messages_as_they_are_in_every_format(node: Path, tidebook: Run, tmp_path: Path) -> None:
    expected = ticks(100)
    for ending in ("parquet", "csv", "jsonl", "raw"):
        out = tmp_path / f"ticks.{ending}"
        shown = tidebook("channel", "dump", "ticks", "-o", str(out))
        assert (shown.code, shown.out) == (0, f"{out}: 100 messages of ticks, 1 to 100\n")
    parquet = pl.read_parquet(tmp_path / "ticks.parquet")
    assert parquet.schema == {
        "sequence": pl.UInt64, "price": pl.Int64, "size": pl.Float64, "levels": pl.Array(pl.Int32, 3),
    }  # fmt: skip
    assert parquet["price"].to_list() == expected["price"].tolist()
    assert parquet["levels"].to_list() == expected["levels"].tolist()
    csv = pl.read_csv(tmp_path / "ticks.csv")
    assert csv.columns == ["sequence", "price", "size", "levels_0", "levels_1", "levels_2"]
    assert csv["levels_2"].to_list() == (expected["price"] + 20).tolist()
    rows = [json.loads(line) for line in (tmp_path / "ticks.jsonl").read_text().splitlines()]
    assert rows[41] == {"sequence": 42, "price": 42, "size": 10.5, "levels": [42, 52, 62]}
    assert np.array_equal(np.fromfile(tmp_path / "ticks.raw", TICK), expected)


def test_a_dump_of_messages_loses_no_byte(node: Path, tidebook: Run, tmp_path: Path) -> None:
    payloads = [b"one", "zwölf".encode(), b"\xff\x00binary"]
    for ending in ("parquet", "csv", "jsonl", "raw"):
        assert tidebook("channel", "dump", "notes", "-o", str(tmp_path / f"notes.{ending}")).code == 0
    assert pl.read_parquet(tmp_path / "notes.parquet")["message"].to_list() == payloads
    rows = [json.loads(line) for line in (tmp_path / "notes.jsonl").read_text().splitlines()]
    assert rows[1:] == [{"sequence": 2, "message": "zwölf"}, {"sequence": 3, "message_hex": payloads[2].hex()}]
    csv = pl.read_csv(tmp_path / "notes.csv")
    assert csv["message_hex"].to_list() == [None, None, payloads[2].hex()]
    raw = io.BytesIO((tmp_path / "notes.raw").read_bytes())
    read = []
    while head := raw.read(12):
        read.append((int.from_bytes(head[:8], "little"), raw.read(int.from_bytes(head[8:], "little"))))
    assert read == list(enumerate(payloads, 1))


def test_a_dump_takes_a_span_and_replaces_nothing_unasked(node: Path, tidebook: Run, tmp_path: Path) -> None:
    out = tmp_path / "some.jsonl"
    assert tidebook("channel", "dump", "ticks", "-o", str(out), "--from", "10", "--to", "12").code == 0
    assert [json.loads(line)["sequence"] for line in out.read_text().splitlines()] == [10, 11, 12]
    refused = tidebook("channel", "dump", "ticks", "-o", str(out))
    assert (refused.code, refused.err.count("\n")) == (2, 1)
    assert "--force" in refused.err
    assert tidebook("channel", "dump", "ticks", "-o", str(out), "--force", "--from", "100").code == 0
    assert out.read_text().count("\n") == 1
    beyond = tidebook("channel", "dump", "ticks", "--from", "101")
    assert (beyond.code, "holds messages up to 100" in beyond.err) == (2, True)
    assert tidebook("channel", "dump", "ticks", "-o", str(tmp_path / "ticks.xlsx")).code == 2
    printed = tidebook("channel", "dump", "ticks", "--format", "csv", "--from", "100")
    assert printed.out.splitlines() == [
        '"sequence","price","size","levels_0","levels_1","levels_2"',
        "100,100,25,100,110,120",
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["some.jsonl"]


def test_a_dump_of_what_was_overwritten_says_so_in_its_exit_code(node: Path, tidebook: Run, tmp_path: Path) -> None:
    channel = tb.create_channel("small", tb.ChannelOptions(dtype=TICK, buffer_size=2048), directory=node)
    with tb.open_producer(channel) as producer:
        producer.write_batch(ticks(500))
    oldest = channel.status()["oldest"]
    shown = tidebook("channel", "dump", "small", "-o", str(tmp_path / "small.csv"), "--from", "1")
    assert shown.code == 1
    assert shown.err == f"not in it: {oldest - 1:,} messages that were overwritten before\n"
    assert tidebook("channel", "dump", "small", "-o", str(tmp_path / "rest.csv")).code == 0


def damage(channel: tb.Channel, sequence: int) -> int:
    """Changes a byte of a record's payload; gives where its slot starts in the file."""
    stride, count = channel.ring.slot[1], channel.ring.capacity
    data = channel.path.stat().st_size - stride * count
    offset = data + sequence % count * stride
    with channel.path.open("r+b") as file:
        file.seek(offset + 20)
        byte = file.read(1)
        file.seek(offset + 20)
        file.write(bytes([byte[0] ^ 1]))
    return offset


def test_verify_names_the_first_bad_message_and_its_byte(node: Path, tidebook: Run, tmp_path: Path) -> None:
    assert (tidebook("channel", "verify").code, tidebook("channel", "verify", "ticks").out) == (
        0,
        "ticks: whole, 100 messages (1 to 100), 3 KB\n",
    )
    channel = tb.open_channel("ticks", directory=node)
    places = [damage(channel, sequence) for sequence in (7, 40)]
    shown = tidebook("channel", "verify", "ticks")
    assert shown.code == 1
    lines = shown.out.splitlines()
    assert lines[0] == "ticks: damaged, 2 problems; whole are 98 messages (1 to 100), 3 KB"
    assert lines[1] == f"  first bad message: 7, at byte {places[0]:,} of {channel.path}"
    assert lines[2].startswith(f"  byte {places[0]:,}: message 7: the frame of 44 bytes from here has the CRC 0x")
    found = tidebook("channel", "verify", "--json")
    (bad,) = [one for one in found.json["channels"] if one["problem_count"]]
    assert [(one["sequence"], one["offset"]) for one in bad["problems"]] == [(7, places[0]), (40, places[1])]
    assert found.code == 1
    # Others go on behind it and say so.
    tail = tidebook("channel", "tail", "ticks", "-n", "200")
    assert (tail.code, len(tail.out.splitlines())) == (1, 1 + 98 + 2)
    dump = tidebook("channel", "dump", "ticks", "-o", str(tmp_path / "ticks.raw"))
    assert (dump.code, "message 7: byte" in dump.err) == (1, True)
    assert len(np.fromfile(tmp_path / "ticks.raw", TICK)) == 98


def test_verify_of_what_is_no_ring_says_why(node: Path, tidebook: Run) -> None:
    (node / "junk.ring").write_bytes(b"x" * 9000)
    shown = tidebook("channel", "verify")
    assert shown.code == 1
    assert "junk: not usable:" in shown.out
    assert "its first bytes are not those of a ring" in shown.out
    assert "ticks: whole" in shown.out


def test_a_channel_is_found_by_name_node_or_path_and_missed_with_what_is_there(
    node: Path, root: Path, tidebook: Run
) -> None:
    path = root / "desk" / "orders.ring"
    for words in (["orders"], ["desk/orders"], ["orders", "--node", "desk"], [str(path)]):
        assert tidebook("channel", "tail", *words, "--json").objects[0]["message"] == "buy"
    missed = tidebook("channel", "tail", "tick")
    assert missed.code == 1
    assert f"no channel tick in {root}: did you mean ticks? there are feed.test, md.instruments" in missed.err
    for other in ("a", "b"):
        tb.create_channel("twice", directory=root / other)
    assert "several nodes have a channel twice; name one: a/twice, b/twice" in tidebook("channel", "tail", "twice").err


def test_a_ring_others_can_write_is_looked_at_only_when_asked_for(node: Path, tidebook: Run) -> None:
    (node / "ticks.ring").chmod(0o666)
    for words in (["tail", "ticks"], ["dump", "ticks"], ["cursor", "reset", "ticks", "reader", "--start", "latest"]):
        shown = tidebook("channel", *words)
        assert (shown.code, shown.out) == (1, "")
        assert "can be written by everybody (mode 0666)" in shown.err
        assert tidebook("channel", *words, "--allow-others").code == 0
    verified = tidebook("channel", "verify", "ticks", "--json").json["channels"][0]
    assert verified["readable"] is False


def test_top_serves_what_it_shows_to_prometheus(node: Path, root: Path) -> None:
    command = [sys.executable, "-m", "tidebook", "channel", "top", "--once", "--prometheus", "127.0.0.1:0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as serving:
        assert serving.stdout is not None
        address = serving.stdout.readline().split()[-1]
        with urllib.request.urlopen(address, timeout=30) as answer:
            page = answer.read().decode()
        serving.kill()
    assert 'tidebook_channel_published_total{channel="ticks",node="default"} 100.0' in page.splitlines()
    assert 'tidebook_channel_consumer_lag_records{channel="ticks",consumer="reader",node="default"} 40.0' in page


def test_a_view_beside_a_writer_reads_whole_records_or_gaps(node: Path, process: Callable[..., Any]) -> None:
    """Method: a process that writes as fast as it can; what the view reads is checked record by record."""
    tb.create_channel("fast", tb.ChannelOptions(dtype=TICK, buffer_size=8192), directory=node)
    code = """
import sys, numpy as np, tidebook as tb
with tb.open_producer("fast", directory=sys.argv[1]) as producer:
    records = np.zeros(50, producer.channel.dtype)
    print("ready", flush=True)
    for first in range(1, 20_000, 50):
        records["price"] = np.arange(first, first + 50)
        records["size"], records["levels"] = records["price"] / 4, records["price"][:, None]
        producer.write_batch(records)
"""
    writer = process(code, str(node))
    view = ChannelView(find_channel("fast"))
    after = 1
    while writer.poll() is None or after <= view.status()["published"]:
        for found in view.read(after):
            assert found is not None
            if isinstance(found, Messages):
                assert found.records is not None
                assert int(found.sequences[0]) == after
                assert np.array_equal(found.records["price"], found.sequences.astype(np.int64))
                assert np.array_equal(found.records["levels"][:, 2], found.records["price"])
                after = int(found.sequences[-1]) + 1
            else:
                assert isinstance(found, tb.Gap), found
                assert found.first == after
                after = found.first + found.count
    assert after == 20_001


@pytest.mark.parametrize("width", [60, 80, 100, 120, 160, 200])
def test_a_table_leaves_columns_out_by_name_and_cuts_no_cell(node: Path, width: int) -> None:
    """What matters most, lag and trouble, is there at every width."""
    from tidebook.cli.channel.ls import _Looked, _sample_all, _table
    from tidebook.transport.view import channel_files

    looked = [_Looked.at(file) for file in channel_files()]
    _sample_all(looked)
    screen = io.StringIO()
    Console(file=screen, width=width).print(_table(looked, width))
    lines = screen.getvalue().splitlines()
    assert "…" not in screen.getvalue()
    head = lines[0].split()
    assert [head[0], *head[-2:]] == ["channel", "lag", "trouble"]
    assert any(line.split()[-2:] == ["40", "nobody"] for line in lines if line.startswith("ticks "))
    told = re.search(r"not shown: (.*?) \(", " ".join(lines))
    left_out = [] if told is None else told[1].split(", ")
    assert {*head, *left_out} == {
        *("channel", "kind", "mode", "epoch", "size", "published", "msg/s", "MB/s", "full", "prod", "cons", "lag", "trouble"),
    }  # fmt: skip
    assert not set(head) & set(left_out)


def test_the_epoch_of_a_durable_channel_is_its_journals_number(
    root: Path, tidebook: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = root / "default"
    tb.create_channel("orders", {"durability": "wal", "wal_dir": str(root / "wal")}, directory=directory)
    tb.create_channel("ticks", directory=directory)
    lines = {line.split()[0]: line for line in tidebook("channel", "ls").out.splitlines()[2:]}
    assert re.search(r" journal [0-9a-f]+ ", lines["orders"])
    assert re.search(r" \d{4}-\d\d-\d\d \d\d:\d\d:\d\d ", lines["ticks"])


@pytest.mark.parametrize("words", [["ls"], ["top", "--once"], ["verify"], ["doctor"], ["cursor", "ls"]], ids=" ".join)
def test_a_node_that_is_not_there_is_said_to_be_the_reason(node: Path, tidebook: Run, words: list[str]) -> None:
    shown = tidebook("channel", *words, "--node", "nope")
    assert shown.code == 1
    assert "node nope has no channels in " in shown.err
    assert shown.err.endswith("nodes with channels are default, desk\n")


def test_rm_removes_channels_that_nobody_has_open(node: Path, tidebook: Run) -> None:
    with tb.open_producer("ticks", directory=node):
        refused = tidebook("channel", "rm", "notes", "ticks")
        assert (refused.code, refused.out) == (1, "")
        assert f"channel ticks is open: a producer (process {os.getpid()}); close it first" in refused.err
    with tb.open_consumer("ticks", "reader", directory=node):
        refused = tidebook("channel", "rm", "ticks")
        assert f"channel ticks is open: consumer reader (process {os.getpid()}); close it first" in refused.err
    assert (node / "notes.ring").exists(), "all are looked at before the first is removed"
    (remedy,) = (
        one["remedy"]
        for one in tidebook("channel", "doctor", "--json").json["channels"]
        if (one["subject"], one["short"]) == ("desk/orders", "nobody")
    )
    assert "tidebook channel rm desk/orders" in remedy
    shown = tidebook("channel", "rm", "notes", "ticks", "desk/orders")
    assert (shown.code, shown.out) == (0, "notes: removed\nticks: removed\ndesk/orders: removed\n")
    assert not {"notes.ring", "ticks.ring", "orders.ring"} & {path.name for path in node.parent.rglob("*.ring")}
    assert tidebook("channel", "rm").code == 2
    assert "no channel ticks in " in tidebook("channel", "rm", "ticks").err


def test_rm_refuses_what_a_journal_does_not_have_yet(
    root: Path, tidebook: Run, process: Callable[..., "subprocess.Popen[str]"]
) -> None:
    """Method: a producer whose journal waits a day for its next sync is killed, so that the ring alone has the message."""
    directory = root / "default"
    code = """
import sys, tidebook as tb
options = {"durability": "wal", "wal_dir": sys.argv[2], "journal_sync_interval_ms": 86_400_000}
producer = tb.open_producer(tb.create_channel("orders", options, directory=sys.argv[1]))
print(producer.write(b"buy"), flush=True)
sys.stdin.read()
"""
    child = process(code, str(directory), str(root / "wal"))
    child.kill()
    child.wait()
    refused = tidebook("channel", "rm", "orders")
    assert refused.code == 2
    assert "channel orders holds 1 message not in its journal yet" in refused.err
    assert "not on disk" in tidebook("channel", "ls").out
    options = {"durability": "wal", "wal_dir": str(root / "wal")}
    tb.open_producer(tb.create_channel("orders", options, directory=directory)).close()
    assert tidebook("channel", "rm", "orders").code == 0
    child = process(code, str(directory), str(root / "wal"))
    child.kill()
    child.wait()
    shown = tidebook("channel", "rm", "orders", "--lose-unjournaled")
    assert (shown.code, shown.out) == (0, "orders: removed, with 1 message not in its journal\n")
    assert len(list(persistence.read(root / "wal" / "orders"))) == 1


def test_fields_of_bytes_are_text_where_they_are_text_and_else_hexadecimal(
    node: Path, tidebook: Run, tmp_path: Path
) -> None:
    layout = np.dtype([("symbol", "S4"), ("legs", "S2", (2,))])
    channel = tb.create_channel("names", {"dtype": layout}, directory=node)
    with tb.open_producer(channel) as producer:
        producer.write_batch(np.array([(b"AAPL", [b"a", b"bc"]), (b"\xff\x01", [b"\xfe", b"x"])], layout))
    assert tidebook("channel", "tail", "names", "--json").objects == [
        {"sequence": 1, "symbol": "AAPL", "legs": ["a", "bc"]},
        {"sequence": 2, "symbol": "ff01", "legs": ["fe", "x"]},
    ]
    assert len(tidebook("channel", "tail", "names", "--where", "symbol = 'AAPL'", "--json").objects) == 1
    assert tidebook("channel", "dump", "names").objects == [
        {"sequence": 1, "symbol": "AAPL", "legs": ["a", "bc"]},
        {"sequence": 2, "symbol_hex": "ff01", "legs_hex": ["fe", "78"]},
    ]
    assert tidebook("channel", "dump", "names", "--format", "csv").out.splitlines() == [
        '"sequence","symbol","symbol_hex","legs_0","legs_0_hex","legs_1","legs_1_hex"',
        '1,"AAPL",,"a",,"bc",',
        '2,,"ff01",,"fe","x",',
    ]
    assert tidebook("channel", "dump", "names", "-o", str(tmp_path / "names.parquet")).code == 0
    assert pl.read_parquet(tmp_path / "names.parquet")["symbol"].to_list() == [b"AAPL", b"\xff\x01"]


def test_what_happened_to_a_book_is_told_in_words(node: Path, tidebook: Run) -> None:
    channel = tb.create_channel("md.status", {"schema": "status"}, directory=node)
    records = np.zeros(3, channel.dtype)
    records["kind"], records["reason"] = [2, 3, 14], [7, 5, 0]
    with tb.open_producer(channel) as producer:
        producer.write_batch(records)
    rows = tidebook("channel", "tail", "md.status", "--json").objects
    assert [(row["kind"], row["reason"]) for row in rows] == [
        ("book_unusable", "checksum_mismatch"),
        ("book_usable", "snapshot_applied"),
        ("connected", ""),
    ]
    assert len(tidebook("channel", "tail", "md.status", "--where", "kind = 'book_unusable'", "--json").objects) == 1


def test_tail_of_a_durable_channel_begins_at_the_newest_it_shows(
    root: Path, tidebook: Run, process: Callable[..., Any]
) -> None:
    """Method: a producer whose journal is not synced, after one that synced its own."""
    directory = root / "default"
    code = """
import sys, tidebook as tb
options = {"durability": "wal", "wal_dir": sys.argv[2]}
with tb.open_producer(tb.create_channel("orders", options, directory=sys.argv[1])) as producer:
    producer.write_batch([b"synced %d" % number for number in range(5)])
options["journal_sync_interval_ms"] = 86_400_000
producer = tb.open_producer(tb.create_channel("orders", options, directory=sys.argv[1]))
print(producer.write_batch([b"not yet %d" % number for number in range(10)]), flush=True)
sys.stdin.read()
"""
    child = process(code, str(directory), str(root / "wal"))
    shown = tidebook("channel", "tail", "orders", "-n", "2")
    assert [line.split("  ")[-1].strip() for line in shown.out.splitlines()[-2:]] == ["synced 3", "synced 4"]
    assert tidebook("channel", "tail", "orders", "-n", "2", "--peek").out.splitlines()[-1].endswith("not yet 9")
    child.kill()
    child.wait()


def test_a_time_is_cut_and_not_rounded_to_the_next_second() -> None:
    second = 1_700_000_000
    assert time_text(second * 10**9 + 999_999_999) == "2023-11-14 22:13:20.999999"
    assert time_text(second * 10**9 + 1_000) == "2023-11-14 22:13:20.000001"


def test_names_that_look_like_markup_are_shown_as_they_are(node: Path, tidebook: Run) -> None:
    with tb.open_consumer("ticks", "[/red]", directory=node), tb.open_consumer("notes", "[bold]x", directory=node):
        for command in (("top", "--once", "--interval-s", "0.1"), ("cursor", "ls")):
            shown = tidebook("channel", *command)
            assert shown.code == 0, shown
            assert "[/red]" in shown.out
            assert "[bold]x" in shown.out


def test_a_ring_that_was_cut_under_who_looks_is_no_ring_any_more(node: Path) -> None:
    """Method: to read where the file ended would end this process."""
    view = ChannelView(find_channel("ticks", root=node.parent))
    reading = view.read(limit=1, follow=True)
    assert isinstance(next(reading), Messages)
    verifier = view.ring.verify()
    os.truncate(node / "ticks.ring", 5_000)
    for look in (view.status, lambda: next(reading), lambda: verifier.step(10), lambda: view.ring.walk(0)):
        with pytest.raises(tb.errors.ChannelFormatError, match="it was cut to 5000 of its"):
            look()


def test_more_messages_than_there_can_be_are_all_there_are(node: Path, tidebook: Run) -> None:
    shown = tidebook("channel", "tail", str(node / "ticks.ring"), "-n", "99999999999999999999", "--json")
    assert shown.code == 0, shown
    assert len(shown.out.splitlines()) == 100
