"""`tidebook snapshot`: which snapshots there are, whether they are whole, and what recovery makes of them."""

from __future__ import annotations

import importlib
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from tidebook.cli import inputs
from tidebook.cli.output import Json, counted, print_json
from tidebook.cli.shown import size
from tidebook.errors import SnapshotError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tidebook.persistence import SnapshotFacts, SnapshotStore, State


def ls(*stores: Path, data: Path | None = None, json: Json = False) -> None:
    """List the snapshots of a data directory, oldest first; none is read for it.

    Parameters
    ----------
    stores
        Directories of snapshots, or of data; default: all of the data directory.
    data
        Data directory; default: the setting `data_directory`.
    """
    found = [
        (store, sequence, store.directory / f"{sequence:020}.snapshot")
        for store in _stores(stores, data)
        for sequence in store.sequences()
    ]
    if json:
        print_json(
            {
                "snapshots": [
                    {"path": str(path), "kind": store.kind, "sequence": sequence}
                    | {"size_bytes": path.stat().st_size, "written_ns": path.stat().st_mtime_ns}
                    for store, sequence, path in found
                ]
            }
        )
        return
    if not found:
        print(_none_yet())
    for store, sequence, path in found:
        when = _time(path.stat().st_mtime_ns)
        print(f"{store.kind} at {sequence:,}: {size(path.stat().st_size)}, {when}; {path}")


def verify(*stores: Path, data: Path | None = None, json: Json = False) -> int:
    """Read every byte of snapshots; the exit code says whether all are whole.

    Parameters
    ----------
    stores
        Directories of snapshots, or of data; default: all of the data directory.
    data
        Data directory; default: the setting `data_directory`.
    """
    whole: list[SnapshotFacts] = []
    damaged = []
    for store in _stores(stores, data):
        for sequence in store.sequences():
            try:
                whole.append(store.verify(sequence))
            except SnapshotError as error:
                damaged.append({"store": str(store.directory), "sequence": sequence, "problem": str(error)})
    if json:
        print_json({"whole": [_shown(facts) for facts in whole], "damaged": damaged})
    else:
        for facts in whole:
            place = f"{facts.place.channel} behind batch {facts.place.batch_number:,}"
            print(f"{facts.path}: whole, {facts.kind} of {place}, state hash {facts.state_hash:016x}")
        for problem in damaged:
            print(problem["problem"])
        if not whole and not damaged:
            print(_none_yet())
    return 1 if damaged else 0


def load(
    journal: Path,
    store: Path,
    *,
    state: str | None = None,
    at: Annotated[int | None, Parameter(name="--at-most")] = None,
    json: Json = False,
) -> None:
    """Recover a state from a journal and its snapshots, and print what was found; nothing is changed.

    Parameters
    ----------
    journal
        Directory of the journal.
    store
        Directory of the snapshots.
    state
        What begins the state: `module:name` of a class or function, looked for in the current directory too. Not needed for the
        snapshots of a feed.
    at
        Use no snapshot beyond this sequence.
    """
    from tidebook.persistence import SnapshotStore, recover

    _check_store(store)
    if state is None:
        _load_feed(journal, store, at, json=json)
        return
    make = _factory(state)
    recovered = recover(make, journal, SnapshotStore(store, make().kind), snapshot_sequence_max=at)
    facts = recovered.facts
    if json:
        shown = asdict(facts) | {
            "used": _shown(facts.used) if facts.used else None,
            "state_hash": _hash(facts.state_hash),
        }
        print_json(shown | {"place": asdict(recovered.place) if recovered.place else None})
        return
    for sequence, problem in facts.refused:
        print(f"snapshot {sequence:,} not used: {problem}")
    begin = f"snapshot at {facts.used.sequence:,}" if facts.used else _first_message(store)
    print(
        f"{recovered.state.kind} of {facts.channel}: from {begin} and {counted(facts.tail_count, 'message')} behind it"
    )
    print(f"at {facts.last_sequence:,}, state hash {_hash(facts.state_hash)}")
    print(f"loaded in {facts.loading_s:.3f} s, messages applied in {facts.replaying_s:.3f} s")


