"""`tidebook venue instruments`, `accounts`, `orders`: what is at the node's own venue."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - cyclopts reads annotations
from typing import Any

from tidebook.cli.output import Json, console, print_json
from tidebook.cli.shown import Column, plain, table
from tidebook.cli.venue.node_api import node_api

_INSTRUMENTS = (
    Column("instrument", right=False),
    Column("session", right=False),
    Column("tick"),
    Column("lot"),
    Column("maker ppm", give_up=2),
    Column("taker ppm", give_up=1),
    Column("number", give_up=3),
)
_ACCOUNTS = (
    Column("account", right=False),
    Column("open orders"),
    Column("balances", right=False),
    Column("state", right=False),
)
_ORDERS = (
    Column("order"),
    Column("client id", right=False, if_used=True, give_up=1),
    Column("instrument", right=False),
    Column("side", right=False),
    Column("type", right=False, give_up=2),
    Column("price"),
    Column("size"),
    Column("filled"),
    Column("average", if_used=True, give_up=3),
    Column("state", right=False),
)


def instruments(*, data: Path | None = None, json: Json = False) -> None:
    """List the instruments of the running node's own venue.

    Parameters
    ----------
    data
        Data directory of the node; default: the setting `data_directory`.
    """
    found = node_api(data).get("venue", "instruments")
    if json:
        print_json({"instruments": found})
        return
    rows = [
        [
            plain(one["instrument"]),
            one["session"] if one["listed"] else "not listed",
            *(_text(one[name]) for name in ("tick", "lot", "maker_ppm", "taker_ppm", "number")),
        ]
        for one in found
    ]
    _print(_INSTRUMENTS, rows, "nothing is listed yet; `tidebook venue init` lists an instrument to begin with")


def accounts(*, data: Path | None = None, json: Json = False) -> None:
    """List the accounts of the running node's own venue, with what they have.

    Parameters
    ----------
    data
        Data directory of the node; default: the setting `data_directory`.
    """
    node = node_api(data)
    found = [
        one | {"balances": node.get("accounts", one["account"], "balances") if one["open"] else []}
        for one in node.get("venue", "accounts")
    ]
    if json:
        print_json({"accounts": found})
        return
    rows = [
        [
            plain(one["account"]),
            f"{one['open_orders']:,}",
            ", ".join(f"{of['balance']} {plain(of['asset'])}" for of in one["balances"]),
            "[red]killed[/red]" if one["killed"] else "open" if one["open"] else "not open",
        ]
        for one in found
    ]
    _print(_ACCOUNTS, rows, "no account is open yet; `tidebook venue init` opens two to begin with")


def orders(
    account: str, *, ended: bool = False, instrument: str | None = None, data: Path | None = None, json: Json = False
) -> None:
    """List the open orders of an account, or those that have ended.

    The newest that have ended are remembered (`venue.remembered`); `tidebook audit order` tells every one.

    Parameters
    ----------
    account
        Its name.
    ended
        Those that have ended, the newest first.
    instrument
        Of this one alone, such as BTC-USD.LOCAL.
    data
        Data directory of the node; default: the setting `data_directory`.
    """
    found = node_api(data).get("accounts", account, "orders", state="ended" if ended else "open", instrument=instrument)
    if json:
        print_json({"account": account, "orders": found})
        return
    _print(_ORDERS, [order_row(one) for one in found], f"{account} has no {'ended' if ended else 'open'} orders")


def order_row(order: dict[str, Any]) -> list[str]:
    """An order as a line."""
    return [
        str(order["order_id"]),
        plain(order["client_order_id"] or ""),
        plain(order["instrument"]),
        order["side"],
        order["type"],
        _text(order["price"]) or "any",
        _text(order["size"]) or f"for {order['amount']}",
        order["filled"],
        _text(order["average_price"]),
        order["state"] + (f": {order['reason']}" if order["reason"] else ""),
    ]


def print_orders(orders: list[dict[str, Any]]) -> None:
    """Orders as a table."""
    _print(_ORDERS, [order_row(one) for one in orders], "")


def _print(columns: tuple[Column, ...], rows: list[list[str]], nothing: str) -> None:
    if not rows:
        print(nothing)
        return
    screen = console()
    screen.print(table(columns, rows, screen.width))


def _text(value: object) -> str:
    return "" if value is None else str(value)
