"""The journal of the node's own venue is shortened by a rule, and everybody who follows it goes on: nobody loses what he needs."""

import asyncio
import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path
from typing import Any

import msgspec
import pytest
from structlog.testing import capture_logs

import tidebook as tb
from tests.node.test_live import wait_for
from tests.venue.market import opening, stream
from tidebook._core import MarketDataEngine, inspect_journal
from tidebook.audit import open_database, order_life, rebuild
from tidebook.audit.durable import durable_position
from tidebook.config.settings import VenueSettings
from tidebook.errors import (
    BackupError,
    JournalCompactedError,
    TidebookError,
)
from tidebook.gateway.lives import Everything
from tidebook.node import venue_keeping
from tidebook.node.backup import back_up
from tidebook.node.directory import venue_lives_before_file, venue_lives_file, venue_names_file
from tidebook.node.drill import drill
from tidebook.node.feed_snapshots import SnapshotOptions
from tidebook.node.hosted_venue import HostedVenue, VenuePlan
from tidebook.node.maintenance import KeptJournal, Maintenance, MaintenanceOptions
from tidebook.node.presence import owning
from tidebook.node.restore import restore
from tidebook.node.venue_keeping import OrdersKeeping, OrdersPlan
from tidebook.persistence import verify
from tidebook.persistence.data_directory import MAINTENANCE_LOCK
from tidebook.persistence.file_lock import is_locked, locked
from tidebook.venue import Records

NAMES = """{"format": "tidebook-venue-names", "version": 1, "assets": {"BTC": 1, "USD": 2},
 "accounts": {"alice": {"number": 11}, "bob": {"number": 12}, "carol": {"number": 13}, "dave": {"number": 14}},
 "instruments": {"BTC-USD.LOCAL": {"number": 1, "base": "BTC", "quote": "USD"}, "ETH-USD.LOCAL": {"number": 2, "base": "BTC", "quote": "USD"}}}"""
PLAN = OrdersPlan(rule="snapshots 2", threshold_bytes=0, snapshots=2, audit_url="")
LIVES = 2
"""Times that a venue of these tests runs and ends before it is shortened."""


def told(known: Everything) -> str:
    """All of it but the order of what has none."""
    said: dict[str, Any] = msgspec.to_builtins(known)
    return repr(
        {
            name: value if name == "ended" else sorted(map(repr, value.items() if isinstance(value, dict) else value))
            for name, value in said.items()
        }
    )


class Running:
    """A venue that runs, with what the test asks of it."""

    def __init__(self, venue: HostedVenue, place: Path) -> None:
        self.venue, self.place = venue, place

    def send(self, batch: Records, *, rows: bool = True) -> None:
        """Has commands judged and on disk, with rows, lives and both snapshots behind the last of them."""
        before = self.venue.engine.status()["source_sequence"]
        batch["ts"] = 0  # of no age
        with tb.open_producer("orders.in", directory=self.place / "rings") as producer:
            for first in range(0, len(batch), 500):
                producer.write_batch(batch[first : first + 500])
        wait_for(lambda: self.venue.engine.status()["source_sequence"] == before + len(batch))
        wait_for(lambda: self.venue.engine.status()["durable"] == self.sequence)
        self.venue.follower.catch_up()
        for store in self.venue.stores:
            wait_for(lambda store=store: store.sequences()[-1:] == [self.sequence])
        audit = self.venue.audit
        if audit is not None and rows:
            wait_for(lambda: audit.status().sequence == self.sequence)

    @property
    def sequence(self) -> int:
        sequence: int = self.venue.engine.status()["sequence"]
        return sequence

    @property
    def known(self) -> tuple[int, str]:
        """What venue and gateway know: the state's hash, and all that lives are."""
        return self.venue.follower.venue.state_hash(), told(self.venue.follower.lives.everything())


