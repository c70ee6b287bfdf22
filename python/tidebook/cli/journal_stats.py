"""`tidebook journal stats`: what journals consist of."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path  # noqa: TC003 - cyclopts reads annotations
from typing import TYPE_CHECKING

from tidebook.cli import inputs
from tidebook.cli.output import Json, counted, print_json
from tidebook.cli.shown import size, span_of

if TYPE_CHECKING:
    from tidebook.persistence.stats import JournalStats


def stats(*journals: Path, data: Path | None = None, json: Json = False) -> None:
    """Count journals: messages, batches, sizes, syncs, rates, what their channels were run with.

    Every batch is verified on the way.

    Parameters
    ----------
    journals
        Directories of journals, of data, or what channels have for `wal_dir`; default: all of the data directory.
    data
        Data directory; default: the setting `data_directory`.
    """
    from tidebook import persistence

    for directory in inputs.journals(journals, data):
        found = persistence.stats(directory)
        if json:
            sizes = {str(upto): count for upto, count in found.batch_sizes.items()}
            print_json({"directory": directory, **asdict(found), "batch_sizes": sizes, "rates": found.rates})
        else:
            _print(found)


def _not_durable(found: JournalStats) -> str:
    """Written beside what other commands call durable, and never acknowledged."""
    if found.durable >= found.last_sequence:
        return ""
    return f", durable to {found.durable:,} as far as it shows"


def _print(found: JournalStats) -> None:
    payload = sum(one.payload_size_bytes for one in found.segments)
    print(
        f"{found.channel}: {counted(found.messages, 'message')}, {span_of(found.first_sequence, found.last_sequence)}{_not_durable(found)}; "
        f"{counted(len(found.segments), 'segment')}, {size(found.size_bytes)}"
    )
    if found.messages:
        syncs = sum(one.sync_groups for one in found.segments)
        print(
            f"  {size(payload)} of messages, {payload / found.messages:,.0f} bytes each; "
            f"{found.batches:,} batch{'' if found.batches == 1 else 'es'} of {found.messages / found.batches:,.1f}, "
            f"{counted(syncs, 'sync')} shown by them"
        )
        largest = max(found.batch_sizes.values())
        for upto, count in found.batch_sizes.items():
            print(f"  batches up to {upto:>11,} bytes  {count:>9,}  {'#' * max(1, 40 * count // largest)}")
    rates = [rate for rate in found.rates if rate is not None]
    if rates:
        print(f"  {min(rates):,.0f} to {max(rates):,.0f} messages a second in a segment")
    for change in found.configurations:
        since = f"from message {change.first_sequence:,} on"
        print(f"  run with {change.configuration or 'what is not recorded'} {since}")
