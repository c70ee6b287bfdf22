"""The simulated venue for `benches/socket_to_book.py`: evenly paced, and every send is stamped.

Started as a process of its own. Prints its port as JSON; when its standard input closes it prints when it sent which
bookTicker and ends.
"""

import asyncio
import json
import sys
import time

from tidebook.simulate import BinanceSimulator, VenueOptions

STEP_US = 10_000


class PacedVenue(BinanceSimulator):
    """Sends one message each 1/rate s of real time, whatever the market's own time says."""

    def __init__(self, rate: float) -> None:
        super().__init__(VenueOptions(symbols=("BTCUSDT",), rate=rate, seed=17))
        self.sent: dict[int, int] = {}
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
                self._hub.deliver(message)
                if message.body.startswith(b'{"u":'):
                    self.sent[int(message.body[5 : message.body.index(b",")])] = time.time_ns()
                self._hub.write_out()


async def main(rate: float) -> None:
    async with PacedVenue(rate) as venue:
        print(json.dumps({"port": venue.port}), flush=True)
        await asyncio.to_thread(sys.stdin.read)
        print(json.dumps(venue.sent), flush=True)


if __name__ == "__main__":
    asyncio.run(main(float(sys.argv[1])))
