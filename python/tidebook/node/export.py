"""A raw journal as a capture file: the bytes that were recorded, bit for bit."""

from __future__ import annotations

from dataclasses import dataclass
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
    messages: int = 0
    left_out: int = 0
    """Messages the format has no word for (timers, connection changes, reference data)."""
    size_bytes: int = 0


def export_journal(
    data: Path, channel: str | None, format: str, out: BinaryIO, progress: Callable[[int], None] | None = None
) -> Exported:
    """Writes the durable messages of a journal in `data` to `out`, in order.

    `channel` None takes the only one there is. `progress` is called with the count of each chunk of messages.
    Raises: UsageError when the channel has to be named; JournalError; CaptureError when the format cannot hold them.
    """
    exported = Exported(_channel(data, channel))
    reader = JournalReader(journal_directory(data, exported.channel), channel=exported.channel)
    writer = RecordingWriter(format, exported.channel.removeprefix("feed."))
    exported.size_bytes += out.write(writer.start())
    while read := reader.next():
        messages = read[1]
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
