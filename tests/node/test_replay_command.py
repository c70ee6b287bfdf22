"""`tidebook replay` and `record` say what they did, and refuse what would come out wrong before anything is made."""

import json
import struct
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

import tidebook as tb
from tidebook._core import FeedChannel

EIGHT_AUGUST_NS = 1_723_075_200_000_000_000
HOUR_NS = 3_600_000_000_000


def tidebook(*words: str | Path, cwd: Path, stdin: bytes | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tidebook", *map(str, words)]
    done = subprocess.run(command, cwd=cwd, capture_output=True, input=stdin or b"", check=False, timeout=60)
    return subprocess.CompletedProcess(command, done.returncode, done.stdout.decode(), done.stderr.decode())


def capture(path: Path, start_ns: int, messages: int = 20, *, snapshot: bool = True, first_id: int = 100) -> Path:
    """A capture of one instrument: depth messages a second apart, each with a trade, behind a snapshot if one is wanted."""
    lines: list[tuple[int, dict[str, Any]]] = []
    for number in range(messages):
        ns, update = start_ns + number * 1_000_000_000, first_id + number
        levels = {"b": [["10.00000000", f"{number + 1}.0"]], "a": [["10.01000000", "1.50000000"]]}
        diff = {"e": "depthUpdate", "E": ns // 1_000_000, "s": "BTCUSDT", "U": update, "u": update} | levels
        lines.append((ns, {"stream": "btcusdt@depth@100ms", "data": diff}))
        trade = {"e": "trade", "E": ns // 1_000_000, "s": "BTCUSDT", "t": update, "p": "10.0", "q": "0.1", "m": True}
        lines.append((ns + 1, {"stream": "btcusdt@trade", "data": trade | {"T": ns // 1_000_000}}))
    if snapshot:
        book = {"lastUpdateId": first_id, "bids": [["10.00000000", "1.0"]], "asks": [["10.01000000", "1.0"]]}
        lines.insert(1, (start_ns, book))
    path.write_text("".join(f"{ns} {json.dumps(body, separators=(',', ':'))}\n" for ns, body in lines))
    return path


def test_it_says_what_the_recording_gave_and_then_what_the_directory_holds(tmp_path: Path) -> None:
    capture(tmp_path / "one.log", EIGHT_AUGUST_NS)
    capture(tmp_path / "two.log", EIGHT_AUGUST_NS + HOUR_NS, messages=1, first_id=120, snapshot=False)
    first = tidebook("replay", "one.log", "--data", "d", cwd=tmp_path).stdout.splitlines()
    assert first[0].startswith("binance: 41 messages in ")
    assert first[1].startswith("new rows: 1 instrument, 20 trades, ")
    assert first[2] == "books usable: BTCUSDT.BINANCE"
    assert first[-1].startswith("d now holds of 1 instrument: 20 trades, ")
    assert first[-1].endswith("binance up to message 41")
    second = tidebook("replay", "two.log", "--data", "d", cwd=tmp_path).stdout.splitlines()
    assert second[0].startswith("binance: 2 messages, decoded behind the 41 already there, in ")
    assert second[1].startswith("new rows: 1 trade, ")
    assert second[-1].startswith("d now holds of 1 instrument: 21 trades, ")
    again = tidebook("replay", "two.log", "--data", "d", cwd=tmp_path).stdout.splitlines()
    assert again[0].startswith("binance: 2 messages (0 of them new), decoded behind the 41 already there, in ")
    assert again[1] == "new rows: none"


def test_it_says_what_it_passed_over_because_nobody_knows_it(tmp_path: Path) -> None:
    path = capture(tmp_path / "one.log", EIGHT_AUGUST_NS)
    assert "passed over" not in tidebook("replay", "one.log", cwd=tmp_path).stdout
    lines = path.read_text().replace('"t":105', '"mood":[{}],"t":105').splitlines()
    kline = {"stream": "btcusdt@kline_1m", "data": {"e": "kline", "s": "BTCUSDT", "k": {"t": 1}}}
    lines += [f"{EIGHT_AUGUST_NS + HOUR_NS} {json.dumps(kline, separators=(',', ':'))}"] * 2
    path.write_text("\n".join(lines))
    done = tidebook("replay", "one.log", cwd=tmp_path)
    assert "passed over: 2 messages of types that are not decoded, 1 unknown field\n" in done.stdout
    assert done.returncode == 0


def test_a_long_line_is_not_broken_where_nobody_looks_at_a_terminal(tmp_path: Path) -> None:
    (tmp_path / ("long" * 40)).mkdir()
    capture(tmp_path / "one.log", EIGHT_AUGUST_NS)
    directory = "/".join(["long" * 40, "d"])
    shown = tidebook("replay", "one.log", "--data", directory, cwd=tmp_path).stdout.splitlines()
    assert shown[-1].startswith(f"{directory} now holds of 1 instrument: 20 trades")
    assert shown[-1].endswith("message 41")


def test_a_book_that_was_never_usable_is_told_with_the_reason(tmp_path: Path) -> None:
    capture(tmp_path / "none.log", EIGHT_AUGUST_NS, snapshot=False)
    shown = tidebook("replay", "none.log", cwd=tmp_path).stdout.splitlines()
    assert "BTCUSDT.BINANCE: the book was never usable (no snapshot)" in shown
    facts = json.loads(tidebook("replay", "none.log", "--json", cwd=tmp_path).stdout)
    assert (facts["books_usable"], facts["books_never_usable"]) == ([], {"BTCUSDT.BINANCE": "no snapshot"})


def test_what_failed_checks_mean_is_pointed_to(tmp_path: Path) -> None:
    path = capture(tmp_path / "one.log", EIGHT_AUGUST_NS)
    pointer = "what a failed check says, and what it does not: docs/feeds.md, Oracles"
    assert pointer not in tidebook("replay", "one.log", cwd=tmp_path).stdout
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:10] + lines[12:]))  # a depth message and a trade never came
    assert pointer in tidebook("replay", "one.log", cwd=tmp_path).stdout.splitlines()


@pytest.mark.parametrize("command", [("replay",), ("replay", "--data", "d"), ("record", "--data", "d")])
def test_files_in_the_wrong_order_are_refused_before_anything_is_made(tmp_path: Path, command: tuple[str, ...]) -> None:
    early = capture(tmp_path / "early.log", EIGHT_AUGUST_NS)
    late = capture(tmp_path / "late.log", EIGHT_AUGUST_NS + HOUR_NS, first_id=120)
    refused = tidebook(*command, late, early, cwd=tmp_path)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert (
        f"{early} begins at 2024-08-08 00:00:00Z, before the last message in front of it (2024-08-08 01:00:00Z)"
        in refused.stderr
    )
    assert refused.stderr.count("\n") == 1
    assert not (tmp_path / "d").exists()
    assert tidebook(*command, early, late, cwd=tmp_path).returncode == 0


def test_a_recording_older_than_what_the_journal_holds_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    late = capture(tmp_path / "late.log", EIGHT_AUGUST_NS + HOUR_NS, first_id=120)
    early = capture(tmp_path / "early.log", EIGHT_AUGUST_NS)
    tidebook("replay", late, "--data", "d", cwd=tmp_path)
    before = tb.open(tmp_path / "d").scan("bars", revisions=True).collect()
    for command in ("replay", "record"):
        refused = tidebook(command, early, "--data", "d", cwd=tmp_path)
        assert refused.returncode == 1
        assert "begins at 2024-08-08 00:00:00Z, before the last message in front of it (2024-08-08 01:00:19Z)" in (
            refused.stderr
        )
    assert tidebook("journal", "ls", "--data", "d", cwd=tmp_path).stdout.startswith("feed.binance: 1 to 41,")
    assert tb.open(tmp_path / "d").scan("bars", revisions=True).collect().equals(before)
    assert tidebook("replay", late, "--data", "d", cwd=tmp_path).returncode == 0, "what is held may be named again"


def test_a_small_overlap_is_told(tmp_path: Path) -> None:
    one = capture(tmp_path / "one.log", EIGHT_AUGUST_NS)
    two = capture(tmp_path / "two.log", EIGHT_AUGUST_NS + 15_000_000_000, first_id=115)
    told = "overlap: two.log begins 4.0 s before the messages in front of it end"
    for words in ((one, two), (one, two, "--data", "d")):
        shown = tidebook("replay", *words, cwd=tmp_path).stdout
        assert told in shown.splitlines()
    assert tb.open(tmp_path / "d").scan("trades").collect()["trade_id"].to_list() == list(range(100, 135))


def test_recordings_do_not_go_among_messages_of_a_simulated_venue(tmp_path: Path) -> None:
    (tmp_path / "d/journal/feed.binance").mkdir(parents=True)
    (tmp_path / "d/journal/feed.binance/simulated").touch()
    refused = tidebook("replay", capture(tmp_path / "one.log", EIGHT_AUGUST_NS), "--data", "d", cwd=tmp_path)
    assert refused.returncode == 2
    assert "holds messages of a simulated venue; name another --data directory for recordings" in refused.stderr


def test_without_files_it_stores_what_the_journals_hold(tmp_path: Path) -> None:
    one = capture(tmp_path / "one.log", EIGHT_AUGUST_NS)
    tidebook("record", one, "--data", "raw", cwd=tmp_path)
    shown = tidebook("replay", "--data", "raw", cwd=tmp_path).stdout.splitlines()
    assert shown[0].startswith("binance: 41 messages (0 of them new) in ")
    assert shown[1].startswith("new rows: 1 instrument, 20 trades, ")
    tidebook("replay", one, "--data", "direct", cwd=tmp_path)
    for kind in ("trades", "depth", "quotes", "status"):
        raw, direct = (tb.open(tmp_path / name).scan(kind).collect() for name in ("raw", "direct"))
        assert raw.equals(direct), kind
    again = tidebook("replay", "--data", "raw", cwd=tmp_path).stdout.splitlines()
    assert again[1] == "new rows: none"


def test_each_venue_of_a_directory_is_stored(tmp_path: Path) -> None:
    rings = tmp_path / "rings"
    rings.mkdir(mode=0o700)
    for venue in ("binance", "kraken"):
        feed = FeedChannel(f"feed.{venue}", rings, tmp_path / "d/journal" / f"feed.{venue}")
        feed.write(EIGHT_AUGUST_NS, 1, 3, b"", b'{"event":"connected"}')
        feed.close()
    lines = tidebook("replay", "--data", "d", "--json", cwd=tmp_path).stdout.splitlines()
    assert [(report["venue"], report["rows"]) for report in map(json.loads, lines)] == [
        ("binance", {"status": 1}),
        ("kraken", {"status": 1}),
    ]


@pytest.mark.parametrize("command", ["replay", "record"])
def test_a_recording_may_come_from_stdin_and_is_known_again(tmp_path: Path, command: str) -> None:
    one = capture(tmp_path / "one.log", EIGHT_AUGUST_NS)
    piped = tidebook(command, "-", "--data", "d", "--json", cwd=tmp_path, stdin=one.read_bytes())
    assert json.loads(piped.stdout)["messages"] == 41, piped.stderr
    again = json.loads(tidebook("replay", one, "--data", "d", "--json", cwd=tmp_path).stdout)
    assert (again["messages"], again["new"]) == (41, 0)


def test_mistakes_are_one_line_that_says_what_to_do(tmp_path: Path) -> None:
    capture(tmp_path / "one.log", EIGHT_AUGUST_NS)
    (tmp_path / "empty").mkdir()
    for words, said in [
        (["replay", "one.log", "--data", "d", "--flush-rows", "0"], "--flush-rows 0: name a number of rows from 1 to"),
        (["replay", "one.log", "--flush-rows=-1"], "--flush-rows -1: name a number of rows from 1 to"),
        (["replay", "--data", "empty"], "empty holds no journal of a feed; give capture files"),
        (["replay", "one.log", "--dta", "d"], "unknown option --dta"),
        (["replay", "-", "-"], "- is a recording on stdin: pipe one in, and name it once"),
        (["replay", "one.log", "--data", "one.log"], "--data one.log is a file; name a directory"),
        (["record", "one.log", "--data", "one.log"], "--data one.log is a file; name a directory"),
        (["export", "--data", "one.log"], "--data one.log is a file; name a directory"),
        (["journal", "ls", "--data", "one.log"], "--data one.log is a file; name a directory"),
        (["journal", "dump", "--data", "one.log"], "--data one.log is a file; name a directory"),
        (["feeds", "ls", "--data", "one.log"], "--data one.log is a file; name a directory"),
        (["run", "--port", "0", "--data", "one.log"], "--data one.log is a file; name a directory"),
    ]:
        refused = tidebook(*words, cwd=tmp_path)
        assert refused.returncode == 2, words
        assert said in refused.stderr, refused.stderr
        assert refused.stderr.count("\n") == 1, refused.stderr


def nasdaq(path: Path) -> Path:
    """A file of TotalView-ITCH 5.0: one stock, an order that is filled in part, replaced, and halted."""

    def message(kind: bytes, ns: int, body: bytes) -> bytes:
        whole = kind + (7).to_bytes(2, "big") + bytes(2) + ns.to_bytes(6, "big") + body
        return len(whole).to_bytes(2, "big") + whole

    stock, ten = b"AAPL    ", 36_000_000_000_000
    path.write_bytes(
        message(b"R", ten, stock + b"QN" + (100).to_bytes(4, "big") + b"NC" + b"Z " + b"PNN1N" + bytes(4) + b"N")
        + message(b"A", ten + 1, struct.pack(">QcI8sI", 1, b"B", 300, stock, 1_500_000))
        + message(b"E", ten + 2, struct.pack(">QIQ", 1, 100, 77))
        + message(b"U", ten + 3, struct.pack(">QQII", 1, 2, 500, 1_490_000))
        + message(b"H", ten + 4, stock + b"H T1  ")
        + bytes(2)
    )
    return path


def test_a_day_of_nasdaq_is_stored_event_by_event_under_the_day_its_name_or_the_option_says(tmp_path: Path) -> None:
    named = nasdaq(tmp_path / "01302019.NASDAQ_ITCH50")
    nasdaq(tmp_path / "feed.itch")
    for words in ([named.name], ["feed.itch", "--date", "2019-01-30"]):
        data = tmp_path / words[0].split(".")[0]
        done = tidebook("replay", *words, "--data", data, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith("nasdaq: 6 messages in ")
        store = tb.open(data)
        orders = store.scan("orders", "AAPL.NASDAQ").collect()
        assert orders.select("action", "order_id", "side", "price", "size", "remaining").rows() == [
            (1, 1, 1, 150.0, 300.0, 300.0),
            (4, 1, 1, 150.0, 100.0, 200.0),
            (5, 1, 1, 150.0, 200.0, 0.0),
            (1, 2, 1, 149.0, 500.0, 500.0),
        ]
        assert orders["ts_event"][0] == datetime(2019, 1, 30, 15, 0, tzinfo=UTC)
        trades = store.scan("trades", "AAPL.NASDAQ").collect()
        assert trades.select("trade_id", "side", "price", "size").rows() == [(77, -1, 150.0, 100.0)]
        assert store.scan("instruments", "AAPL.NASDAQ").collect()["lot"].to_list() == [100.0]


def test_a_recording_without_a_day_and_a_day_without_use_are_refused(tmp_path: Path) -> None:
    nasdaq(tmp_path / "feed.itch")
    capture(tmp_path / "btcusdt.log", EIGHT_AUGUST_NS)
    for words, said in [
        (
            ["feed.itch"],
            "itch50 content does not say its day; name the file like 01302019.NASDAQ_ITCH50, or give the day",
        ),
        (
            ["btcusdt.log", "--date", "2019-01-30"],
            "hftbacktest says the time of every message itself; leave out --date",
        ),
        (["--date", "2019-01-30", "--data", "d"], "--date is of recordings"),
        (["feed.itch", "--date", "1999-01-30"], "is no day of the exchanges since 2007; write it like 2019-01-30"),
        (["feed.itch", "--date", "30.1.2019"], "Invalid value for --date"),
    ]:
        done = tidebook("replay", *words, cwd=tmp_path)
        assert done.returncode in (1, 2), words
        assert said in done.stderr, words
        assert len(done.stderr.splitlines()) == 1, done.stderr
    assert not (tmp_path / "d").exists()
