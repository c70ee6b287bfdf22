"""`tidebook venue list-instrument`, `session`, `open-account`, `transfer`: what an operator does at the node's own venue."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - cyclopts reads annotations
from typing import Annotated, Any

from cyclopts import Parameter

from tidebook.cli.output import Json, print_json
from tidebook.cli.venue.node_api import given, node_api


def list_instrument(
    instrument: str,
    base: str | None = None,
    quote: str | None = None,
    *,
    tick: str | None = None,
    lot: str | None = None,
    size_min: str | None = None,
    size_max: str | None = None,
    reference_price: str | None = None,
    band_ppm: int | None = None,
    band_action: str | None = None,
    maker_ppm: int | None = None,
    taker_ppm: int | None = None,
    data: Path | None = None,
    json: Json = False,
) -> None:
    """List an instrument, or change one; a new one is closed until `tidebook venue session` opens it.

    What is left out of one that is listed stays as it is.

    Parameters
    ----------
    instrument
        Such as BTC-USD.LOCAL.
    base
        What is bought and sold, such as BTC; a new one needs it, as a quote, a tick and a lot.
    quote
        What it is paid in, such as USD.
    tick
        Price step; its decimals are those of prices.
    lot
        Size step; its decimals are those of sizes.
    size_min
        Smallest size of an order; default one lot.
    size_max
        Largest size of an order.
    reference_price
        Middle of the price band, and the price before the first trade.
    band_ppm
        Half width of the band in parts per million. Without a band, a collar or a reference price market orders of spot
        accounts need a worst price.
    band_action
        reject or halt: what happens to an order that would leave the band.
    maker_ppm
        Fee of who waited, in parts per million; below 0 a rebate.
    taker_ppm
        Fee of who came.
    data
        Data directory of the node; default: the setting `data_directory`.
    """
    terms = {
        "base": base,
        "quote": quote,
        "tick": tick,
        "lot": lot,
        "size_min": size_min,
        "size_max": size_max,
        "reference_price": reference_price,
        "band_ppm": band_ppm,
        "band_action": band_action,
        "maker_ppm": maker_ppm,
        "taker_ppm": taker_ppm,
    }
    asked = {"instrument": instrument} | given(terms)
    _told(node_api(data).post("operator", "instruments", body=asked), json, f"{instrument} is listed")


def session(instrument: str, session: str, *, data: Path | None = None, json: Json = False) -> None:
    """Put an instrument into another session.

    Parameters
    ----------
    instrument
        Such as BTC-USD.LOCAL.
    session
        closed, pre_open, auction, continuous or halted.
    data
        Data directory of the node; default: the setting `data_directory`.
    """
    done = node_api(data).post("operator", "instruments", instrument, "session", body={"session": session})
    _told(done, json, f"{instrument} is {session}")


def open_account(
    account: str,
    *,
    wait: str | None = None,
    group: int | None = None,
    own_fees: bool | None = None,
    maker_ppm: int | None = None,
    taker_ppm: int | None = None,
    margin: bool | None = None,
    initial_margin_ppm: int | None = None,
    maintenance_margin_ppm: int | None = None,
    data: Path | None = None,
    json: Json = False,
) -> None:
    """Open an account, or change one.

    Parameters
    ----------
    account
        Its name: 1 to 32 of A-Z a-z 0-9 _ -, not digits alone.
    wait
        memory or durable: how safe a command of it is before it is acknowledged.
    group
        Accounts of one group do not trade with each other; 0 for none.
    own_fees
        --no-own-fees: the instruments' fees again.
    maker_ppm
        Its own fee as maker, in parts per million; both or none.
    taker_ppm
        Its own fee as taker.
    margin
        It may owe, within its margin.
    initial_margin_ppm
        What of a position's worth it needs to open it, in parts per million.
    maintenance_margin_ppm
        The same to keep it.
    data
        Data directory of the node; default: the setting `data_directory`.
    """
    terms = {
        "wait": wait,
        "group": group,
        "own_fees": own_fees,
        "maker_ppm": maker_ppm,
        "taker_ppm": taker_ppm,
        "margin": margin,
        "initial_margin_ppm": initial_margin_ppm,
        "maintenance_margin_ppm": maintenance_margin_ppm,
    }
    done = node_api(data).post("operator", "accounts", body={"account": account} | given(terms))
    _told(done, json, f"account {account} is open")


def transfer(
    account: str,
    asset: str,
    amount: Annotated[str, Parameter(allow_leading_hyphen=True)],
    *,
    data: Path | None = None,
    json: Json = False,
) -> None:
    """Put an asset into an account, or take it out. Sent again it is done again.

    Parameters
    ----------
    account
        Whose.
    asset
        Such as USD.
    amount
        In; below 0 out.
    data
        Data directory of the node; default: the setting `data_directory`.
    """
    node = node_api(data)
    done = node.post("operator", "accounts", account, "transfers", body={"asset": asset, "amount": amount})
    if json:
        print_json(done)
        return
    has = {of["asset"]: of["balance"] for of in node.get("accounts", account, "balances")}
    print(f"{account} has {has.get(asset, '0')} {asset}")


def _told(done: dict[str, Any], json: bool, line: str) -> None:
    if json:
        print_json(done)
        return
    print(f"{line} (command {done['sequence']} of orders)")
