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


class VenueProcess:
    """A running simulated venue."""

    def __init__(self, venue: str, port: int, process: asyncio.subprocess.Process) -> None:
        self.venue = venue
        self.port = port
        self._process = process
        self._last_line = ""

    async def ended(self) -> None:
        """Waits for its end, which the node did not ask for. Raises: VenueError, always, with its last words."""
        code = await self._process.wait()
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        said = f": {self._last_line}" if self._last_line else ""
        raise VenueError(f"the simulated {self.venue} ended by itself ({how}){said}; start the node again", url="")

    async def listen(self, stream: asyncio.StreamReader) -> None:
        """Passes on what it logs and remembers the last line."""
        while line := await stream.readline():
            text = line.decode(errors="replace")
            sys.stderr.write(f"simulator: {text}")
            self._last_line = text.strip() or self._last_line


@asynccontextmanager
async def simulated(
    venue: str, symbols: Sequence[str], rate: float, seed: int, port: int = 0
) -> AsyncIterator[VenueProcess]:
    """A simulated venue that lives as long as the block; `port` 0 takes any free one.

    Raises: VenueError when it does not start, with what it said.
    """
    words = ["simulate", venue, "--port", str(port), "--symbols", ",".join(symbols), "--rate", str(rate)]
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
            raise VenueError(f"the simulated {venue} did not start: {said or 'it said nothing'}", url="")
        running = VenueProcess(venue, int(json.loads(line)["port"]), process)
        # What it logs later must not fill the pipe.
        drain = asyncio.create_task(running.listen(process.stderr), name="simulator log")
        yield running
        drain.cancel()
    except TimeoutError as error:
        raise VenueError(f"the simulated {venue} did not start within {_START_TIMEOUT_S:g} s", url="") from error
    finally:
        process.stdin.close()
        try:
            await asyncio.wait_for(process.wait(), _STOP_TIMEOUT_S)
        except TimeoutError:
            process.kill()
            await process.wait()
