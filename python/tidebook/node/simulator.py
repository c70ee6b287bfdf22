"""The simulated venue as a process of its own, beside the node as a real venue would be.

Its standard input is a pipe from the node: when the node ends, however it ends, the pipe closes and so does the venue.
"""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from tidebook.errors import VenueError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

_START_TIMEOUT_S = 20.0
_STOP_TIMEOUT_S = 3.0


@asynccontextmanager
async def simulated_binance(symbols: Sequence[str], rate: float, seed: int, port: int = 0) -> AsyncIterator[int]:
    """The port of a simulated Binance that lives as long as the block; `port` 0 takes any free one.

    Raises: VenueError when it does not start, with what it said.
    """
    words = ["simulate", "binance", "--port", str(port), "--symbols", ",".join(symbols), "--rate", str(rate)]
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "tidebook", *words, "--seed", str(seed), "--json", "--until-stdin-closes"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,  # Ctrl-C at the terminal is the node's to handle
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        async with asyncio.timeout(_START_TIMEOUT_S):
            line = await process.stdout.readline()
        if not line:
            said = (await process.stderr.read()).decode(errors="replace").strip()
            raise VenueError(f"the simulated venue did not start: {said or 'it said nothing'}", url="")
        # What it logs later must not fill the pipe.
        drain = asyncio.create_task(_drain(process.stderr), name="simulator log")
        yield int(json.loads(line)["port"])
        drain.cancel()
    except TimeoutError as error:
        raise VenueError(f"the simulated venue did not start within {_START_TIMEOUT_S:g} s", url="") from error
    finally:
        process.stdin.close()
        try:
            await asyncio.wait_for(process.wait(), _STOP_TIMEOUT_S)
        except TimeoutError:
            process.kill()
            await process.wait()


async def _drain(stream: asyncio.StreamReader) -> None:
    while line := await stream.readline():
        sys.stderr.write(f"simulator: {line.decode(errors='replace')}")
