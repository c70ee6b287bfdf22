"""The tables of the audit trail: one schema for SQLite and PostgreSQL.

Rows are only ever added. What an order was asked to be, what was asked of it later, what happened to it, each of its fills and how it
ended are rows of their own, so nothing written is changed again and a batch is a handful of plain inserts. `position` is the one row that
changes, in the transaction that adds rows: it says which commands of `orders` the rows are of.

Words stand where records have numbers: who reads the tables needs no list of codes. Prices, sizes, amounts and fees stay in the integer
units of the instrument, times are ns since 1970 UTC, and a field that a command has no use for is NULL. Unsigned 64-bit ids are kept
as signed ones with the same bits: every id that the venue gives is below 2^63, a larger one was made up by a client.
Tables and views for readers: docs/audit.md.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, MetaData, SmallInteger, Table, Text, text

metadata = MetaData()


def _number(name: str, *, null: bool = False, key: bool = False) -> Column[int]:
    return Column(name, BigInteger, primary_key=key, nullable=null, autoincrement=False)


def _word(name: str, *, null: bool = False) -> Column[str]:
    return Column(name, Text, nullable=null)


position = Table(
    "position",
    metadata,
    Column("id", SmallInteger, primary_key=True, autoincrement=False),
    _number("sequence"),
    _number("executions"),
    _number("digest"),
)
"""One row, id 1, all 0 at first: the last command of `orders` and the last execution that the rows are of, and a digest of that command's bytes."""

commands = Table(
    "commands",
    metadata,
    _number("sequence", key=True),
    _number("ts"),
    _number("source_sequence"),
    _number("executions_seen"),
    _number("account"),
    _number("instrument_id"),
    _word("kind"),
    _word("verdict"),
    _word("reason", null=True),
    _number("order_id", null=True),
    _word("client_order_id", null=True),
    _word("side", null=True),
    _number("price", null=True),
    _number("size", null=True),
    _number("trigger_price", null=True),
    _number("display_size", null=True),
    _number("price_offset", null=True),
    _number("expire_ts", null=True),
    _word("detail", null=True),
)
"""Every command of `orders` with its verdict; the terms of a new order are in `orders`, `detail` is JSON of what has no column."""
orders = Table(
    "orders",
    metadata,
    _number("order_id", key=True),
    _number("sequence"),
    _number("ts"),
    _number("account"),
    _number("instrument_id"),
    _word("verdict"),
    _word("reason", null=True),
    _word("client_order_id", null=True),
    _word("side"),
    _word("order_type"),
    _word("time_in_force"),
    _word("self_trade"),
    _word("peg", null=True),
    _word("flags", null=True),
    _number("price", null=True),
    _number("size", null=True),
    _number("amount", null=True),
    _number("trigger_price", null=True),
    _number("display_size", null=True),
    _number("price_offset", null=True),
    _number("expire_ts", null=True),
    _number("linked_order_id", null=True),
)
"""Each order as it was placed, refused ones too; both legs of a pair, each with the other's id."""

events = Table(
    "events",
    metadata,
    _number("execution", key=True),
    _number("sequence"),
    _number("source_index"),
    _number("ts"),
    _number("instrument_id"),
    _number("account"),
    _number("order_id", null=True),
    _word("kind"),
    _word("reason", null=True),
    _word("side", null=True),
    _number("price"),
    _number("size"),
    _number("remaining"),
    _number("filled"),
    _word("command_kind", null=True),
)
"""Every execution that is no fill."""

fills = Table(
    "fills",
    metadata,
    _number("order_id", key=True),
    _number("execution", key=True),
    _number("sequence"),
    _number("source_index"),
    _number("ts"),
    _number("instrument_id"),
    _number("trade_id"),
    _number("account"),
    _word("side"),
    _word("liquidity"),
    _number("price"),
    _number("size"),
    _number("remaining"),
    _number("fee"),
    _number("counter_order_id"),
    _number("counter_account"),
    sqlite_with_rowid=False,
)
"""Each fill from the side of each of its two orders: two rows an execution."""

endings = Table(
    "endings",
    metadata,
    _number("order_id", key=True),
    _number("sequence"),
    _number("execution", null=True),
    _number("source_index"),
    _number("ts"),
    _number("account"),
    _number("instrument_id"),
    _word("how"),
    _word("reason", null=True),
    _word("side", null=True),
    _number("price", null=True),
    _number("size"),
)
"""How each order that is not open ended: filled, cancelled (`size` was withdrawn), reduced away, refused."""

instruments = Table(
    "instruments",
    metadata,
    _number("instrument_id", key=True),
    _number("sequence", key=True),
    _number("ts"),
    _number("tick"),
    _number("lot"),
    _number("price_exp"),
    _number("size_exp"),
    _number("base_asset"),
    _number("quote_asset"),
    _number("maker_ppm"),
    _number("taker_ppm"),
)
"""Each instrument as it was listed, and each change that the venue took."""

accounts = Table(
    "accounts",
    metadata,
    _number("account", key=True),
    _number("sequence", key=True),
    _number("ts"),
    _number("owner_group"),
    _word("flags", null=True),
)
"""Each account as it was opened, and each change that the venue took."""


def _index(name: str, *columns: Column[int] | Column[str], where: str | None = None) -> None:
    """An index; with `where` of those rows alone, so that the others cost nothing."""
    condition = None if where is None else text(where)
    Index(name, *columns, sqlite_where=condition, postgresql_where=condition)


_index("commands_by_order", commands.c.order_id, where="order_id IS NOT NULL")
_index("orders_by_client_id", orders.c.account, orders.c.client_order_id, where="client_order_id IS NOT NULL")
_index("orders_by_account", orders.c.account, orders.c.ts)
_index("events_by_order", events.c.order_id, where="order_id IS NOT NULL")
_index("fills_by_execution", fills.c.execution)
_index("fills_by_account", fills.c.account, fills.c.ts)
_index("endings_by_account", endings.c.account, endings.c.ts)
