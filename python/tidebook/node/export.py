"""A raw journal as a capture file: the bytes that were recorded, bit for bit."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, BinaryIO

from tidebook._core import JournalReader, RecordingWriter
from tidebook.errors import UsageError
from tidebook.node.directory import journal_directory, journaled_channels

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@dataclass
class Exported:
    """What an export wrote."""

    channel: str
    first_sequence: int = 1
    """Message it begins with."""
    messages: int = 0
    left_out: int = 0
    """Messages the format has no word for (timers, connection changes, reference data)."""
    size_bytes: int = 0
    holes: list[tuple[int, int]] = field(default_factory=list)
    """First and last number of messages between those written that a cut of the journal gave up."""


def export_journal(
    data: Path,
    channel: str | None,
    format: str,
    out: BinaryIO,
    progress: Callable[[int], None] | None = None,
    *,
    first: int = 0,
) -> Exported:
    """Writes the durable messages of a journal in `data` to `out`, in order, from message `first` on; 0 for all there ever were.

    `channel` None takes the only one there is. `progress` is called with the count of each chunk of messages.
    Raises: UsageError when the channel has to be named, and when the messages asked for were compacted away, before anything is
            written; JournalError; CaptureError when the format cannot hold them.
    """
    exported = Exported(_channel(data, channel))
    journal = journal_directory(data, exported.channel)
    held = JournalReader(journal, channel=exported.channel).next_sequence
    if max(first, 1) < held:
        raise UsageError(
            f"{journal} begins at message {held:,}: older ones were compacted away, so a file of it would begin in the middle; "
            f"add --from {held} to write what is left, or export a backup that has all"
        )
    exported.first_sequence = following = max(first, 1)
    reader = JournalReader(journal, channel=exported.channel, from_sequence=following)
    writer = RecordingWriter(format, exported.channel.removeprefix("feed."))
    exported.size_bytes += out.write(writer.start())
    while read := reader.next():
        sequence, messages = read
        if sequence > following:
            exported.holes.append((following, sequence - 1))
        following = sequence + len(messages)
        content, left_out = writer.write(messages)
        exported.size_bytes += out.write(content)
        exported.messages += len(messages) - left_out
        exported.left_out += left_out
        if progress:
            progress(len(messages))
    return exported


def _channel(data: Path, channel: str | None) -> str:
    there = journaled_channels(data)
    if not there:
        raise UsageError(f"{data} holds no journal; record or replay into it first, or name another --data directory")
    if channel in there:
        return channel
    if channel is not None:
        raise UsageError(f"{data} has no journal of {channel}; it has {', '.join(there)}")
    if len(there) != 1:
        raise UsageError(f"{data} has {len(there)} journals ({', '.join(there)}); name one with --channel")
    return there[0]
