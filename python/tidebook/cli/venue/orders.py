"""`tidebook venue place`, `cancel`, `kill`: orders by hand."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - cyclopts reads annotations
from typing import Any

from tidebook.cli.output import Json, counted, print_json
from tidebook.cli.venue.lists import print_orders
from tidebook.cli.venue.node_api import node_api
from tidebook.errors import UsageError


def place(
    account: str,
    instrument: str,
    side: str,
    size: str,
    price: str | None = None,
    *,
    type: str | None = None,
    time_in_force: str | None = None,
    trigger_price: str | None = None,
    post_only: bool = False,
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
        How much, a decimal.
    price
        Limit, a decimal; without one it is a market order.
    type
        limit, market, stop, stop_limit; default by what is given.
    time_in_force
        gtc, ioc, fok or day; default: gtc, of a market order ioc.
    trigger_price
        Of a stop.
    post_only
        It must not take.
    client_order_id
        Your own id: the same command with the same id makes no second order.
    data
        Data directory of the node; default: the setting `data_directory`.
    """
    by_fields = {(False, False): "market", (True, False): "limit", (False, True): "stop", (True, True): "stop_limit"}
    asked: dict[str, Any] = {
        "instrument": instrument,
        "side": side,
        "size": size,
        "type": type or by_fields[price is not None, trigger_price is not None],
        "post_only": post_only,
    }
    optional = {
        "price": price,
        "time_in_force": time_in_force,
        "trigger_price": trigger_price,
        "client_order_id": client_order_id,
    }
    asked |= {name: value for name, value in optional.items() if value is not None}
    done = node_api(data).post("accounts", account, "orders", body=asked)
    _told(done, json)


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
    path: tuple[str, ...] = ("accounts", account, "orders")
    if order is not None:
        path = (*path, str(order))
    elif client_order_id is not None:
        path = ("accounts", account, "client-orders", client_order_id)
    done = node_api(data).send("DELETE", path)
    if all and not json:
        print(f"cancelled {counted(done['cancelled'], 'order')}")
        return
    _told(done, json)


def kill(account: str | None = None, *, revive: bool = False, data: Path | None = None, json: Json = False) -> None:
    """Switch trading of an account, or of all, off: no order any more, all open ones cancelled; --revive switches it on.

    Parameters
    ----------
    account
        Whose; default: of all.
    revive
        Trading again; what was cancelled stays so.
    data
        Data directory of the node; default: the setting `data_directory`.
    """
    done = node_api(data).post("operator", "kill", body={"account": account, "killed": not revive})
    if json:
        print_json(done)
        return
    whose = "of all" if account is None else f"of {account}"
    print(f"trading {whose} is {'on' if revive else 'OFF'}")


def _told(done: dict[str, Any], json: bool) -> None:
    if json:
        print_json(done)
        return
    print_orders([done["order"]])
    how = "on disk" if done["durable"] else "in shared memory"
    print(f"command {done['sequence']} of orders, {how}" + (", of an earlier request" if done["repeated"] else ""))
