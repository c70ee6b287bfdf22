"""`tidebook journal repair`: what is damaged, the choices, and what each loses. Without a choice nothing is changed."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path  # noqa: TC003 - cyclopts reads annotations
from typing import TYPE_CHECKING

from tidebook.cli import inputs
from tidebook.cli.output import Json, counted, print_json
from tidebook.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tidebook.node.cutting import Beyond, Proof
    from tidebook.persistence.repair import Diagnosis


def repair(
    journal: Path | None = None,
    *,
    data: Path | None = None,
    source: Path | None = None,
    cut_at: int | None = None,
    json: Json = False,
) -> int:
    """Say what is damaged in a journal and what can be done; with a choice, do it.

    Nothing is destroyed: what is replaced or taken out is kept in the directory `quarantine` of the journal. The exit code is
    1 while the journal is damaged.

    Parameters
    ----------
    journal
        Directory of the journal, or of data with one journal; default: the one of the data directory.
    data
        Data directory; default: the setting `data_directory`.
    source
        Put damaged segments back from this copy of the journal's directory, if they verify and fit. Loses nothing.
    cut_at
        Go on behind this message, which must be the last good one; what follows it is lost to the journal. Snapshots and
        checkpoints of what is lost are put aside, too, so that the next start goes on; rows of it stay, and no number is given
        again. After an interruption the same command finishes it.
    """
    from tidebook import persistence
    from tidebook.node import cutting

    if source is not None and cut_at is not None:
        raise UsageError("--source and --cut-at are two choices; make one")
    if cut_at is not None and not 0 <= cut_at < 1 << 64:
        raise UsageError(f"--cut-at {cut_at}: name a message, the last good one")
    directory = inputs.one_journal(journal, data)
    found, shown = _look(directory)
    if shown and source is not None:
        raise UsageError(
            f"--source: nothing in {directory} is damaged, it ends too early; move it away and put the newer journal in its place "
            "as a whole"
        )
    if cut_at is not None and found.findings and found.first_sequence and cut_at != found.last_good:
        raise UsageError(f"--cut-at {cut_at}: the last good message is {found.last_good}; give exactly that")
    done: dict[str, object] = {}
    known = cutting.beyond(directory, found.last_good) if found.findings and found.first_sequence else []
    if source is not None and found.findings:
        with inputs.owned_journal(directory, "journal repair"):
            done["restored"] = persistence.restore(directory, source)
    elif cut_at is not None:
        with inputs.owned_journal(directory, "journal repair"):
            if found.findings:
                cut, kept = cutting.cut(directory, cut_at)
                done["cut"] = asdict(cut) | {"quarantined": [*cut.quarantined, *kept]}
            elif (kept_now := cutting.finish(directory, cut_at)) is not None:
                done["finished"] = kept_now
    after, shown_after = _look(directory) if done else (found, shown)
    if json:
        snapshots = [one.path for one in known if one.kind == "snapshot"]
        facts = {"diagnosis": asdict(found), "snapshots": snapshots, "beyond": [asdict(one) for one in known]}
        facts["proofs"] = [asdict(one) for one in shown]
        print_json({**facts, **done, "damaged": bool(after.findings)})
        return 1 if after.findings else 0
    if "finished" not in done:
        _print_findings(found, shown)
    if done:
        _print_done(done, after, known)
        if after.findings:
            _print_findings(after, shown_after)
    elif found.findings:
        _print_choices(directory, found, shown, known)
    return 1 if after.findings else 0


def _look(directory: Path) -> tuple[Diagnosis, list[Proof]]:
    """What is damaged; of a journal that is whole, what shows that it had more."""
    from tidebook import persistence
    from tidebook.node import cutting

    found = persistence.examine(directory)
    shown = [] if found.findings else cutting.proofs(directory, found.last_good)
    if not shown:
        return found, []
    found = persistence.examine(directory, max(one.sequence for one in shown))
    # A living writer may have gone on since the first look.
    return found, shown if found.findings else []


def _print_findings(found: Diagnosis, shown: Sequence[Proof]) -> None:
    from tidebook.persistence.holes import but_for, holes

    if not found.findings:
        print(
            f"{found.directory}: whole, up to message {found.last_good:,}{but_for(holes(found.directory))}; nothing to repair"
        )
        if found.torn_bytes:
            print(
                f"  {found.torn_bytes:,} torn bytes at its end were never acknowledged; the next start goes on without them"
            )
        return
    if shown:
        print(f"{found.directory}: ends with message {found.last_good:,}, and more is known to have been durable:")
        for one in shown:
            print(f"  {one}")
        print("it is an older copy, or its end is lost; nothing in it is damaged")
        return
    print(f"{found.directory}: damaged")
    for finding in found.findings:
        sequence = f"message {finding.sequence:,}" if finding.sequence else "an unknown message"
        print(f"  segment {finding.segment}, offset {finding.offset:,}, from {sequence} on: {finding.damage}")
    if found.cut_begun:
        print(
            "a cut was begun and ended on its way: the same --cut-at finishes it, and --source of all damaged segments undoes it"
        )


def _print_choices(directory: Path, found: Diagnosis, shown: Sequence[Proof], known: Sequence[Beyond]) -> None:
    lost = f"{found.last_good + 1:,} to {found.last_known:,}, {counted(found.lost_by_cutting, 'message')}"
    print("nothing was changed; the choices are")
    if shown:
        print("  move this directory away and put the newer journal in its place; loses nothing")
        if any(one.kind == "ring" for one in shown):
            print(
                "  start its owner, which takes what the ring still holds; loses nothing, or is refused and changes nothing"
            )
    else:
        print("  --source DIR     put the damaged segments back from a copy or backup of this directory; loses nothing")
    if found.first_sequence:
        print(
            f"  --cut-at {found.last_good:<8} go on behind message {found.last_good:,}; loses {lost} as far as is known"
        )
    else:
        print("  the oldest header does not verify: without a copy nothing of this journal can be gone on from")
    if known:
        print("what else knows of messages that a cut loses, and what becomes of it:")
        _print_known(known)
    kept = directory / "quarantine"
    print(f"what is replaced or taken out is kept in {kept}")


def _print_known(known: Sequence[Beyond]) -> None:
    for one in known:
        name = f" of {one.name}" if one.name and one.kind != "snapshot" else ""
        upto = "" if one.sequence is None else f" up to {one.sequence:,}"
        print(f"  {one.kind}{name}{upto}, {one.path}: {one.what_to_do}")


def _print_done(done: dict[str, object], after: Diagnosis, known: Sequence[Beyond]) -> None:
    from tidebook.persistence.holes import but_for, holes

    restored, cut, finished = done.get("restored"), done.get("cut"), done.get("finished")
    if isinstance(restored, dict):
        for segment, refused in restored.items():
            print(f"segment {segment}: {'put back' if refused is None else 'not put back: ' + refused}")
    if isinstance(cut, dict):
        print(
            f"cut behind message {cut['last_sequence']:,}: {counted(cut['lost'], 'message')} lost as far as is known; the next "
            f"message is {cut['next_sequence']:,}, of epoch {cut['epoch']}, so that no number is given twice"
        )
        for path in cut["quarantined"]:
            print(f"  kept: {path}")
        _print_known(known)
    if isinstance(finished, list):
        print("it was cut there already" + ("" if finished else "; nothing is left to do"))
        for path in finished:
            print(f"  kept: {path}")
    if not after.findings:
        print(f"{after.directory}: whole, up to message {after.last_good:,}{but_for(holes(after.directory))}")