def _check_store(store: Path) -> None:
    """Raises: UsageError for a directory that is not there, or whose snapshots are one level further down: neither is a state
    without a snapshot, which begins with the first message.
    """
    from tidebook.persistence.snapshots import stores

    if not store.is_dir():
        raise UsageError(f"{store} is no directory; name that of the snapshots of one state")
    if _has_snapshots(store):
        return
    below = [found.directory for found in stores(store) if found.sequences()]
    if below:
        raise UsageError(
            f"{store} has no snapshots itself; name the directory of one state: {', '.join(str(path) for path in below)}"
        )


def _load_feed(journal: Path, store: Path, at: int | None, *, json: bool) -> None:
    """As `load`, of the state of a feed. Raises: UsageError for a directory of other states."""
    from tidebook._core import FeedDecoder, JournalReader

    kind = store.resolve().name
    if not kind.startswith("feed."):
        raise UsageError(f"{store} has snapshots of {kind}: name what begins such a state with --state module:name")
    last = 2**63 - 1 if at is None else at
    decoder, refused = FeedDecoder.begin(kind.removeprefix("feed."), journal, store.resolve().parent.parent, last)
    used, tail = decoder.sequence, 0
    reader = JournalReader(journal, channel=kind, from_sequence=used + 1)
    while (read := reader.next()) is not None:
        decoder.decode(*read)
        tail += len(read[1])
    report = decoder.report()
    facts = {
        "kind": kind,
        "used": used or None,
        "refused": refused,
        "tail_count": tail,
        "last_sequence": decoder.sequence,
        "state_hash": _hash(decoder.state_hash),
        "instruments": report["instruments"],
        "books": report["books"],
    }
    if json:
        print_json(facts)
        return
    for reason in refused:
        print(f"not used: {reason}")
    begin = f"snapshot at {used:,}" if used else _first_message(store)
    print(f"{kind}: from {begin} and {counted(tail, 'message')} behind it")
    print(f"at {decoder.sequence:,}, state hash {facts['state_hash']}")
    print(f"{counted(report['instruments'], 'instrument')}, {counted(report['books'], 'book')}")


def _first_message(store: Path) -> str:
    return "the first message" if _has_snapshots(store) else f"the first message (no snapshot in {store})"


def _has_snapshots(store: Path) -> bool:
    from tidebook.persistence.files import files_in

    return bool(files_in(store, ".snapshot"))


def _stores(named: Sequence[Path], data: Path | None) -> list[SnapshotStore]:
    """Those that are there; of a data directory perhaps none yet. Raises: UsageError for what holds neither."""
    from tidebook.persistence.snapshots import stores

    places = [path / "snapshots" if (path / "snapshots").is_dir() else path for path in named]
    if not named:
        places = [inputs.data_directory(data) / "snapshots"]
    found = [store for place in places for store in stores(place)]
    if not found and not _are_data(named or [inputs.data_directory(data)]):
        raise UsageError(
            f"no snapshots in {', '.join(map(str, places))}; name their directory, or one of data with --data"
        )
    return found


def _are_data(directories: Sequence[Path]) -> bool:
    """They hold journals, whose snapshots are still to come."""
    from tidebook.node.directory import journaled_channels

    return all(journaled_channels(directory) for directory in directories)


def _none_yet() -> str:
    from tidebook.config import load

    minutes = load().snapshot_interval_min
    return f"no snapshot yet; the first comes snapshot_interval_min ({minutes:g}) minutes after the start"


def _factory(name: str) -> Callable[[], State]:
    module, _, attribute = name.partition(":")
    if not attribute:
        raise UsageError(f"--state {name}: write module:name, of a class or function that begins the state")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        found: Any = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise UsageError(f"--state {name}: {error}") from error
    if not callable(found) or not isinstance(getattr(found(), "kind", None), str):
        raise UsageError(f"--state {name}: it begins no state; name a class or function without arguments that does")
    make: Callable[[], State] = found
    return make


def _shown(facts: SnapshotFacts) -> dict[str, object]:
    return asdict(facts) | {"path": str(facts.path), "state_hash": _hash(facts.state_hash)}


def _hash(state_hash: int) -> str:
    return f"{state_hash:016x}"


def _time(ns: int) -> str:
    return datetime.fromtimestamp(ns // 1_000_000_000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
