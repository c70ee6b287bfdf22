"""Local venues that speak a real venue's protocol, for tests, benches and `make run` without a network.

`Simulator` serves one on a port; `SimulatedVenue` is the same venue without a socket or a clock. `RecordingPlayer`
serves what a real venue sent.
"""

from tidebook.simulate.dialect import StreamMessage
from tidebook.simulate.faults import Fault, FaultKind
from tidebook.simulate.limits import VenueLimits
from tidebook.simulate.player import RecordingPlayer
from tidebook.simulate.server import Simulator
from tidebook.simulate.venue import SimulatedVenue, VenueOptions
from tidebook.simulate.wire import DIALECTS

__all__ = [
    "DIALECTS",
    "Fault",
    "FaultKind",
    "RecordingPlayer",
    "SimulatedVenue",
    "Simulator",
    "StreamMessage",
    "VenueLimits",
    "VenueOptions",
]
