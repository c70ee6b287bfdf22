"""One Parquet part: encoded in memory, written, synced, read back and compared before anyone hears of it.

An atomic rename alone keeps whatever bytes reached the disk. So a part is read again after its sync, its hash and
every decoded value are compared with what was to be written, and only then may it be published. Costs about a fifth
of the time of a write. Settings and why: `docs/formats/parquet.md`.
"""

from pathlib import Path
from typing import Final, Literal

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tidebook._core import schemas
from tidebook.errors import StorageCorruptError
from tidebook.storage.columns import Columns, delta_columns, fields, to_columns, to_table
from tidebook.storage.disk import Disk, storage_errors, write_durable
from tidebook.storage.filehash import of_bytes
from tidebook.storage.partition import PartRows
from tidebook.storage.rowhash import row_hash, to_text

ROW_GROUP_ROWS: Final = 131_072
"""Rows a row group: engines prune by row group, few by page; larger ones made a slice of an hour twice as slow."""

# One row group of distinct doubles fits, so that a column never falls back to plain halfway.
_DICTIONARY_BYTES_MAX: Final = 2 * 8 * ROW_GROUP_ROWS

# Below this, handing columns to threads takes longer than decoding them.
_THREADS_WORTH_BYTES: Final = 1 << 20

Compression = Literal["zstd", "lz4", "snappy"]


class PartOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How parts are compressed."""

    compression: Compression = "zstd"
    compression_level: int | None = 3
    """Of zstd: 9 and 19 gain nothing on these encodings and cost 2 to 5 times the time."""
    row_group_rows: int = ROW_GROUP_ROWS


class WrittenPart(msgspec.Struct, frozen=True, kw_only=True):
    """A verified file that nobody knows of yet."""

    path: Path
    size_bytes: int
    hash: str
    exact: bool
    """False where the part needs its `_units` columns."""
    row_hash: str


def encode(type: str, table: pa.Table, options: PartOptions) -> pa.Buffer:
    """The bytes of a Parquet file that holds `table`."""
    delta = delta_columns(table.column_names)
    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(
        sink,
        table.schema,
        compression=options.compression,
        compression_level=options.compression_level if options.compression == "zstd" else None,
        use_dictionary=[name for name in table.column_names if name not in delta],
        dictionary_pagesize_limit=_DICTIONARY_BYTES_MAX,
        column_encoding=dict.fromkeys(delta, "DELTA_BINARY_PACKED"),
        write_statistics=True,
        write_page_index=True,
        write_page_checksum=True,
        # Without it engines agree on the types; with it Polars refuses to mix files whose strings differ.
        store_schema=False,
    ) as writer:
        writer.write_table(table, row_group_size=options.row_group_rows)
        writer.add_key_value_metadata({"tidebook.type": type, "tidebook.record_version": str(schemas()[type].version)})
    return sink.getvalue()


def decode(path: Path, data: bytes | memoryview, dictionaries: list[str] | None = None) -> pa.Table:
    """The rows of a part, every page's checksum verified; `dictionaries` are columns to leave as such.

    Raises: StorageCorruptError naming `path`.
    """
    try:
        file = pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True, read_dictionary=dictionaries)
        return file.read(use_threads=len(data) > _THREADS_WORTH_BYTES)
    except (pa.ArrowException, OSError) as error:
        raise corrupt(path, f"it cannot be decoded ({error})") from error


def write_part(disk: Disk, path: Path, rows: PartRows, options: PartOptions) -> WrittenPart:
    """Write rows to a new file at `path`, sync it, read it back, compare it whole.

    Threads: releases the interpreter for most of the work; parts may be written in parallel.
    Memory: what it took is given back, of this thread.
    Raises: StorageFullError, StorageAccessError, StorageError; StorageCorruptError if the disk returns other bytes.
    """
    try:
        return _write_part(disk, path, rows, options)
    finally:
        # Arrow's allocator keeps what was freed in each thread that allocated, for each size of its own, and these threads
        # wait for the next part: ten of them held 40 MB of nothing.
        pa.default_memory_pool().release_unused()


def _write_part(disk: Disk, path: Path, rows: PartRows, options: PartOptions) -> WrittenPart:
    kind = rows.partition.type
    table, exact = to_table(kind, rows.columns, rows.symbols)
    data = memoryview(encode(kind, table, options))
    expected = of_bytes(data)
    with storage_errors(path, "write"):
        write_durable(disk, path, data)
    with storage_errors(path, "read"):
        stored = disk.read(path)
    if of_bytes(stored) != expected:
        raise corrupt(path, "what the disk returns after a sync is not what was written: distrust this disk")
    if not _same(decode(path, stored, dictionaries=["symbol"]), table):
        raise corrupt(path, "its decoded rows differ from those written: nothing was committed, report this")
    hashed = to_text(row_hash(rows.columns, fields(kind)))
    return WrittenPart(path=path, size_bytes=len(data), hash=expected, exact=exact, row_hash=hashed)


def read_part(path: Path, type: str, data: bytes | memoryview) -> Columns:
    """Fields of the records in a part. Raises StorageCorruptError naming `path`."""
    table = decode(path, data)
    try:
        return to_columns(type, table)
    except (KeyError, pa.ArrowException) as error:
        raise corrupt(path, f"its columns are not those of {type} ({error})") from error


def _same(stored: pa.Table, written: pa.Table) -> bool:
    """Whether every value is the same. Symbols are compared through their dictionaries: a million texts are slow."""
    if not stored.drop_columns("symbol").equals(written.drop_columns("symbol")):
        return False
    (symbols,) = written["symbol"].chunks or [pa.array([], pa.dictionary(pa.int32(), pa.string()))]
    start = 0
    for chunk in stored["symbol"].chunks:
        index = pc.index_in(chunk.dictionary, symbols.dictionary).take(chunk.indices)
        if not index.equals(symbols.indices[start : start + len(chunk)]):
            return False
        start += len(chunk)
    return start == len(symbols)


def corrupt(path: Path, reason: str) -> StorageCorruptError:
    """The one error for a file that is not what was committed."""
    return StorageCorruptError(
        f"{path} is damaged: {reason}. Restore it from a backup, or rebuild it from the raw journal", path=str(path)
    )
