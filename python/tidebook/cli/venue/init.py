"""`tidebook venue init`: an instrument and two accounts, so that a first order is one command away."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - cyclopts reads annotations
from typing import TYPE_CHECKING, Any, Final

from tidebook.cli.output import Json, print_json
from tidebook.cli.venue.node_api import node_api

if TYPE_CHECKING:
    from tidebook.cli.venue.node_api import NodeApi

_INSTRUMENT: Final = {
    "instrument": "BTC-USD.LOCAL",
    "base": "BTC",
    "quote": "USD",
    "tick": "0.01",
    "lot": "0.00001",
    # A spot account's market order needs a worst price, which is the band's edge.
    "reference_price": "60000",
    "band_ppm": 500_000,
    "maker_ppm": 100,
    "taker_ppm": 200,
}
_ACCOUNTS: Final = {"alice": {"USD": "1000000"}, "bob": {"BTC": "10", "USD": "1000"}}


def init(*, data: Path | None = None, json: Json = False) -> None:
    """List an instrument and open two accounts at the running node's own venue, to begin with; what is there stays.

    Parameters
    ----------
    data
        Data directory of the node; default: the setting `data_directory`.
    """
    node = node_api(data)
    done = _begin(node)
    if json:
        print_json(
            {
                "address": node.address,
                "instrument": _INSTRUMENT["instrument"],
                "accounts": list(_ACCOUNTS),
                "done": done,
            }
        )
        return
    for line in done:
        print(line)
    if not done:
        print("all of it is there")
    print("a first order: tidebook venue place alice BTC-USD.LOCAL buy 0.1 60000")


def _begin(node: NodeApi) -> list[str]:
    """What had to be done, a line each."""
    done = []
    name = str(_INSTRUMENT["instrument"])
    listed = {found["instrument"]: found for found in node.get("venue", "instruments")}.get(name)
    if listed is None or not listed["listed"]:
        node.post("operator", "instruments", body=dict(_INSTRUMENT))
        done.append(
            f"listed {name}: tick {_INSTRUMENT['tick']}, lot {_INSTRUMENT['lot']}, fees 100 and 200 ppm, band of 50 %"
        )
    if listed is None or listed["session"] != "continuous":
        node.post("operator", "instruments", name, "session", body={"session": "continuous"})
        done.append(f"{name} is traded continuously")
    opened: dict[str, Any] = {found["account"]: found for found in node.get("venue", "accounts")}
    for account, holdings in _ACCOUNTS.items():
        if not opened.get(account, {}).get("open"):
            node.post("operator", "accounts", body={"account": account})
            done.append(f"opened account {account}")
        if not node.get("accounts", account, "balances"):
            for asset, amount in holdings.items():
                node.post("operator", "accounts", account, "transfers", body={"asset": asset, "amount": amount})
                done.append(f"{account} has {amount} {asset}")
    return done
