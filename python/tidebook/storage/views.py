"""DuckDB over a store: each record type is a view of exactly the files the manifest lists."""

from typing import TYPE_CHECKING

from tidebook.errors import QueryError
from tidebook.feeds.status import STATUS_WORDS
from tidebook.storage.columns import TIMESTAMP, TYPES, schema

if TYPE_CHECKING:
    import duckdb

    from tidebook.storage.store import Store

# A bar is given again, one revision higher, for each trade that came late.
BAR_KEY = ("symbol", "interval_s", "ts_open")
_LAST_REVISION = (
    f"row_number() over (partition by {', '.join(BAR_KEY)} order by source_sequence desc, source_index desc) = 1"
)


def ask(store: "Store", query: str) -> "duckdb.DuckDBPyRelation":
    """See `Store.sql`."""
    import duckdb

    store.require_rows()
    connection = duckdb.connect()
    # Times with a zone are made plain ones by the connection's zone, which is the machine's unless it is said.
    connection.execute("set TimeZone = 'UTC'")
    named = _named(connection, query)
    for kind in named or TYPES:
        source = _source(connection, store, kind)
        if kind == "bars":
            connection.execute(f"create view bar_revisions as {source}")
            connection.execute(f"create view bars as from bar_revisions qualify {_LAST_REVISION}")
        else:
            connection.execute(f"create view {kind} as {source}")
    try:
        return connection.sql(query)
    except duckdb.Error as error:
        raise QueryError(f"DuckDB refuses the query: {_one_line(str(error))}", kind="sql", value=query) from error


def _named(connection: "duckdb.DuckDBPyConnection", query: str) -> list[str]:
    """Types that the query names; none where that cannot be told. Others get no view, so their files are not read.

    Asked before there are views: with them the answer is the files' and not the views' names.
    """
    import duckdb

    try:
        tables = {name.casefold() for name in connection.get_table_names(query)}
    except duckdb.Error:  # several statements, a pivot, or one that will be refused
        return []
    return [kind for kind in TYPES if kind in tables or (kind == "bars" and "bar_revisions" in tables)]


def _source(connection: "duckdb.DuckDBPyConnection", store: "Store", kind: str) -> str:
    files = store.files(kind)
    store.require_whole(files)
    expected = schema(kind, units=not all(entry.exact for entry in files))
    if files:
        paths = ", ".join(_quote(str(store.root / entry.path)) for entry in files)
        source = f"read_parquet([{paths}], hive_partitioning = false, union_by_name = true)"
    else:
        connection.register(f"no_{kind}", expected.empty_table())
        source = f"no_{kind}"
    times = ", ".join(f"{field.name}::timestamp_ns as {field.name}" for field in expected if field.type == TIMESTAMP)
    words = "" if kind != "status" else f", {_word('kind')} as what, {_word('reason')} as why"
    return f"select * replace ({times}){words} from {source}"  # noqa: S608 - names are ours, paths quoted


def _word(column: str) -> str:
    """As `scan` gives it: null for a number that has no word."""
    cases = " ".join(f"when {number} then {_quote(word)}" for number, word in STATUS_WORDS.items())
    return f"case {column} {cases} end"


def _one_line(message: str) -> str:
    """DuckDB's message without the picture of the query below it."""
    return " ".join(message.partition("\n\nLINE ")[0].split())


def _quote(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