@contextmanager
def running(place: Path, **settings: Any) -> Iterator[Running]:
    """The venue in a directory, which takes snapshots whenever something has come."""
    data, rings = place / "data", place / "rings"
    rings.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not venue_names_file(data).exists():
        venue_names_file(data).parent.mkdir(parents=True)
        venue_names_file(data).write_text(NAMES)
    with owning(data, "run"):
        venue = HostedVenue(
            VenuePlan(
                settings=VenueSettings(keep=PLAN.rule, **settings),
                snapshots=SnapshotOptions(interval_s=0.02, keep=PLAN.snapshots),
                audit_url=PLAN.audit_url,
                segment_size_bytes=1 << 16,
            ),
            data,
            rings,
        )
        try:
            yield Running(venue, place)
        finally:
            venue.stop()


def traded(place: Path) -> None:
    """Runs a venue so often that everybody's state is kept twice; the journal has segments that nobody needs then."""
    for life in range(LIVES + 1):
        with running(place) as one:
            if life == 0:
                one.send(opening())
            one.send(stream(life, 1_500, begin=one.sequence))
            one.send(stream(20 + life, 300, begin=one.sequence))


def keeping(place: Path, plan: OrdersPlan = PLAN) -> OrdersKeeping:
    return OrdersKeeping(place / "data", plan, rings_root=place)


def journal(place: Path) -> Path:
    return place / "data/journal/orders"


