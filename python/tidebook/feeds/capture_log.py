"""Which recording's messages stand at which sequences of a raw journal.

A recording is journaled verbatim: message n of the file is sequence `first_sequence + n - 1`, and nothing of ours
stands between. What the journal cannot say itself (which file, which bytes) is kept beside it in `captures.json`,
made durable before the first message of a recording is appended. An interrupted replay therefore knows exactly
where to go on, and a finished one is not taken in twice, under whatever name or compression. Fields:
`docs/formats/capture.md`.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from tidebook.errors import CaptureLogError
from tidebook.persistence.files import replace_durably

if TYPE_CHECKING:
    from pathlib import Path

    from tidebook._core import Recording

FILE_NAME = "captures.json"
FORMAT_VERSION = 2
_CHUNK_SIZE_BYTES = 1 << 20
_OF_CONTENT = "blake3:"
_OF_FILE = "file-blake2b:"


@dataclass(frozen=True)
class Capture:
    """One recording that was, or is being, journaled.

    `digest` is `content_digest` of it; of a recording taken in by a release that wrote version 1, `file_digest`.
    `message_count` is None until the last message of the file is in the journal.
    """

    name: str
    digest: str
    first_sequence: int
    message_count: int | None = None


def content_digest(recording: Recording) -> str:
    """The recording's identity: BLAKE3-256 of its bytes, decompressed."""
    return f"{_OF_CONTENT}{recording.digest()}"


def file_digest(path: Path) -> str:
    """The identity that version 1 kept: BLAKE2b-128 of the file's bytes as stored."""
    digest = hashlib.blake2b(digest_size=16)
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_SIZE_BYTES):
            digest.update(chunk)
    return f"{_OF_FILE}{digest.hexdigest()}"


class CaptureLog:
    """The recordings of one raw journal, in the order they were taken in."""

    def __init__(self, directory: Path) -> None:
        """Reads the log of the journal in `directory`; an absent file is an empty log.

        Raises: CaptureLogError when the file is damaged or of a later version.
        """
        self._path = directory / FILE_NAME
        self._captures = self._load()

    @property
    def captures(self) -> tuple[Capture, ...]:
        """All recordings, oldest first."""
        return tuple(self._captures)

    @property
    def unfinished(self) -> Capture | None:
        """The recording whose messages are in the journal only in part: nothing else may be appended before its rest."""
        return self._captures[-1] if self._captures and self._captures[-1].message_count is None else None

    @property
    def knows_files(self) -> bool:
        """Whether recordings are known by their files, as version 1 did: then a file has to be asked for by `adopt` too."""
        return any(capture.digest.startswith(_OF_FILE) for capture in self._captures)

    def knows(self, digest: str) -> bool:
        """Whether this recording was taken in, at least in part."""
        return any(capture.digest == digest for capture in self._captures)

    def adopt(self, file: str, content: str) -> None:
        """Knows a recording, if it is known by the digest `file`, by its `content` from now on, durably."""
        for index, capture in enumerate(self._captures):
            if capture.digest == file:
                self._captures[index] = replace(capture, digest=content)
                self._save()

    def resume(self, name: str, digest: str, last_sequence: int) -> int | None:
        """Messages of this recording already in a journal that ends at `last_sequence`; None when all of them are.

        Registers an unknown recording as beginning at `last_sequence + 1`, durably, before it returns 0.
        Raises: CaptureLogError when another recording was interrupted and has to be finished first.
        """
        unfinished = self.unfinished
        known = next((capture for capture in self._captures if capture.digest == digest), None)
        if known is not None and known.message_count is not None:
            return None
        if unfinished is not None and unfinished.digest != digest:
            done = last_sequence - unfinished.first_sequence + 1
            raise CaptureLogError(
                f"{self._path}: recording {unfinished.name} was interrupted after {done} messages; "
                f"finish it first (replay it again into this directory), then {name}"
            )
        if unfinished is None:
            self._captures.append(Capture(name, digest, last_sequence + 1))
            self._save()
            return 0
        return last_sequence - unfinished.first_sequence + 1

    def finish(self, message_count: int) -> None:
        """Notes, durably, that the newest recording is in the journal whole."""
        self._captures[-1] = replace(self._captures[-1], message_count=message_count)
        self._save()

    def _load(self) -> list[Capture]:
        try:
            text = self._path.read_bytes()
        except FileNotFoundError:
            return []
        try:
            content: dict[str, Any] = json.loads(text)
            version = content["version"]
            captures = [Capture(**entry) for entry in content["captures"]]
            if version == 1:
                captures = [replace(capture, digest=_OF_FILE + capture.digest) for capture in captures]
        except (ValueError, KeyError, TypeError) as error:
            raise CaptureLogError(
                f"{self._path}: not a capture log ({error}); restore it from a backup, or replay into a new directory"
            ) from error
        if version not in (1, FORMAT_VERSION):
            raise CaptureLogError(
                f"{self._path}: version {version} where this tidebook reads 1 and {FORMAT_VERSION}; use the tidebook that wrote it"
            )
        return captures

    def _save(self) -> None:
        content = {"version": FORMAT_VERSION, "captures": [asdict(capture) for capture in self._captures]}
        replace_durably(self._path, json.dumps(content, indent=1).encode())
