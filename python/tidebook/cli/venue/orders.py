"""`tidebook venue place`, `place-pair`, `replace`, `cancel`, `kill`: orders by hand."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 - cyclopts reads annotations
from pathlib import Path  # noqa: TC003
from typing import Any

from tidebook.cli.inputs import nanoseconds
from tidebook.cli.output import Json, counted, print_json
from tidebook.cli.venue.lists import print_orders
from tidebook.cli.venue.node_api import given, node_api
from tidebook.errors import UsageError


def place(
    account: str,
    instrument: str,
    side: str,
    size: str | None = None,
    price: str | None = None,
    *,
    amount: str | None = None,
    type: str | None = None,
    time_in_force: str | None = None,
    trigger_price: str | None = None,
    offset: str | None = None,
    peg: str | None = None,
    display_size: str | None = None,
    expires: datetime | None = None,
    self_trade: str | None = None,
    post_only: bool = False,
    cancel_on_disconnect: bool = False,
    client_order_id: str | None = None,
    data: Path | None = None,
    json: Json = False,
) -> None:
    """Place an order at the running node's own venue, and say what became of it.

    Parameters
    ----------
    account
        Whose.
    instrument
        Such as BTC-USD.LOCAL.
    side
        buy or sell.
    size
        How much, a decimal; not needed with --amount.
    price
        Limit, a decimal; without one it is a market order. Of a market, stop or pegged order the worst price it may take.
    amount
        Of a market order: how much of the quote currency to spend or to receive, instead of a size.
    type
        limit, market, stop, stop_limit, trailing_stop, pegged; default by what is given.
    time_in_force
        gtc, ioc, fok, gtd or day; default: gtc, of a market order ioc, with --expires gtd.
    trigger_price
        Of a stop; of a trailing stop where it begins, by default at the last trade less its offset.
    offset
        Of a trailing stop: how far its trigger stays behind; of a pegged order: how far it stays away.
    peg
        primary, opposite or mid: which price a pegged order follows.
    display_size
        What an iceberg shows.
    expires
        When it goes, as 2026-11-30T17:00; UTC unless it says its zone.
    self_trade
        none, cancel_newest, cancel_oldest, cancel_both or decrement: what it does when it meets an order of its owner; default
        cancel_newest.
    post_only
        It must not take.
    cancel_on_disconnect
        It goes when a WebSocket session of the account ends, and when the node starts again.
    client_order_id
        Your own id: the same command with the same id makes no second order.
    data
        Data directory of the node; default: the setting `data_directory`.
    """
    asked: dict[str, Any] = {
        "instrument": instrument,
        "side": side,
        "type": type or _type_of(price, trigger_price, offset, peg),
        "post_only": post_only,
        "cancel_on_disconnect": cancel_on_disconnect,
    }
    optional = {
        "size": size,
        "amount": amount,
        "price": price,
        "time_in_force": time_in_force or (None if expires is None else "gtd"),
        "trigger_price": trigger_price,
        "offset": offset,
        "peg": peg,
        "display_size": display_size,
        "expire_ts": _micros(expires),
        "self_trade": self_trade,
        "client_order_id": client_order_id,
    }
    _told(node_api(data).post("accounts", account, "orders", body=asked | given(optional)), json)


def place_pair(
    account: str,
    instrument: str,
    side: str,
    size: str,
    price: str,
    trigger_price: str,
    limit_price: str | None = None,
    *,
    expires: datetime | None = None,
    post_only: bool = False,
    cancel_on_disconnect: bool = False,
    client_order_id: str | None = None,
    stop_client_order_id: str | None = None,
    data: Path | None = None,
    json: Json = False,
) -> None:
    """Place a limit order and a stop of which one cancels the other.

    Parameters
    ----------
    account
        Whose.
    instrument
        Such as BTC-USD.LOCAL.
    side
        buy or sell, of both.
    size
        How much, a decimal; of both.
    price
        Of the limit order.
    trigger_price
        Of the stop.
    limit_price
        Of the stop once triggered; without one it becomes a market order.
    expires
        When they go, as 2026-11-30T17:00; UTC unless it says its zone.
    post_only
        The limit order must not take.
    cancel_on_disconnect
        They go when a WebSocket session of the account ends, and when the node starts again.
    client_order_id
        Your own id of the limit order.
    stop_client_order_id
        Your own id of the stop.
    data
        Data directory of the node; default: the setting `data_directory`.
    """
    asked = {
        "instrument": instrument,
        "side": side,
        "size": size,
        "price": price,
        "trigger_price": trigger_price,
        "post_only": post_only,
        "cancel_on_disconnect": cancel_on_disconnect,
    }
    optional = {
        "limit_price": limit_price,
        "time_in_force": None if expires is None else "gtd",
        "expire_ts": _micros(expires),
        "client_order_id": client_order_id,
        "stop_client_order_id": stop_client_order_id,
    }
    _told(node_api(data).post("accounts", account, "order-pairs", body=asked | given(optional)), json)


def replace(
    account: str,
    order: int | None = None,
    *,
    client_order_id: str | None = None,
    price: str | None = None,
    size: str | None = None,
    trigger_price: str | None = None,
    offset: str | None = None,
    display_size: str | None = None,
    expires: datetime | None = None,
    new_client_order_id: str | None = None,
    data: Path | None = None,
    json: Json = False,
) -> None:
    """Change an open order; what is left out stays, and a smaller size at the same price keeps its priority.

    Parameters
    ----------
    account
        Whose.
    order
        The venue's id of it.
    client_order_id
        Your own id of it instead.
    price
        Its limit, or the worst price it may take.
    size
        The whole size, what is filled included.
    trigger_price
        Of a stop.
    offset
        Of a trailing stop or a pegged order.
    display_size
        What an iceberg shows.
    expires
        When it goes, of an order that is gtd.
    new_client_order_id
        Your own id of it from now on.
    data
        Data directory of the node; default: the setting `data_directory`.
    """
    if (order is not None) + (client_order_id is not None) != 1:
        raise UsageError("name one order, by its number or --client-order-id")
    change = {
        "price": price,
        "size": size,
        "trigger_price": trigger_price,
        "offset": offset,
        "display_size": display_size,
        "expire_ts": _micros(expires),
        "client_order_id": new_client_order_id,
    }
    _told(node_api(data).send("PATCH", _path_of(account, order, client_order_id), given(change)), json)


def cancel(
    account: str,
    order: int | None = None,
    *,
    client_order_id: str | None = None,
    all: bool = False,
    data: Path | None = None,
    json: Json = False,
) -> None:
    """Cancel an order at the running node's own venue, or all of an account.

    Parameters
    ----------
    account
        Whose.
    order
        The venue's id of it.
    client_order_id
        Your own id of it instead.
    all
        All open orders of the account.
    data
        Data directory of the node; default: the setting `data_directory`.
    """
    if (order is not None) + (client_order_id is not None) + all != 1:
        raise UsageError("name one order, by its number or --client-order-id, or say --all")
    done = node_api(data).send("DELETE", _path_of(account, order, client_order_id))
    if all and not json:
        print(f"cancelled {counted(done['cancelled'], 'order')}")
        return
    _told(done, json)


def kill(
    account: str | None = None,
    *,
    all: bool = False,
    revive: bool = False,
    data: Path | None = None,
    json: Json = False,
) -> None:
    """Switch trading of an account, or of all, off: no order any more, all open ones cancelled; --revive switches it on.

    Parameters
    ----------
    account
        Whose.
    all
        Of all accounts, instead of one.
    revive
        Trading again; what was cancelled stays so.
    data
        Data directory of the node; default: the setting `data_directory`.
    """
    if (account is not None) == all:
        raise UsageError("name an account, or say --all for trading of all accounts")
    done = node_api(data).post("operator", "kill", body={"account": account, "all": all, "killed": not revive})
    if json:
        print_json(done)
        return
    whose = "of all" if account is None else f"of {account}"
    cancelled = "" if revive else f"; cancelled {counted(done['cancelled'], 'order')}"
    print(f"trading {whose} is {'on' if revive else 'OFF'}{cancelled}")


def _type_of(price: str | None, trigger_price: str | None, offset: str | None, peg: str | None) -> str:
    """What is most likely meant by what is given."""
    if peg is not None:
        return "pegged"
    if offset is not None:
        return "trailing_stop"
    by_fields = {(False, False): "market", (True, False): "limit", (False, True): "stop", (True, True): "stop_limit"}
    return by_fields[price is not None, trigger_price is not None]


def _micros(time: datetime | None) -> int | None:
    return None if time is None else nanoseconds(time) // 1_000


def _path_of(account: str, order: int | None, client_order_id: str | None) -> tuple[str, ...]:
    """Of one order, or of all of the account."""
    if client_order_id is not None:
        return ("accounts", account, "client-orders", client_order_id)
    return ("accounts", account, "orders", *(() if order is None else (str(order),)))


def _told(done: dict[str, Any], json: bool) -> None:
    if json:
        print_json(done)
        return
    print_orders([order for order in (done["order"], done.get("linked")) if order is not None])
    how = "on disk" if done["durable"] else "in shared memory"
    print(f"command {done['sequence']} of orders, {how}" + (", of an earlier request" if done["repeated"] else ""))