def snapshots(place: Path) -> Path:
    return place / "data/snapshots/orders/orders"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A venue that has traded and ended; tests work on copies."""
    place = tmp_path_factory.mktemp("whole")
    traded(place)
    shutil.rmtree(place / "rings")
    return place


@pytest.fixture
def place(whole: Path, tmp_path: Path) -> Path:
    shutil.copytree(whole / "data", tmp_path / "venue/data")
    return tmp_path / "venue"


@pytest.fixture(scope="module")
def known(whole: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[int, str]:
    """What venue and gateway know where nothing was removed."""
    place = tmp_path_factory.mktemp("known")
    shutil.copytree(whole / "data", place / "data")
    with running(place) as one:
        return one.known


def test_a_shortened_journal_gives_the_same_venue_the_same_lives_and_goes_on(
    place: Path, known: tuple[int, str]
) -> None:
    last = inspect_journal(journal(place))["last_sequence"]
    kept = keeping(place).compact()
    assert kept.first_sequence > 500
    assert kept.removed_segments > 0
    # Everybody finds what he begins with.
    assert all(reader.first_needed >= kept.first_sequence for reader in keeping(place).readers())
    # As it is, and as after a reboot; each command that is replayed is judged again.
    for _ in range(2):
        with running(place, recheck=True) as one:
            assert one.known == known
            assert one.venue.read_count == 0
            assert one.sequence == last
        shutil.rmtree(place / "rings")
    with running(place) as one:
        one.send(stream(7, 500, begin=one.sequence))
        engine = MarketDataEngine(
            {}, place / "rings", venue=one.venue.market_data(), snapshots_dir=place / "data/snapshots"
        )
        try:
            ((_, behind, refused),) = engine.taken_up
            assert (behind, refused) == (one.sequence, [])
        finally:
            engine.stop()
    verify(journal(place))
    # And shortened again, as it has gone on.
    assert keeping(place).compact().first_sequence > kept.first_sequence


def test_the_venue_as_it_was_is_given_from_the_first_snapshot_on_and_else_an_error_says_from_where(place: Path) -> None:
    last = inspect_journal(journal(place))["last_sequence"]
    whole = tb.Venue.open(journal(place))
    hashes = {sequence: whole.at(sequence).state_hash() for sequence in (last - 100, last)}
    kept = keeping(place).compact()
    first = kept.first_sequence
    sequences = [int(path.stem) for path in snapshots(place).glob("*.snapshot")]
    earliest = min(sequence for sequence in sequences if sequence >= first - 1)
    with pytest.raises(
        JournalCompactedError, match=f"orders begins with command {first}, so it can only be made again from a snapshot"
    ):
        tb.Venue.open(journal(place))
    for sequence in (1, earliest - 1):
        with pytest.raises(
            JournalCompactedError, match=f"command {first}.* can be made again from command {earliest} on"
        ):
            tb.Venue.open(journal(place), snapshots=snapshots(place), sequence=sequence)
    venue = tb.Venue.open(journal(place), snapshots=snapshots(place), recheck=True)
    assert venue.state_hash() == hashes[last]
    begin = tb.Venue.open(journal(place), snapshots=snapshots(place), sequence=earliest)
    begin.catch_up()
    assert begin.at(last - 100).state_hash() == hashes[last - 100]
    # Opened at the newest it goes back behind any older one that is left, and says why no further.
    for opened in (venue, venue.fork(), venue.at(last)):
        for sequence in (earliest, last - 100):
            assert opened.at(sequence).state_hash() == whole.at(sequence).state_hash()
        with pytest.raises(
            TidebookError,
            match=f"sequence 5: this venue can be made again from {earliest} to {last}: orders begins with command {first}, as those "
            r"before it were removed \(\[venue\] keep\), and no older snapshot can be gone on from; a backup of the journal that has them",
        ):
            opened.at(5)


def test_who_stands_somewhere_else_or_nowhere_holds_everything_back_and_is_named(place: Path) -> None:
    lives, before = venue_lives_file(place / "data"), venue_lives_before_file(place / "data")

    def nothing_goes(why: str, plan: OrdersPlan = PLAN) -> None:
        kept = keeping(place, plan).compact()
        assert (kept.removed_segments, kept.first_sequence) == (0, 1)
        assert why in kept.held_by, kept.held_by

    @contextmanager
    def away(path: Path) -> Iterator[None]:
        hidden = path.with_name("hidden")
        path.rename(hidden)
        try:
            yield
        finally:
            if path.is_dir():
                shutil.rmtree(path)
            hidden.rename(path)

    for path in (lives, before):
        with away(path):
            nothing_goes(f"the gateway (venue/{path.name}), which is not there yet, still needs message 1")
            content = path.with_name("hidden").read_bytes()
            path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
            nothing_goes(f"the gateway (venue/{path.name}), which cannot be gone on from")
            path.unlink()
    with away(place / "data/audit"):
        nothing_goes("the audit trail, which has no rows yet, still needs message 1")
    nothing_goes(
        "the audit trail, which has no rows yet",
        OrdersPlan(**{**plan_of(PLAN), "audit_url": "sqlite:////nowhere/at/all"}),
    )
    for kind, of in (("orders", "the venue"), ("market_data", "its market data")):
        every = sorted((place / "data/snapshots/orders" / kind).glob("*.snapshot"))
        all_of_them = OrdersPlan(**{**plan_of(PLAN), "snapshots": len(every)})
        why = f"{of}, of which {len(every) - 1} of {len(every)} snapshots (keep_snapshots) can be gone on from,"
        with away(every[-1]):
            nothing_goes(why, all_of_them)
        content = every[-1].read_bytes()
        every[-1].write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        nothing_goes(why, all_of_them)
        every[-1].write_bytes(content)
    nothing_goes("", OrdersPlan(**{**plan_of(PLAN), "rule": "forever"}))
    nothing_goes("its rule keeps message 1", OrdersPlan(**{**plan_of(PLAN), "rule": "size 1GiB"}))
    nothing_goes("its rule keeps message 1", OrdersPlan(**{**plan_of(PLAN), "rule": "age 30d"}))
    # A reader with a name, of the ring or by the cursor that it has stored.
    with running(place) as one:
        reader = tb.open_consumer("orders", "booking", directory=place / "rings", start=1)
        nothing_goes("consumer booking still needs message 1")
        reader.close()
        nothing_goes("consumer booking still needs message 1")
        assert one.venue.failure is None
    shutil.rmtree(place / "rings")
    # None of them is there any more.
    shutil.rmtree(journal(place) / "checkpoints")
    assert keeping(place).compact().removed_segments > 0


def plan_of(plan: OrdersPlan) -> dict[str, Any]:
    return {name: getattr(plan, name) for name in ("rule", "threshold_bytes", "snapshots", "audit_url")}


def test_an_audit_trail_that_is_behind_keeps_the_commands_and_the_snapshots_that_it_goes_on_from(place: Path) -> None:
    """Its database is away while the venue goes on over several lives and its snapshots are rotated; then it is back."""
    trail, hidden = place / "data/audit", place / "hidden"
    with running(place) as one:
        behind = one.sequence
    trail.rename(hidden)
    trail.touch()
    for life in range(4):
        with running(place) as one:
            for number in range(2):
                one.send(stream(40 + 2 * life + number, 400, begin=one.sequence), rows=False)
            assert one.venue.audit is not None
            assert one.venue.audit.status().state == "waiting"
    assert "the audit trail, which has no rows yet, still needs message 1" in keeping(place).judged().held_by
    trail.unlink()
    hidden.rename(trail)
    stood = sorted(int(path.stem) for path in snapshots(place).glob("*.snapshot"))
    assert sum(sequence <= behind for sequence in stood) >= 2, "spared by rotation"
    kept = keeping(place).compact()
    assert f"the audit trail, which is at command {behind:,} and begins behind a snapshot of the venue," in kept.held_by
    assert 1 < kept.first_sequence <= behind
    with running(place) as one:
        one.send(stream(50, 10, begin=one.sequence))
        assert one.venue.audit_failure is None
    assert keeping(place).compact().first_sequence > kept.first_sequence


def test_lives_that_are_lost_are_gone_on_from_by_the_ones_before_and_without_both_the_start_says_what_to_put_back(
    place: Path, known: tuple[int, str]
) -> None:
    keeping(place).compact()
    lives, before = venue_lives_file(place / "data"), venue_lives_before_file(place / "data")
    lives.write_bytes(lives.read_bytes()[:-1])
    with running(place) as one:
        assert one.known == known
        assert one.venue.read_count > 0
        damaged = before.read_bytes()
        one.send(stream(7, 100, begin=one.sequence))
    assert before.read_bytes() == damaged, "a damaged file takes the place of no other"
    lives.unlink()
    before.unlink()
    with (
        pytest.raises(
            JournalCompactedError,
            match=r"what became of its orders by then is nowhere.*lives.*put one of these files back",
        ),
        running(place),
    ):
        pass


def as_an_earlier_release_wrote(path: Path) -> bytes:
    """A file of lives without limits and dead man's switches."""
    line, _, content = path.read_bytes().partition(b"\n")
    kept, at = b"", 0
    while at < len(content):
        end = at + 4 + int.from_bytes(content[at : at + 4], "little")
        if msgspec.msgpack.decode(content[at + 4 : end])[0] not in ("limits", "switches"):
            kept += content[at:end]
        at = end
    head = msgspec.json.decode(line) | {"version": 1, "content": blake2b(kept, digest_size=16).hexdigest()}
    return msgspec.json.encode(head) + b"\n" + kept


