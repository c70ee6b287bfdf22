"""`tidebook audit`: the lives of orders, fills and what compliance asks, from the audit trail; and the trail derived again."""

from __future__ import annotations

import sys
from datetime import datetime  # noqa: TC003 - cyclopts reads annotations
from pathlib import Path  # noqa: TC003 - cyclopts reads annotations
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from tidebook.cli.inputs import data_directory, nanoseconds
from tidebook.cli.output import Json, console, counted, print_json
from tidebook.cli.shown import Column, moment, table
from tidebook.errors import DirectoryBusyError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tidebook.audit import Database, Scale
    from tidebook.gateway.names import Names


def order(
    id: str, *, account: str | None = None, data: Path | None = None, url: str | None = None, json: Json = False
) -> None:
    """Tell an order's life: what it was asked to be, every fill, how it ended.

    Parameters
    ----------
    id
        Id of the order; with --account the id that the client gave it.
    account
        Whose order, if `id` is the client's: its name or number.
    data
        Data directory; default: the setting `data_directory`.
    url
        Address of the database; default: the setting `audit.url`, else the file in the data directory.
    """
    from tidebook.audit import order_life, orders_of

    database, names = _database(data, url), _names(data)
    if account is not None:
        ids = orders_of(database, names.account_number(account), id)
        if not ids:
            raise UsageError(f"account {account} has placed no order {id!r} that the audit trail has")
    elif id.isdecimal():
        ids = [int(id)]
    else:
        raise UsageError(f"{id!r} is no number of an order; a client's id needs its --account")
    lives = [order_life(database, order_id) for order_id in ids]
    if json:
        print_json({"orders": [{"order": life.order, "steps": life.steps, "scale": life.scale} for life in lives]})
        return
    screen = console()
    for life in lives:
        screen.print(_headline(life.order, life.scale, names))
        screen.print(table(_STEPS, [_step(step, life.scale, names) for step in life.steps], screen.width))


def fills(
    *,
    account: str | None = None,
    instrument: str | None = None,
    start: datetime | None = None,
    end: datetime | None = None,
    limit: Annotated[int, Parameter(name=["-n", "--limit"])] = 50,
    data: Path | None = None,
    url: str | None = None,
    json: Json = False,
) -> None:
    """List the newest fills, each from the side of each of its orders.

    Parameters
    ----------
    account
        Only those of this account, by its name or number.
    instrument
        Only those of this instrument, such as `BTC-USD.LOCAL`, or its number.
    start
        Only those from this time on, as 2026-11-30T09:00; UTC unless it says its zone.
    end
        Only those before this time.
    limit
        How many.
    data
        Data directory; default: the setting `data_directory`.
    url
        Address of the database; default: the setting `audit.url`, else the file in the data directory.
    """
    from tidebook.audit import Scale, scales
    from tidebook.audit import fills as newest

    database, names = _database(data, url), _names(data)
    number = None if account is None else names.account_number(account)
    instrument_id = None if instrument is None else names.instrument_number(instrument)
    found = newest(
        database,
        account=number,
        instrument_id=instrument_id,
        from_ts=None if start is None else nanoseconds(start),
        to_ts=None if end is None else nanoseconds(end),
        limit=limit,
    )
    if json:
        print_json({"fills": found})
        return
    known = scales(database)
    rows = []
    for fill in found:
        scale = known.get(fill["instrument_id"], Scale())
        rows.append(
            [
                moment(fill["ts"]),
                names.account(fill["account"]),
                str(fill["order_id"]),
                names.instrument(fill["instrument_id"]),
                str(fill["side"]),
                f"{scale.price(fill['price']):f}",
                f"{scale.size(fill['size']):f}",
                f"{scale.price(fill['fee']):f}",
                str(fill["liquidity"]),
                f"{fill['counter_order_id']} of {names.account(fill['counter_account'])}",
            ]
        )
    screen = console()
    screen.print(table(_FILLS, rows, screen.width))


