"""`tidebook journal`: the state of journals in one line each, damage as an exit code."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

import tidebook as tb
from tidebook import persistence
from tidebook._core import CheckpointStore, JournalWriter, pack_message
from tidebook.node.status import directory_status


def tidebook(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tidebook", "journal", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data directory with one journal of thirty messages."""
    writer = JournalWriter(tmp_path / "journal/feed.binance", "feed.binance", segment_size_bytes=65_536)
    for number in range(30):
        writer.append(pack_message(1_700_000_000_000_000_000 + number, 1, 1, b'{"n":%d}' % number))
        writer.sync()
    writer.close()
    return tmp_path


def test_ls_says_what_a_journal_holds_and_how_far_it_is_durable(data: Path) -> None:
    shown = tidebook("ls", "--data", data)
    assert shown.stdout.startswith("feed.binance: 1 to 30, durable to 30; 1 segment, ")
    assert shown.stdout.endswith("closed\n")
    facts = json.loads(tidebook("ls", "--data", data, "--json").stdout)
    assert [(entry["channel"], entry["last_sequence"]) for entry in facts["journals"]] == [("feed.binance", 30)]


def test_verify_exits_with_failure_and_names_the_place_of_damage(data: Path) -> None:
    directory = data / "journal/feed.binance"
    shown = tidebook("verify", directory)
    assert (shown.returncode, shown.stdout) == (0, f"{directory}: whole, 30 messages in 30 batches\n")
    segment = directory / "0000000001.segment"
    content = bytearray(segment.read_bytes())
    content[4096 + 1000] ^= 1
    segment.write_bytes(content)
    shown = tidebook("verify", "--data", data, "--json")
    (damaged,) = json.loads(shown.stdout)["damaged"]
    assert (shown.returncode, damaged["segment"], damaged["sequence"] > 1) == (1, 1, True)


def test_dump_shows_messages_from_a_sequence_on(data: Path) -> None:
    directory = data / "journal/feed.binance"
    shown = tidebook("dump", directory, "--from", "5", "--limit", "2")
    assert shown.stdout == '5 1700000000000000004 ws 1 {"n":4}\n6 1700000000000000005 ws 1 {"n":5}\n'
    last = [json.loads(line) for line in tidebook("dump", directory, "--limit", "0", "--json").stdout.splitlines()][-1]
    assert (last["sequence"], last["kind"], last["body"]) == (30, "ws", '{"n":29}')


def test_a_journal_is_named_by_its_directory_or_by_the_one_it_is_in(data: Path) -> None:
    directory = data / "journal/feed.binance"
    for command in (("ls",), ("verify",), ("dump", "--limit", "3")):
        named = [tidebook(*command, *words).stdout for words in ([directory], [data], ["--data", data])]
        assert named[0], command
        assert named == [named[0]] * 3, command


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("dump", "--from", "-1"), "--from -1"),
        (("dump", "--limit", "-1"), "--limit -1: name how many messages"),
        (("repair", "--cut-at", "-1"), "--cut-at -1: name a message"),
        (("repair", "--cut-at", str(1 << 64)), f"--cut-at {1 << 64}: name a message"),
    ],
)
def test_a_number_that_no_message_can_have_is_a_mistake_of_usage(
    data: Path, arguments: tuple[str, ...], told: str
) -> None:
    shown = tidebook(*arguments, "--data", data)
    assert (shown.returncode, shown.stdout) == (2, "")
    assert told in shown.stderr


def test_dump_says_when_it_begins_beyond_the_end_and_which_journals_there_are(data: Path) -> None:
    beyond = tidebook("dump", "--data", data, "--from", "31")
    assert (beyond.returncode, beyond.stdout) == (2, "")
    assert beyond.stderr == f"tidebook: --from 31 is beyond the end: {data}/journal/feed.binance holds 1 to 30\n"
    JournalWriter(data / "journal/feed.kraken", "feed.kraken", segment_size_bytes=65_536).close()
    several = tidebook("dump", "--data", data)
    assert several.returncode == 2
    assert f"there are 2 journals; name one of {data}/journal/feed.binance, " in several.stderr


