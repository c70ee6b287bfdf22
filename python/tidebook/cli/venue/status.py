"""`tidebook venue status`: how the node's own venue does."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - cyclopts reads annotations

from tidebook.cli.engines import engines_line
from tidebook.cli.output import Json, counted, print_json
from tidebook.cli.venue.node_api import node_api


def status(*, data: Path | None = None, json: Json = False) -> None:
    """Say how the running node's own venue does: commands, orders, accounts, what waits.

    Parameters
    ----------
    data
        Data directory of the node; default: the setting `data_directory`.
    """
    node = node_api(data)
    found = node.get("venue")
    if json:
        print_json(found)
        return
    beyond = found["sequence"] - found["durable"]
    engine = found["engine"]
    away = engine["away"]
    trading = "trading of all is OFF" if found["killed"] else "trading"
    print(
        f"venue {found['venue']} at {node.address}: {trading if away is None else f'AWAY, takes no orders now: the engine {away}'}"
    )
    shards = "" if engine["shards"] == 1 else f" with {engine['shards']} shards"
    print(
        f"{engine['layout']}{shards}: {counted(engine['threads'], 'thread')}; {counted(engine['cores'], 'core')} here"
    )
    print(engines_line(node.get("status")["engines"]))
    print(
        f"{counted(found['sequence'], 'command')}, {f'{beyond:,} of them not on disk yet' if beyond > 0 else 'all on disk'}; "
        f"{found['waiting']:,} wait"
    )
    print(
        f"{counted(found['instruments'], 'instrument')}, {counted(found['accounts'], 'account')}, "
        f"{counted(found['open_orders'], 'open order')}; state {found['state_hash']}"
    )
    if found["margin_calls"]:
        print(f"{counted(found['margin_calls'], 'margin call')} standing: `tidebook venue accounts` says whose")
    audit = found["audit"]
    if audit is not None:
        behind = found["durable"] - audit["sequence"]
        said = f"{audit['state']}, {f'{behind:,} commands behind' if behind > 0 else 'has all that is on disk'}"
        print(f"audit trail: {said}{'; ' if audit['problem'] else ''}{audit['problem']}")
    if not found["instruments"]:
        print("nothing is listed yet: `tidebook venue init` lists an instrument and opens two accounts to begin with")
