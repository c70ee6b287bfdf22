"""Questions to the audit trail, answered from one state of its database. Numbers are units; `Scale` makes decimals of them."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

import msgspec
from sqlalchemy import select, text

from tidebook.audit import views
from tidebook.audit.schema import fills as fills_table
from tidebook.audit.schema import instruments, orders
from tidebook.audit.upgrade import is_current
from tidebook.audit.writer import Position, read_position
from tidebook.errors import QueryError

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from tidebook.audit.database import Database

Row = dict[str, Any]


class Scale(msgspec.Struct, frozen=True):
    """Decimals of an instrument; both 0 where it is not known."""

    price_exp: int = 0
    size_exp: int = 0

    def price(self, units: int | None) -> Decimal | None:
        """A price, an amount or a fee."""
        return None if units is None else Decimal(units).scaleb(-self.price_exp)

    def size(self, units: int | None) -> Decimal | None:
        """A size."""
        return None if units is None else Decimal(units).scaleb(-self.size_exp)


class OrderLife(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that is known of an order."""

    order: Row
    """Its line of `orders`: what it was asked to be, and the verdict."""
    scale: Scale
    steps: list[Row]
    """Lines of the view `order_life`, in the order in which they happened."""


def position(database: Database) -> Position | None:
    """How far the trail reaches; None where there is none yet. Raises: AuditVersionError, AuditDatabaseAwayError, AuditError."""
    if database.is_absent:
        return None
    with database.reading() as connection:
        return read_position(connection) if is_current(database, connection) else None


def order_life(database: Database, order_id: int) -> OrderLife:
    """An order's life. Raises: QueryError for an order that the trail does not have; as `position`."""
    with database.reading() as connection:
        reach = _reach(database, connection)
        found = connection.execute(select(orders).where(orders.c.order_id == order_id)).mappings().one_or_none()
        if found is None:
            raise QueryError(
                f"order {order_id} is not in the audit trail, which reaches to command {reach.sequence}; an id is twice the number of "
                "the command that placed it, one more for the stop leg of a pair",
                kind="order",
                value=order_id,
            )
        lines = text("SELECT * FROM order_life WHERE order_id = :order_id ORDER BY sequence, source_index, step")
        steps = connection.execute(lines, {"order_id": order_id}).mappings().all()
        scale = _scales(connection).get(found["instrument_id"], Scale())
        return OrderLife(order=dict(found), scale=scale, steps=[dict(step) for step in steps])


def orders_of(database: Database, account: int, client_order_id: str) -> list[int]:
    """Orders that an account placed under an id of its own, oldest first; more than one where refused ones had it too."""
    with database.reading() as connection:
        _reach(database, connection)
        named = (orders.c.account == account) & (orders.c.client_order_id == client_order_id)
        return list(connection.execute(select(orders.c.order_id).where(named).order_by(orders.c.order_id)).scalars())


def fills(
    database: Database,
    *,
    account: int | None = None,
    instrument_id: int | None = None,
    from_ts: int | None = None,
    to_ts: int | None = None,
    limit: int = 100,
) -> list[Row]:
    """The newest fills, oldest of them first: of both sides of each trade, or of one account."""
    query = select(fills_table).order_by(fills_table.c.execution.desc(), fills_table.c.order_id.desc()).limit(limit)
    if account is not None:
        query = query.where(fills_table.c.account == account)
    if instrument_id is not None:
        query = query.where(fills_table.c.instrument_id == instrument_id)
    if from_ts is not None:
        query = query.where(fills_table.c.ts >= from_ts)
    if to_ts is not None:
        query = query.where(fills_table.c.ts < to_ts)
    with database.reading() as connection:
        _reach(database, connection)
        return [dict(row) for row in reversed(connection.execute(query).mappings().all())]


def view(
    database: Database,
    name: str,
    *,
    account: int | None = None,
    limit: int = 1_000,
    **numbers: int,
) -> list[Row]:
    """Lines of a view of `tidebook.audit.views`, newest last; `numbers` in place of those it usually has.

    `account` keeps the lines that name it on either side.
    Raises: QueryError for a view or a number that there is not; as `position`.
    """
    if name not in views.ORDER_OF:
        raise QueryError(f"there is no view {name!r}; there are {', '.join(views.ORDER_OF)}", kind="view", value=name)
    known = views.numbers_of(name)
    for number, value in numbers.items():
        if number not in known or value < 1:
            raise QueryError(
                f"{number} = {value}: {name} takes {', '.join(known) or 'no numbers'}, from 1 on",
                kind=number,
                value=value,
            )
    query = views.VIEWS[name](**numbers)
    columns = views.ACCOUNTS_OF[name]
    where = f"WHERE {' OR '.join(f'{column} = :account' for column in columns)}" if account is not None else ""
    order = ", ".join(f"{column} DESC" for column in views.ORDER_OF[name])
    newest = f"SELECT * FROM ({query}) AS lines {where} ORDER BY {order} LIMIT :limit"  # noqa: S608 - ours
    with database.reading() as connection:
        _reach(database, connection)
        found = connection.execute(text(newest), {"limit": limit} | ({} if account is None else {"account": account}))
        # Sums come as decimals from PostgreSQL.
        return [
            {key: int(value) if isinstance(value, Decimal) else value for key, value in row.items()}
            for row in reversed(found.mappings().all())
        ]


def scales(database: Database) -> dict[int, Scale]:
    """Decimals of every instrument."""
    with database.reading() as connection:
        _reach(database, connection)
        return _scales(connection)


def _scales(connection: Connection) -> dict[int, Scale]:
    rows = connection.execute(select(instruments.c.instrument_id, instruments.c.price_exp, instruments.c.size_exp))
    return {instrument: Scale(price_exp, size_exp) for instrument, price_exp, size_exp in rows}


def _reach(database: Database, connection: Connection) -> Position:
    """How far it reaches. Raises: AuditError where there is no audit trail of this release; AuditVersionError."""
    if not is_current(database, connection):
        raise database.nothing_here()
    return read_position(connection)