def test_stats_count_batches_by_size_and_tell_what_the_channel_was_run_with(tmp_path: Path) -> None:
    writer = JournalWriter(tmp_path / "journal/orders", "orders", configuration='{"sync":"group"}')
    for number in range(100):
        writer.append(b"x" * 100)
        if number % 10 == 9:
            writer.sync()
    writer.close()
    shown = tidebook("stats", "--data", tmp_path).stdout.splitlines()
    assert shown[0].startswith("orders: 100 messages, 1 to 100; 1 segment, ")
    assert shown[1] == "  10 KB of messages, 100 bytes each; 10 batches of 10.0, 9 syncs shown by them"
    assert shown[2].split() == ["batches", "up", "to", "2,048", "bytes", "10", "#" * 40]
    assert shown[-1] == '  run with {"sync":"group"} from message 1 on'
    facts = json.loads(tidebook("stats", "--data", tmp_path, "--json").stdout)
    assert (facts["batch_sizes"], facts["segments"][0]["messages"]) == ({"2048": 10}, 100)


@pytest.fixture
def damaged(data: Path) -> Path:
    """The journal of thirty messages with a changed bit in message 13, and a copy of it as it was."""
    directory = data / "journal/feed.binance"
    shutil.copytree(directory, data / "copy")
    content = bytearray((directory / "0000000001.segment").read_bytes())
    content[content.index(b'{"n":12}') + 2] ^= 1
    (directory / "0000000001.segment").write_bytes(content)
    return directory


def test_repair_tells_the_choices_and_changes_nothing_without_one(damaged: Path) -> None:
    before = {path.name: path.read_bytes() for path in damaged.iterdir()}
    shown = tidebook("repair", damaged)
    assert shown.returncode == 1
    lines = shown.stdout.splitlines()
    assert lines[0] == f"{damaged}: damaged"
    assert "segment 1, offset " in lines[1]
    assert "from message 13 on: a batch known durable up to sequence 30 does not verify" in lines[1]
    assert lines[2] == "nothing was changed; the choices are"
    assert "--cut-at 12       go on behind message 12; loses 13 to 30, 18 messages as far as is known" in shown.stdout
    assert {path.name: path.read_bytes() for path in damaged.iterdir()} == before
    refused = tidebook("repair", damaged, "--cut-at", "13")
    assert refused.returncode == 2
    assert refused.stderr == "tidebook: --cut-at 13: the last good message is 12; give exactly that\n"
    changed = {path.name: path.read_bytes() for path in damaged.iterdir() if path.stat().st_size}
    assert changed == {name: content for name, content in before.items() if content}


def test_repair_puts_segments_back_from_a_copy(damaged: Path, data: Path) -> None:
    shown = tidebook("repair", damaged, "--source", data / "copy")
    assert (shown.returncode, shown.stdout.splitlines()[-1]) == (0, f"{damaged}: whole, up to message 30")
    assert (damaged / "quarantine/0000000001.segment").is_file()
    assert tidebook("verify", damaged).returncode == 0
    again = tidebook("repair", damaged)
    assert (again.returncode, again.stdout) == (0, f"{damaged}: whole, up to message 30; nothing to repair\n")


@pytest.mark.parametrize("leads_nowhere", [False, True], ids=["it is gone", "its name leads nowhere"])
def test_repair_tells_a_missing_segment_and_puts_it_back(tmp_path: Path, leads_nowhere: bool) -> None:
    journal, copy = tmp_path / "journal/numbers", tmp_path / "copy"
    for _ in range(3):
        writer = JournalWriter(journal, "numbers", segment_size_bytes=65_536)
        writer.append(b"one message")
        writer.sync()
        del writer
    shutil.copytree(journal, copy)
    segment = journal / "0000000002.segment"
    segment.unlink()
    if leads_nowhere:
        segment.symlink_to(tmp_path / "unmounted")
    shown = tidebook("repair", journal)
    assert (shown.returncode, shown.stderr) == (1, "")
    assert "segment 2, offset 0" in shown.stdout
    done = tidebook("repair", journal, "--source", copy)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, f"{journal}: whole, up to message 3")
    assert [payload for _, payload in persistence.read(journal)] == [b"one message"] * 3


