"""`tidebook venue instruments`, `accounts`, `account`, `limits`, `orders`, `fills`, `positions`: what is at the node's own venue."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - cyclopts reads annotations
from typing import Annotated, Any

from cyclopts import Parameter

from tidebook.cli.output import Json, console, counted, print_json
from tidebook.cli.shown import Column, moment, plain, table
from tidebook.cli.venue.node_api import node_api
from tidebook.errors import UsageError

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
_BALANCES = (
    Column("asset", right=False),
    Column("balance"),
    Column("reserved"),
    Column("available"),
    Column("state", right=False, if_used=True),
)
_MARGINS = (
    Column("asset", right=False),
    Column("cash"),
    Column("equity"),
    Column("margin used"),
    Column("maintenance", give_up=2),
    Column("free"),
    Column("state", right=False, if_used=True),
)
_LIMITS = (
    Column("account", right=False),
    Column("instrument", right=False),
    Column("size", if_used=True),
    Column("notional", if_used=True),
    Column("position", if_used=True),
    Column("exposure", if_used=True),
    Column("open orders", if_used=True),
    Column("collar ppm", if_used=True),
    Column("commands/s", if_used=True),
    Column("burst", if_used=True),
)
_LIMIT_NAMES = (
    "order_size_max",
    "order_notional_max",
    "position_max",
    "exposure_max",
    "open_orders_max",
    "collar_ppm",
    "commands_per_s",
    "burst",
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
    Column("terms", right=False, if_used=True, give_up=4),
    Column("state", right=False),
)
_FILLS = (
    Column("time", right=False),
    Column("trade", give_up=2),
    Column("order"),
    Column("client id", right=False, if_used=True, give_up=1),
    Column("instrument", right=False),
    Column("side", right=False),
    Column("price"),
    Column("size"),
    Column("fee"),
    Column("as", right=False, give_up=3),
)
_POSITIONS = (
    Column("instrument", right=False),
    Column("position"),
    Column("average"),
    Column("realised"),
    Column("unrealised"),
    Column("fees", give_up=1),
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
            _state(one),
        ]
        for one in found
    ]
    _print(_ACCOUNTS, rows, "no account is open yet; `tidebook venue init` opens two to begin with")


def account(account: str, *, data: Path | None = None, json: Json = False) -> None:
    """Say what an account has: balances, positions, and of a margin account its equity and margin.

    Parameters
    ----------
    account
        Its name or number.
    data
        Data directory of the node; default: the setting `data_directory`.
    """
    node = node_api(data)
    balances, holds = (node.get("accounts", account, of) for of in ("balances", "positions"))
    named = [one for one in node.get("venue", "accounts") if account in (one["account"], str(one["number"]))]
    if not named:
        raise UsageError(f"no account is called {account}; `tidebook venue accounts` lists them")
    (found,) = named
    if json:
        print_json(found | {"balances": balances, "positions": holds})
        return
    kind = "margin account" if found["margin"] else "spot account"
    console().print(f"{plain(account)}: {kind}, {_state(found)}, {counted(found['open_orders'], 'open order')}")
    more = ("equity", "initial_margin", "maintenance_margin") if found["margin"] else ("reserved",)
    names = ("balance", *more, "available")
    rows = [
        [plain(one["asset"]), *(_text(one[name]) for name in names), "[red]margin call[/red]" if one["called"] else ""]
        for one in balances
    ]
    _print(_MARGINS if found["margin"] else _BALANCES, rows, "no balances")
    if holds:
        _print(_POSITIONS, _position_rows(holds), "")


def limits(account: str | None = None, *, data: Path | None = None, json: Json = False) -> None:
    """List limits in force at the running node's own venue, each the largest that is allowed.

    Parameters
    ----------
    account
        Of this one alone.
    data
        Data directory of the node; default: the setting `data_directory`.
    """
    path = ("venue", "limits") if account is None else ("accounts", account, "limits")
    found = node_api(data).get(*path)
    if json:
        print_json({"limits": found})
        return
    rows = [
        [
            plain(one["account"]),
            "all of it" if one["instrument"] is None else plain(one["instrument"]),
            *(_text(one[name]) for name in _LIMIT_NAMES),
        ]
        for one in found
    ]
    _print(
        _LIMITS, rows, f"{'no account' if account is None else account} has {'' if account is None else 'no '}limits"
    )


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


def fills(
    account: str,
    *,
    instrument: str | None = None,
    limit: Annotated[int, Parameter(name=["-n", "--limit"])] = 50,
    data: Path | None = None,
    json: Json = False,
) -> None:
    """List the newest fills of an account; `tidebook audit fills` has older ones.

    Parameters
    ----------
    account
        Its name.
    instrument
        Of this one alone, such as BTC-USD.LOCAL.
    limit
        How many.
    data
        Data directory of the node; default: the setting `data_directory`.
    """
    found = node_api(data).get("accounts", account, "fills", instrument=instrument, limit=limit)
    if json:
        print_json({"account": account, "fills": found})
        return
    rows = [
        [
            moment(1_000 * one["ts"]),
            str(one["trade_id"]),
            str(one["order_id"]),
            plain(one["client_order_id"] or ""),
            plain(one["instrument"]),
            *(one[name] for name in ("side", "price", "size", "fee", "liquidity")),
        ]
        for one in found
    ]
    _print(_FILLS, rows, f"{account} has no fills")


def positions(account: str, *, data: Path | None = None, json: Json = False) -> None:
    """List what an account holds by trading, at which cost, and what that is worth at the last trade.

    Parameters
    ----------
    account
        Its name.
    data
        Data directory of the node; default: the setting `data_directory`.
    """
    found = node_api(data).get("accounts", account, "positions")
    if json:
        print_json({"account": account, "positions": found})
        return
    _print(_POSITIONS, _position_rows(found), f"{account} has traded nothing")


def _position_rows(found: list[dict[str, Any]]) -> list[list[str]]:
    names = ("position", "average_price", "realised", "unrealised", "fees")
    return [[plain(one["instrument"]), *(_text(one[name]) for name in names)] for one in found]


def _state(account: dict[str, Any]) -> str:
    if account["killed"]:
        return "[red]killed[/red]"
    if account["margin_calls"]:
        return f"[red]margin call in {plain(', '.join(account['margin_calls']))}[/red]"
    return "open" if account["open"] else "not open"


def order_row(order: dict[str, Any]) -> list[str]:
    """An order as a line."""
    limited = order["type"] in ("limit", "stop_limit")
    return [
        str(order["order_id"]),
        plain(order["client_order_id"] or ""),
        plain(order["instrument"]),
        order["side"],
        order["type"],
        _text(order["price"]) if limited else "",
        _text(order["size"]) or f"for {order['amount']}",
        order["filled"],
        _text(order["average_price"]),
        ", ".join(_terms(order, limited=limited)),
        order["state"] + (f": {order['reason']}" if order["reason"] else ""),
    ]


def _terms(order: dict[str, Any], *, limited: bool) -> list[str]:
    """What an order says beyond price and size. Where it has no limit of its own, a price is the worst that it may take."""
    worded = {"trigger_price": "trigger", "offset": "offset", "peg": "pegged to", "display_size": "shows"}
    said = [f"{word} {order[name]}" for name, word in worded.items() if order[name] is not None]
    if not limited and order["price"] is not None:
        said.append(f"{'at' if order['type'] == 'pegged' else 'worst'} {order['price']}")
    if order["time_in_force"] == "gtd":
        said.append(f"until {moment(1_000 * order['expire_ts'])}")
    if order["linked_order_id"] is not None:
        said.append(f"or {order['linked_order_id']}")
    return said


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