def views(
    name: str | None = None,
    *,
    account: str | None = None,
    number: Annotated[list[str] | None, Parameter(name="--set", negative="")] = None,
    limit: Annotated[int, Parameter(name=["-n", "--limit"])] = 50,
    data: Path | None = None,
    url: str | None = None,
    json: Json = False,
) -> None:
    """Show a view for compliance (cancels per fill, layering, wash trades, self-trade prevention); without a name, list them.

    Parameters
    ----------
    name
        Of the view.
    account
        Only lines about this account, by its name or number.
    number
        A number in place of the usual one, as `window_s=3600`; may be repeated.
    limit
        How many lines, the newest.
    data
        Data directory; default: the setting `data_directory`.
    url
        Address of the database; default: the setting `audit.url`, else the file in the data directory.
    """
    from tidebook.audit import Scale, scales, view
    from tidebook.audit.views import describe

    if name is None:
        known = describe()
        if json:
            print_json({"views": known})
            return
        for facts in known:
            numbers = ", ".join(f"{word} = {value}" for word, value in facts["numbers"].items())
            print(f"{facts['name']}: {facts['what']}{f' ({numbers})' if numbers else ''}")
        return
    database, names = _database(data, url), _names(data)
    of = None if account is None else names.account_number(account)
    found = view(database, name, account=of, limit=limit, **_numbers(number or []))
    if json:
        print_json({"view": name, "lines": found})
        return
    if not found:
        print(f"{name}: nothing found")
        return
    columns = [
        Column(word.removesuffix("_id").replace("_", " "), right=not isinstance(found[0][word], str))
        for word in found[0]
    ]
    decimals = scales(database)
    rows = [
        [_cell(word, value, decimals.get(line["instrument_id"], Scale()), names) for word, value in line.items()]
        for line in found
    ]
    screen = console()
    screen.print(table(columns, rows, screen.width))


def status(*, verify: bool = False, data: Path | None = None, url: str | None = None, json: Json = False) -> int:
    """Say how far the audit trail reaches and what it has not got to yet; the exit code says whether it can be read.

    Parameters
    ----------
    verify
        Read all of a file of SQLite, and compare its tables with their indexes; a server looks after its own.
    data
        Data directory; default: the setting `data_directory`.
    url
        Address of the database; default: the setting `audit.url`, else the file in the data directory.
    """
    from tidebook.audit import position
    from tidebook.errors import AuditError, JournalAbsentError
    from tidebook.persistence import inspect

    directory = data_directory(data)
    database = _database(data, url)
    try:
        durable = inspect(_journal(directory)).durable
    except JournalAbsentError:
        durable = 0
    reached, problem = None, ""
    try:
        reached = position(database)
        if verify and reached is not None:
            database.verify()
    except AuditError as error:
        problem = str(error)
    sequence, executions = (reached.sequence, reached.executions) if reached else (0, 0)
    if json:
        facts = {"database": database.shown, "there": reached is not None, "problem": problem, "durable": durable}
        print_json(facts | {"sequence": sequence, "executions": executions, "behind": max(0, durable - sequence)})
    elif problem:
        print(f"{database.shown}: {problem}")
    elif reached is None:
        print(f"{database.shown}: no audit trail yet; {counted(durable, 'command')} in the journal")
    else:
        behind = max(0, durable - sequence)
        missing = f"{counted(behind, 'command')} still to be added" if behind else "all that is durable is there"
        print(f"{database.shown}: to command {sequence:,} and execution {executions:,}; {missing}")
    return 1 if problem else 0


def rebuild(*, data: Path | None = None, url: str | None = None, json: Json = False) -> int:
    """Drop the audit trail and derive it again from the journal; the exit code says whether the old one was the same.

    The node has to be stopped: its engine adds to the same rows.

    Parameters
    ----------
    data
        Data directory, whose node must not run; default: the setting `data_directory`.
    url
        Address of the database; default: the setting `audit.url`, else the file in the data directory.
    """
    from tidebook.audit import rebuild as derive_again
    from tidebook.node.presence import owning

    directory = data_directory(data)

    def show(sequence: int) -> None:
        if not json and sys.stderr.isatty():
            print(f"\rcommand {sequence:,}", end="", file=sys.stderr)

    try:
        with owning(directory, "audit rebuild"):
            found = derive_again(_database(data, url), _journal(directory), show)
    except DirectoryBusyError as error:
        raise DirectoryBusyError(
            f"an audit trail is rebuilt while no node adds to it: {error}", **error.facts
        ) from error
    if json:
        print_json({"before": found.before, "after": found.after, "rows": found.rows, "different": found.different})
        return 0 if found.ok else 1
    if sys.stderr.isatty():
        print(file=sys.stderr)
    print(f"{counted(found.rows, 'row')} of {counted(found.after.sequence, 'command')} derived")
    if found.before is None:
        print("there was no audit trail of this release before")
    elif found.ok:
        print(f"the old one, up to command {found.before.sequence:,}, was the same")
    else:
        print(f"the old one, up to command {found.before.sequence:,}, was different in {', '.join(found.different)}")
    return 0 if found.ok else 1