def test_lives_of_an_earlier_release_are_gone_on_from_where_nothing_else_tells_them(
    place: Path, known: tuple[int, str]
) -> None:
    lives, before = venue_lives_file(place / "data"), venue_lives_before_file(place / "data")
    assert keeping(place).compact().first_sequence > 1
    lives.write_bytes(as_an_earlier_release_wrote(lives))
    before.unlink()
    with capture_logs() as said, running(place) as one:
        assert one.known == known
    assert any("limits and dead man's switches that were set before" in line["event"] for line in said)


def test_a_backup_of_a_shortened_journal_is_restored_whole_and_one_that_no_start_could_go_on_with_is_none(
    place: Path, known: tuple[int, str], tmp_path: Path
) -> None:
    keeping(place).compact()
    made = back_up(place / "data", tmp_path / "backups")
    (drilled,) = [one for one in drill(place / "data", tmp_path / "backups").channels if one.channel == "orders"]
    assert drilled.ok
    there = tmp_path / "there"
    restore(tmp_path / "backups" / made.id, there / "data")
    with running(there) as one:
        assert one.known == known
        # The trail is in no backup, and cannot be derived again.
        wait_for(lambda: one.venue.audit_failure is not None)
        assert "has no rows of those before: put the trail back" in str(one.venue.audit_failure)
    # Put back from elsewhere it goes on.
    shutil.rmtree(there / "data/audit", ignore_errors=True)
    shutil.copytree(place / "data/audit", there / "data/audit")
    with running(there) as one:
        one.send(stream(7, 100, begin=one.sequence))
        assert one.venue.audit_failure is None
    for path in (venue_lives_file, venue_lives_before_file):
        path(place / "data").unlink()
    with pytest.raises(BackupError, match="what became of its orders is nowhere"):
        back_up(place / "data", tmp_path / "backups")


