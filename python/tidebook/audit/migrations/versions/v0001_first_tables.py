"""The first tables."""

from alembic import op
from sqlalchemy import BigInteger, Column, SmallInteger, Text, text

revision = "0001"
down_revision = None
VIEWS = "71d54240b373f828"
"""Digest of the views that go with these tables: who changes a view adds a revision, which may do nothing else."""


def _number(name: str, *, null: bool = False) -> Column[int]:
    return Column(name, BigInteger, nullable=null)


def _key(name: str) -> Column[int]:
    return Column(name, BigInteger, primary_key=True, autoincrement=False)


def _word(name: str, *, null: bool = False) -> Column[str]:
    return Column(name, Text, nullable=null)


def upgrade() -> None:
    """Tables, their indexes, and the position before the first command."""
    op.create_table(
        "position",
        Column("id", SmallInteger, primary_key=True, autoincrement=False),
        _number("sequence"),
        _number("executions"),
        _number("digest"),
    )
    op.execute("INSERT INTO position VALUES (1, 0, 0, 0)")
    op.create_table(
        "commands",
        _key("sequence"),
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
    op.create_table(
        "orders",
        _key("order_id"),
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
    op.create_table(
        "events",
        _key("execution"),
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
    op.create_table(
        "fills",
        _key("order_id"),
        _key("execution"),
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
    op.create_table(
        "endings",
        _key("order_id"),
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
    op.create_table(
        "instruments",
        _key("instrument_id"),
        _key("sequence"),
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
    op.create_table(
        "accounts",
        _key("account"),
        _key("sequence"),
        _number("ts"),
        _number("owner_group"),
        _word("flags", null=True),
    )
    op.create_index(
        "commands_by_order",
        "commands",
        ["order_id"],
        sqlite_where=text("order_id IS NOT NULL"),
        postgresql_where=text("order_id IS NOT NULL"),
    )
    op.create_index(
        "orders_by_client_id",
        "orders",
        ["account", "client_order_id"],
        sqlite_where=text("client_order_id IS NOT NULL"),
        postgresql_where=text("client_order_id IS NOT NULL"),
    )
    op.create_index("orders_by_account", "orders", ["account", "ts"])
    op.create_index(
        "events_by_order",
        "events",
        ["order_id"],
        sqlite_where=text("order_id IS NOT NULL"),
        postgresql_where=text("order_id IS NOT NULL"),
    )
    op.create_index("fills_by_execution", "fills", ["execution"])
    op.create_index("fills_by_account", "fills", ["account", "ts"])
    op.create_index("endings_by_account", "endings", ["account", "ts"])