_STEPS = (
    Column("time", right=False),
    Column("command"),
    Column("what", right=False),
    Column("price"),
    Column("size"),
    Column("left"),
    Column("fee", if_used=True),
    Column("terms", right=False, if_used=True, give_up=1),
    Column("with", right=False, if_used=True),
    Column("why", right=False, if_used=True),
)
_FILLS = (
    Column("time", right=False),
    Column("account"),
    Column("order"),
    Column("instrument", give_up=2),
    Column("side", right=False),
    Column("price"),
    Column("size"),
    Column("fee"),
    Column("as", right=False, give_up=1),
    Column("with order", right=False),
)


def _database(data: Path | None, url: str | None) -> Database:
    from tidebook.audit import open_database
    from tidebook.config import load

    settings = load()
    return open_database(settings.audit.url.get_secret_value() if url is None else url, data_directory(data))


def _names(data: Path | None) -> Names:
    """What the data directory's venue calls its accounts and instruments; what has no name is called by its number."""
    from tidebook.gateway.names import Names
    from tidebook.node.directory import venue_names_file

    return Names(venue_names_file(data_directory(data)))


def _journal(directory: Path) -> Path:
    from tidebook.node.directory import journal_directory

    return journal_directory(directory, "orders")


def _numbers(given: Sequence[str]) -> dict[str, int]:
    numbers = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or not value.isdecimal():
            raise UsageError(f"--set {text!r}: a name, = and a whole number are wanted, as in --set window_s=3600")
        numbers[name] = int(value)
    return numbers


def _headline(order: dict[str, Any], scale: Scale, names: Names) -> str:
    size = f"{scale.size(order['size']):f}" if order["size"] is not None else f"for {scale.price(order['amount']):f}"
    limited = order["order_type"] in ("limit", "stop_limit")
    price = f" at {scale.price(order['price']):f}" if limited and order["price"] is not None else ""
    name = f" ({order['client_order_id']})" if order["client_order_id"] else ""
    what = f"{order['side']} {size}{price}, {order['order_type']} {order['time_in_force']}".replace("_", " ")
    said = [what, *_terms(order, scale)]
    if not limited and order["price"] is not None:
        said.append(f"worst price {scale.price(order['price']):f}")
    said += [f"pegged to {order['peg']}"] if order["peg"] else []
    said += [order["flags"].replace(" ", ", ").replace("_", " ")] if order["flags"] else []
    owner, instrument = names.account(order["account"]), names.instrument(order["instrument_id"])
    return f"order {order['order_id']}{name} of account {owner}, {instrument}: {', '.join(said)}"


def _terms(row: dict[str, Any], scale: Scale) -> list[str]:
    """What an order, or a replace, says beyond price and size."""
    said = []
    for column, word, of in (
        ("trigger_price", "trigger", scale.price),
        ("price_offset", "offset", scale.price),
        ("display_size", "shows", scale.size),
    ):
        if row[column] is not None:
            said.append(f"{word} {of(row[column]):f}")
    return [*said, *([f"until {moment(row['expire_ts'])}"] if row["expire_ts"] else [])]


def _step(step: dict[str, Any], scale: Scale, names: Names) -> list[str]:
    said = {"placed": step["outcome"], "replace": step["outcome"], "cancel": step["outcome"]}.get(step["event"])
    what = f"{step['event']}: {said}" if said else step["event"]
    if step["event"] == "ended":
        what = f"ended: {step['outcome']}"
    if step["liquidity"]:
        what = f"fill, {step['liquidity']}"
    partner = ""
    if step["counter_order_id"] is not None:
        partner = f"{step['counter_order_id']} of {names.account(step['counter_account'])}"
    price, size, left = scale.price(step["price"]), scale.size(step["size"]), scale.size(step["remaining"])
    numbers = ["" if value is None else f"{value:f}" for value in (price, size, left)]
    if step["event"] == "rejected":  # of an order that matching never had
        numbers = ["", "", ""]
    if step["amount"] is not None:
        numbers[1] = f"for {scale.price(step['amount']):f}"
    fee = "" if step["fee"] is None else f"{scale.price(step['fee']):f}"
    why = (step["reason"] or "").replace("_", " ")
    return [
        moment(step["ts"]),
        str(step["sequence"]),
        what,
        *numbers,
        fee,
        ", ".join(_terms(step, scale)),
        partner,
        why,
    ]


def _cell(name: str, value: object, scale: Scale, names: Names) -> str:
    if value is None:
        return ""
    if isinstance(value, int):
        if name == "ts" or name.endswith("_ts"):
            return moment(value)
        if name == "account" or name.endswith("_account"):
            return names.account(value)
        if name == "instrument_id":
            return names.instrument(value)
        if name in ("price", "fee") or name.endswith("_price"):
            return f"{scale.price(value):f}"
        if name in ("size", "remaining", "bought", "sold") or name.endswith("_size"):
            return f"{scale.size(value):f}"
    return f"{value:.1f}" if isinstance(value, float) else str(value)
