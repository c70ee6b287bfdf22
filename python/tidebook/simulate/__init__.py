"""A local venue that speaks a real venue's protocol, for tests, benches and `make run` without a network.

`BinanceSimulator` serves it on a port; `SimulatedVenue` is the same venue without a socket or a clock.
"""

from tidebook.simulate.faults import Fault, FaultKind
from tidebook.simulate.limits import VenueLimits
from tidebook.simulate.server import BinanceSimulator
from tidebook.simulate.venue import SimulatedVenue, StreamMessage, VenueOptions

__all__ = [
    "BinanceSimulator",
    "Fault",
    "FaultKind",
    "SimulatedVenue",
    "StreamMessage",
    "VenueLimits",
    "VenueOptions",
]
