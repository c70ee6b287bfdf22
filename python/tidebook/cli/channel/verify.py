"""`tidebook channel verify`: whether channels hold what was written to them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tidebook.cli.channel.inputs import AllowOthers, Node, Rings, all_channels
from tidebook.cli.output import Json, console, counted, print_json
from tidebook.cli.progress import progress_bar
from tidebook.cli.shown import size
from tidebook.errors import ChannelNotFoundError, TidebookError

if TYPE_CHECKING:
    from tidebook.transport.view import ChannelFile

_STEP = 8192
_SHOWN = 10


def verify(
    *names: str, node: Node = None, rings: Rings = None, allow_others: AllowOthers = False, json: Json = False
) -> int:
    """Check every line and committed message of channels; the exit code says whether all are whole.

    Parameters
    ----------
    names
        Channels, such as md.trades or desk/md.trades, or paths of rings; default: all.
    """
    from tidebook.transport.view import find_channel, rings_root

    files = [find_channel(name, node=node, root=rings) for name in names] or all_channels(node, rings)
    if not files and not json:
        print(f"no channels in {rings_root(rings)}")
    results = []
    for file in files:
        result = _verified(file, allow_others, json)
        if result is None:
            continue
        results.append(result)
        if not json:
            _print(result)
    if json:
        print_json({"channels": results})
    return 1 if any(result["problem_count"] for result in results) else 0


def _verified(file: ChannelFile, allow_others: bool, quiet: bool) -> dict[str, Any] | None:
    """What was found; None for a channel that was removed meanwhile."""
    from tidebook.transport.view import ChannelView

    facts: dict[str, Any] = {"channel": file.title, "path": str(file.path)}
    try:
        view = ChannelView(file, allow_others=allow_others)
    except ChannelNotFoundError:
        if file.path.exists():
            raise
        return None
    except TidebookError as error:
        problem = {"sequence": None, "offset": 0, "lost": 0, "what": str(error)}
        return {**facts, "readable": False, "problem_count": 1, "problems": [problem]}
    verifier = view.ring.verify()
    published = view.status()["published"]
    last = verifier.next_sequence
    with progress_bar(f"checking {file.title}", max(0, published + 1 - last), bytes=False, quiet=quiet) as advance:
        while verifier.step(_STEP):
            advance(verifier.next_sequence - last)
            last = verifier.next_sequence
    return {**facts, "readable": True, "crc": view.info["crc"], **verifier.found()}


def _print(result: dict[str, Any]) -> None:
    screen = console()
    name = result["channel"]
    if not result["readable"]:
        screen.print(f"[red]{name}: not usable:[/] {result['problems'][0]['what']}")
        return
    seen = "no messages"
    if result["messages"]:
        span = f"{result['first']:,} to {result['last']:,}"
        seen = f"{counted(result['messages'], 'message')} ({span}), {size(result['size_bytes'])}"
    if result["voids"]:
        seen += f", {result['voids']:,} never committed"
    if result["overwritten"]:
        seen += f", {result['overwritten']:,} overwritten meanwhile"
    if not result["crc"]:
        seen += "; it has no checksums, so payloads were not compared with anything"
    if not result["problem_count"]:
        screen.print(f"[green]{name}: whole[/], {seen}")
        return
    screen.print(f"[red]{name}: damaged[/], {counted(result['problem_count'], 'problem')}; whole are {seen}")
    first = next((problem for problem in result["problems"] if problem["sequence"] is not None), None)
    if first is not None:
        screen.print(f"  first bad message: {first['sequence']:,}, at byte {first['offset']:,} of {result['path']}")
    for problem in result["problems"][:_SHOWN]:
        of = "" if problem["sequence"] is None else f"message {problem['sequence']:,}: "
        lost = f" ({counted(problem['lost'], 'message')} cannot be read)" if problem["lost"] > 1 else ""
        screen.print(f"  byte {problem['offset']:,}: {of}{problem['what']}{lost}")
    if result["problem_count"] > _SHOWN:
        screen.print(f"  and {counted(result['problem_count'] - _SHOWN, 'more problem')} (--json has the first 1,000)")