def test_repair_refuses_a_copy_that_does_not_fit(damaged: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    shown = tidebook("repair", damaged, "--source", tmp_path / "empty")
    assert shown.returncode == 1
    assert "segment 1: not put back: " in shown.stdout
    assert not (damaged / "quarantine").exists()


def test_repair_cuts_behind_the_last_good_message_when_told_so(damaged: Path) -> None:
    snapshots = [f"{sequence:020}.snapshot" for sequence in (10, 20)]
    kept = damaged.parent.parent / "snapshots/feed.binance/state"
    kept.mkdir(parents=True)
    for name in snapshots:
        (kept / name).touch()
    facts = json.loads(tidebook("repair", damaged, "--cut-at", "12", "--json").stdout)
    assert facts["snapshots"] == [str(kept / snapshots[1])], "the one that is beyond the cut"
    assert (facts["damaged"], facts["cut"]["lost"], facts["cut"]["epoch"]) == (False, 18, 2)
    assert [Path(path).name for path in facts["cut"]["quarantined"]] == ["0000000001.segment", snapshots[1]]
    assert [(one["kind"], one["sequence"]) for one in facts["beyond"]] == [("snapshot", 20)]
    assert [path.name for path in kept.iterdir()] == snapshots[:1], "what is not beyond the cut stays"
    writer = JournalWriter(damaged, "feed.binance")
    assert (facts["cut"]["next_sequence"], writer.next_sequence) == (31, 31), "no number is given twice"
    writer.append(b"thirty-one")
    writer.close()
    assert tidebook("dump", damaged, "--from", "13").stdout.split()[0] == "31"


def test_a_cut_that_was_interrupted_is_finished_by_the_same_command(damaged: Path) -> None:
    """Nothing can be put aside while a file is in the way."""
    kept = damaged.parent.parent / "snapshots/feed.binance/state"
    kept.mkdir(parents=True)
    (kept / f"{20:020}.snapshot").touch()
    checkpoints = CheckpointStore(damaged / "checkpoints")
    epoch = 1 << 32 | persistence.examine(damaged).first_sequence
    checkpoints.put("state", "feed.binance", "positions", epoch=epoch, sequence=11, state=b"eleven")
    del checkpoints
    (damaged / "quarantine").mkdir()
    (damaged / "quarantine/snapshots").write_text("in the way")
    failed = tidebook("repair", damaged, "--cut-at", "12")
    assert failed.returncode == 1
    assert "cannot be put aside" in failed.stderr
    assert "the journal is cut. Mend that and give the same command again" in failed.stderr
    (damaged / "quarantine/snapshots").unlink()
    done = tidebook("repair", damaged, "--cut-at", "12")
    lines = done.stdout.splitlines()
    assert (done.returncode, lines[0]) == (0, "it was cut there already")
    assert lines[1:] == [
        f"  kept: {damaged}/quarantine/snapshots/state/{20:020}.snapshot",
        f"  kept: {damaged}/quarantine/checkpoints",
        f"{damaged}: whole, up to message 30, but for 13 to 30, which a cut gave up",
    ]
    elsewhere = tidebook("repair", damaged, "--cut-at", "11")
    assert "nothing to repair" in elsewhere.stdout


def test_export_writes_messages_in_every_format_and_records_as_columns(data: Path, tmp_path: Path) -> None:
    directory = data / "journal/feed.binance"
    shown = tidebook("export", directory, "-o", tmp_path / "out.jsonl", "--from", "5", "--to", "6")
    assert shown.stdout == f"{tmp_path}/out.jsonl: 2 messages of feed.binance, 5 to 6\n"
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [row["sequence"] for row in rows] == [5, 6]
    tidebook("export", directory, "-o", tmp_path / "out.raw")
    raw = (tmp_path / "out.raw").read_bytes()
    read = []
    while raw:
        size = int.from_bytes(raw[8:12], "little")
        read.append((int.from_bytes(raw[:8], "little"), raw[12 : 12 + size]))
        raw = raw[12 + size :]
    assert read == list(persistence.read(directory))

    dtype = np.dtype([("price", "<i8"), ("size", "<i8")])
    records = np.array([(n, n * 2) for n in range(100)], dtype)
    described = json.dumps({"ring": {"record_size_bytes": 16}, "record": {"layout": "price:i8:0;size:i8:8"}})
    writer = JournalWriter(data / "journal/prices", "prices", configuration=described)
    for record in records:
        writer.append(record.tobytes())
    writer.close()
    shown = tidebook("export", data / "journal/prices", "-o", tmp_path / "out.parquet")
    assert shown.returncode == 0, shown.stderr
    table = pq.read_table(tmp_path / "out.parquet")
    assert table.column_names == ["sequence", "price", "size"]
    assert table["size"].to_pylist() == records["size"].tolist()
    beyond = tidebook("export", directory, "--from", "31")
    assert (beyond.returncode, beyond.stderr.count("\n")) == (2, 1)


def test_the_records_of_a_durable_channel_are_columns_of_their_export(tmp_path: Path) -> None:
    """Its journal says what they are: neither ring nor program is needed to read them."""
    (tmp_path / "rings").mkdir(mode=0o700)
    quote = np.dtype([("price", "<i8"), ("size", "<u4"), ("side", "S4")])
    options = tb.ChannelOptions(dtype=quote, buffer_size=1 << 14, durability="wal", wal_dir=tmp_path / "journal")
    with tb.open_producer(tb.create_channel("quotes", options, directory=tmp_path / "rings")) as producer:
        producer.write_batch(np.array([(n, n + 1, b"bid") for n in range(50)], quote), wait="durable")
    shutil.rmtree(tmp_path / "rings")
    (change,) = persistence.configurations(tmp_path / "journal/quotes")
    assert json.loads(change.configuration or "")["sync"] == {"interval_ms": 10}
    shown = tidebook("export", "--data", tmp_path, "-o", tmp_path / "quotes.parquet")
    assert (shown.returncode, shown.stderr) == (0, "")
    table = pq.read_table(tmp_path / "quotes.parquet")
    assert table.column_names == ["sequence", "price", "size", "side"]
    assert (table["price"].to_pylist(), table["side"][0].as_py()) == (list(range(50)), b"bid")


def durable(wal_dir: Path, rings: Path, dtype: np.dtype, name: str = "quotes") -> None:
    """A durable channel with `wal_dir` of its own and three records in it, the first numbered 0."""
    rings.mkdir(mode=0o700, exist_ok=True)
    options = tb.ChannelOptions(dtype=dtype, buffer_size=1 << 14, durability="wal", wal_dir=wal_dir)
    with tb.open_producer(tb.create_channel(name, options, directory=rings)) as producer:
        producer.write_batch(np.array([(n, b"bid") for n in range(3)], dtype), wait="durable")


def test_dump_shows_the_fields_of_records_up_to_a_sequence(tmp_path: Path) -> None:
    durable(tmp_path / "wal", tmp_path / "rings", np.dtype([("price", "<i8"), ("side", "S4")]))
    journal = tmp_path / "wal/quotes"
    shown = tidebook("dump", journal, "--from", "2", "--to", "2")
    assert (shown.stdout, shown.stderr) == ("2 price=1 side=bid\n", "")
    lines = tidebook("dump", journal, "--json", "--to", "2").stdout.splitlines()
    assert [json.loads(line) for line in lines] == [
        {"sequence": 1, "price": 0, "side": "bid"},
        {"sequence": 2, "price": 1, "side": "bid"},
    ]
    assert len(tidebook("dump", journal, "--limit", "2").stdout.splitlines()) == 2
    assert tidebook("dump", journal, "--from", "3", "--to", "2").returncode == 2


def test_dump_shows_text_as_text_and_other_bytes_in_hexadecimal(tmp_path: Path) -> None:
    """As `channel tail` does."""
    (tmp_path / "rings").mkdir(mode=0o700)
    options = {"durability": "wal", "wal_dir": tmp_path}
    with tb.open_producer(tb.create_channel("notes", options, directory=tmp_path / "rings")) as producer:
        for payload in ("naïve".encode(), b"\x1b[2J", b"\xff\x00"):
            producer.write(payload, wait="durable")
    assert tidebook("dump", tmp_path / "notes").stdout == "1 naïve\n2 1b5b324a\n3 ff00\n"
    lines = tidebook("dump", tmp_path / "notes", "--json").stdout.splitlines()
    assert [json.loads(line) for line in lines] == [
        {"sequence": 1, "text": "naïve"},
        {"sequence": 2, "payload": "1b5b324a"},
        {"sequence": 3, "payload": "ff00"},
    ]


def test_journals_of_own_channels_that_changed_places_are_told_and_a_copy_under_another_name_is_not(
    tmp_path: Path,
) -> None:
    wal = tmp_path / "wal"
    for name in ("orders", "quotes"):
        durable(wal, tmp_path / "rings", np.dtype([("price", "<i8"), ("side", "S4")]), name)
    shutil.copytree(wal / "orders", wal / "orders-of-yesterday")
    assert tidebook("verify", wal).returncode == 0
    assert directory_status(wal).ok
    (wal / "orders").rename(wal / "aside")
    (wal / "quotes").rename(wal / "orders")
    (wal / "aside").rename(wal / "quotes")
    shown = tidebook("verify", wal)
    assert shown.returncode == 1
    assert f"{wal}/orders is the journal of quotes, not of orders: nobody starts with it" in shown.stdout
    assert f"{wal}/quotes is the journal of orders, not of quotes: nobody starts with it" in shown.stdout
    found = {Path(channel.journal).name: channel for channel in directory_status(wal).channels}
    assert {name: channel.is_misplaced for name, channel in found.items()} == {
        "orders": True,
        "orders-of-yesterday": False,
        "quotes": True,
    }


def test_journals_are_found_in_the_directory_that_channels_have_for_their_wal_dir(tmp_path: Path) -> None:
    wal = tmp_path / "wal"
    for name in ("orders", "quotes"):
        durable(wal, tmp_path / "rings", np.dtype([("price", "<i8"), ("side", "S4")]), name)
    for command in ("ls", "verify", "stats"):
        shown = tidebook(command, wal)
        assert (shown.returncode, shown.stderr) == (0, ""), command
        assert "orders" in shown.stdout, command
        assert "quotes" in shown.stdout, command
    several = tidebook("dump", wal)
    assert f"there are 2 journals; name one of {wal}/orders, {wal}/quotes" in several.stderr
    status = subprocess.run(
        [sys.executable, "-m", "tidebook", "status", "--data", wal, "--json"],
        capture_output=True,
        text=True,
        check=True,
    )
    channels = json.loads(status.stdout)["channels"]
    assert [(channel["channel"], channel["durable"], channel["sync"]) for channel in channels] == [
        ("orders", 3, "every 10 ms"),
        ("quotes", 3, "every 10 ms"),
    ]


def test_a_backup_or_drill_of_journals_alone_says_what_they_are_and_where_to_put_them(tmp_path: Path) -> None:
    wal = tmp_path / "wal"
    durable(wal, tmp_path / "rings", np.dtype([("price", "<i8"), ("side", "S4")]), "orders")
    for words in (["backup", tmp_path / "backups", "--data", wal], ["drill", "--data", wal]):
        command = [sys.executable, "-m", "tidebook", *map(str, words)]
        shown = subprocess.run(command, capture_output=True, text=True, check=False)
        assert shown.returncode == 1, words
        assert "it holds the journals of channels of your own (orders)" in shown.stderr
        assert "DATA/journal" in shown.stderr
    assert not (tmp_path / "backups").exists() or not any((tmp_path / "backups").glob("2*"))


def test_journals_of_own_channels_in_a_data_directory_are_backed_up_with_it(tmp_path: Path) -> None:
    """No node has ever run there."""
    data, restored = tmp_path / "data", tmp_path / "restored"
    durable(data / "journal", tmp_path / "rings", np.dtype([("price", "<i8"), ("side", "S4")]))

    def run(*words: str | Path) -> str:
        command = [sys.executable, "-m", "tidebook", *map(str, words)]
        shown = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (shown.returncode, shown.stderr) == (0, ""), words
        return shown.stdout

    assert "quotes" in run("status", "--data", data)
    assert "quotes: up to message 3" in run("backup", tmp_path / "backups", "--data", data)
    run("restore", tmp_path / "backups", "--data", restored)
    assert run("journal", "dump", restored).splitlines()[-1] == "3 price=2 side=bid"
    (drilled,) = (line for line in run("drill", "--data", data).splitlines() if line.startswith("quotes "))
    assert drilled.split()[1:3] == ["3", "0"], "messages, and those lost"


def test_messages_of_two_layouts_are_not_exported_as_if_they_had_one(tmp_path: Path) -> None:
    """A journal as a release wrote it that did not compare layouts; dump shows each message in its own."""
    journal = tmp_path / "journal/quotes"
    for name in ("price", "ratio"):
        kind = "i8" if name == "price" else "f8"
        configuration = {"ring": {"record_size_bytes": 8}, "record": {"layout": f"{name}:{kind}:0"}}
        writer = JournalWriter(journal, "quotes", configuration=json.dumps(configuration))
        for number in range(3):
            writer.append(np.array([number], f"<{kind}").tobytes())
        writer.sync()
        writer.close()
    out = tmp_path / "quotes.jsonl"
    refused = tidebook("export", journal, "-o", out)
    assert (refused.returncode, refused.stdout, out.exists()) == (2, "", False)
    assert refused.stderr == (
        f"tidebook: {journal}: from message 4 on its records have another layout; export up to --to 3 and --from 4 on, "
        "each into a file of its own\n"
    )
    older = tidebook("export", journal, "--to", "3")
    assert older.stdout.splitlines()[-1] == '{"sequence":3,"price":2}'
    assert older.stderr == "stdout: 3 messages of quotes, 1 to 3\n"
    assert tidebook("export", journal, "--from", "4").stdout.splitlines()[-1] == '{"sequence":6,"ratio":2.0}'
    assert tidebook("dump", journal).stdout.splitlines()[2:4] == ["3 price=2", "4 ratio=0.0"]


def test_mistakes_are_one_line(tmp_path: Path) -> None:
    for arguments in (("ls", "--data", tmp_path), ("verify", tmp_path), ("dump", tmp_path / "nowhere")):
        shown = tidebook(*arguments)
        assert shown.returncode != 0
        assert shown.stdout == ""
        assert shown.stderr.startswith("tidebook: ")
        assert shown.stderr.count("\n") == 1
