"""The simulated venue for `benches/socket_to_book.py`: evenly paced, and every message says when it was sent.

Started as a process of its own with the rate as its argument; prints its port and ends when its standard input closes.
The time of sending is one more field, `ns`, at the end of each payload, which the venue's real messages do not have.
"""

import asyncio
import sys
import time

from tidebook.simulate import Simulator, StreamMessage, VenueOptions

STEP_US = 10_000


class PacedVenue(Simulator):
    """Sends one message each 1/rate s of real time, whatever the market's own time says."""

    def __init__(self, rate: float) -> None:
        super().__init__(VenueOptions(symbols=("BTCUSDT",), rate=rate, seed=17))
        self._period_s = 1 / rate

    async def _run_clock(self) -> None:
        due = time.monotonic()
        while True:
            if not self.venue.wanted:
                await asyncio.sleep(0.001)
                due = time.monotonic()
                continue
            for message in self.venue.advance(self.venue.now_us + STEP_US):
                due += self._period_s
                await asyncio.sleep(max(0.0, due - time.monotonic()))
                body = b'%b,"ns":%d}' % (message.body[:-1], time.time_ns())
                self._hub.deliver(StreamMessage(message.stream, body))
                self._hub.write_out()


async def main(rate: float) -> None:
    async with PacedVenue(rate) as venue:
        print(venue.port, flush=True)
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main(float(sys.argv[1])))