def test_a_trail_that_the_journal_cannot_give_again_is_not_dropped_and_says_so(place: Path) -> None:
    last = inspect_journal(journal(place))["last_sequence"]
    kept = keeping(place).compact()
    database = open_database("", place / "data")
    with database.reading() as connection:
        before = connection.exec_driver_sql("SELECT count(*), max(sequence) FROM commands").one()
    why = (
        f"nothing was dropped.*orders begins with command {kept.first_sequence}, so rows of commands 1 to {kept.first_sequence - 1} could "
        f"not be made again, and this trail, which reaches to command {last}, is the only thing that has them"
    )
    with pytest.raises(JournalCompactedError, match=why):
        rebuild(database, journal(place))
    with database.reading() as connection:
        assert connection.exec_driver_sql("SELECT count(*), max(sequence) FROM commands").one() == before
    database.close()


def test_orders_of_commands_that_are_gone_are_told_by_the_audit_trail(place: Path) -> None:
    kept = keeping(place).compact()
    database = open_database("", place / "data")
    with database.reading() as connection:
        old = connection.exec_driver_sql(
            f"SELECT max(order_id) FROM fills WHERE sequence < {kept.first_sequence}"
        ).scalar_one()
        new = connection.exec_driver_sql("SELECT max(order_id) FROM fills").scalar_one()
    for order_id in (old, new):
        assert any(step["event"] == "fill" for step in order_life(database, order_id).steps)
    database.close()


COMPACT = """
import sys
from pathlib import Path
from tidebook.node.venue_keeping import OrdersKeeping, OrdersPlan
place = Path(sys.argv[1])
keeping = OrdersKeeping(place / "data", OrdersPlan(rule="snapshots 2", threshold_bytes=0, snapshots=2, audit_url=""), rings_root=place)
keeping.judged()
print("ready", flush=True)
sys.stdin.readline()
keeping.compact()
print("done", flush=True)
"""


