"""`tidebook record`: raw messages into a journal."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - cyclopts reads annotations

from tidebook.cli.inputs import RecordingDay, RecordingFile, data_directory, recording_files
from tidebook.cli.output import Json, counted, print_json
from tidebook.cli.progress import progress_bar
from tidebook.node.presence import owning
from tidebook.node.recordings import RecordingJournal, Recordings


def record(*files: RecordingFile, data: Path | None = None, date: RecordingDay = None, json: Json = False) -> int:
    """Take recordings into the raw journal of a data directory, each message once.

    Parameters
    ----------
    files
        Capture files of one venue, in the order they were recorded; plain, zstd or gzip; `-` for stdin.
    data
        Data directory; default: the setting `data_directory`.
    date
        Day of recordings whose times count from midnight (LOBSTER, ITCH); default: the one in the file's name.
    """
    from tidebook.errors import UsageError

    if not files:
        raise UsageError("no recording named; give capture files: tidebook record FILE ... --data DIR")
    directory = data_directory(data)
    with recording_files(files) as paths:
        recordings = Recordings(paths, date)
        with owning(directory, "record"), RecordingJournal(directory, recordings) as journal:
            with progress_bar("recording", recordings.size_bytes, quiet=json) as advance:
                for _ in journal.take_in(advance):
                    pass
            intake, last_sequence = journal.intake, journal.held
    facts = {
        "channel": journal.channel,
        "journal": str(journal.directory),
        "messages": intake.messages,
        "held": intake.held,
        "last_sequence": last_sequence,
        "damaged": intake.damaged,
        "overlaps": intake.overlaps,
    }
    if json:
        print_json(facts)
    else:
        held = f" ({intake.held:,} were there before)" if intake.held else ""
        print(
            f"{journal.channel}: {counted(intake.messages, 'message')} recorded{held}, "
            f"durable up to sequence {last_sequence:,}"
        )
        for overlap in intake.overlaps:
            print(f"overlap: {overlap}")
        for place in intake.damaged:
            print(f"not readable: {place}")
    return 1 if intake.damaged else 0