@pytest.mark.parametrize("after", [0, 1, 2, 3, 5])
def test_a_kill_while_it_is_shortened_leaves_a_journal_that_everybody_goes_on_from(
    place: Path, known: tuple[int, str], after: int
) -> None:
    """Killed when so many of its segments are gone, seen from outside; how many more go until the kill is there is chance."""
    segments = len(list(journal(place).glob("*.segment")))
    with subprocess.Popen(
        [sys.executable, "-c", COMPACT, str(place)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stdout.readline() == "ready\n"
        process.stdin.write("go\n")
        process.stdin.flush()
        while process.poll() is None and len(list(journal(place).glob("*.segment"))) > segments - after:
            pass
        process.send_signal(signal.SIGKILL)
    verify(journal(place))
    with running(place, recheck=True) as one:
        assert one.known == known
        one.send(stream(7, 100, begin=one.sequence))
    assert keeping(place).compact().first_sequence > 500


def test_market_data_that_is_behind_keeps_the_snapshots_that_it_goes_on_from_whenever_lives_are_kept(
    place: Path,
) -> None:
    with running(place) as one:
        of_market_data = one.venue.stores[1]
        behind = one.sequence
        needed = [sequence for sequence in of_market_data.sequences() if sequence <= behind][-2:]
        one.venue.published = lambda: behind
        one.venue.spare()
        for number in range(4):
            one.send(stream(70 + number, 100, begin=one.sequence))
            asyncio.run(one.venue._keep_lives_now())
        assert set(needed) < set(of_market_data.sequences())
        one.venue.published = lambda: one.sequence
        one.venue.spare()
        one.send(stream(80, 100, begin=one.sequence))
        wait_for(lambda: not set(needed) & set(of_market_data.sequences()))


def test_a_node_shortens_it_by_itself_and_not_while_a_backup_is_made(place: Path) -> None:
    data = place / "data"
    kept = KeptJournal(
        channel="orders", journal=journal(place), stored=lambda: 0, snapshots=list, own_rule=keeping(place).compact
    )
    upkeep = Maintenance(data, [kept], MaintenanceOptions(threshold_bytes=1 << 17))
    with locked(data / MAINTENANCE_LOCK) as got:
        assert got
        upkeep.look()
        assert upkeep.journals["orders"].kept_by == "a backup is being made"
    upkeep.look()
    done = upkeep.journals["orders"]
    assert (done.compactions, done.failures) == (1, 0)
    assert done.removed_bytes > 0
    assert done.first_sequence == inspect_journal(journal(place))["first_sequence"] > 500
    # What holds the rest back is told.
    assert "its rule keeps message" in done.kept_by or "still needs message" in done.kept_by


def test_nobody_who_wants_to_back_up_waits_for_the_audit_trails_database(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Method: whoever asks the database finds the lock of upkeep free; by the node's thread and by the command."""
    asked: list[bool] = []

    def ask(database: Any) -> Any:
        asked.append(is_locked(place / "data" / MAINTENANCE_LOCK))
        return durable_position(database)

    monkeypatch.setattr(venue_keeping, "durable_position", ask)
    by_node = keeping(place)
    kept = KeptJournal(
        channel="orders",
        journal=journal(place),
        stored=lambda: 0,
        snapshots=list,
        ask=by_node.ask,
        own_rule=by_node.compact,
    )
    upkeep = Maintenance(place / "data", [kept], MaintenanceOptions(threshold_bytes=1 << 17))
    upkeep.look()
    assert upkeep.journals["orders"].compactions == 1
    venue_keeping.compact_orders(place / "data", PLAN, dry_run=False)
    assert asked == [False, False]


def test_commands_say_what_holds_it_back_and_shorten_it_where_no_node_runs(place: Path) -> None:
    (place / "tidebook.toml").write_text(
        'keep_snapshots = 2\ncompaction_threshold = 1048576\n[venue]\nkeep = "snapshots 2"\n'
    )

    def tidebook(*words: str, code: int = 0) -> Any:
        command = [sys.executable, "-m", "tidebook", "journal", *words]
        shown = subprocess.run(command, capture_output=True, text=True, check=False, cwd=place)
        assert shown.returncode == code, shown.stderr
        return json.loads(shown.stdout) if "--json" in words else shown.stdout + shown.stderr

    orders = str(journal(place))
    assert "keeps snapshots 2" in tidebook("ls", orders)
    assert "may go; `tidebook journal compact` does it, and its node every minute" in keeping(place).judged().text
    tried = tidebook("compact", orders, "--dry-run", "--json")
    assert tried["removed_segments"] == 0
    assert "still needs message" in tried["held_by"] or "its rule keeps" in tried["held_by"]
    done = tidebook("compact", orders, "--json")
    assert done["removed_segments"] > 0
    assert done["first_sequence"] == inspect_journal(journal(place))["first_sequence"] > 1
    assert f"1 to {done['first_sequence'] - 1:,} were removed; keeps snapshots 2" in tidebook("ls", orders)
