"""Numbers that commands, executions and risk events hold, with their names.

Written out, so that editors and type checkers know them; `tests/venue/test_layouts.py` compares each list with the core's. Every one is
an int: `orders["kind"] == CommandKind.PLACE`. What they mean: `docs/formats/orders.md`.
"""

from enum import IntEnum, IntFlag
from typing import Literal

Wait = Literal["memory", "durable"]
"""How safe a command is before it is acknowledged: on `orders` in shared memory, which survives the death of processes; or on disk."""


class CommandKind(IntEnum):
    """What a command asks for."""

    PLACE = 1
    PLACE_PAIR = 2
    REPLACE = 3
    CANCEL = 4
    MASS_CANCEL = 5
    CANCEL_ALL_AFTER = 6
    DISCONNECT = 7
    TIMER = 8
    SESSION = 9
    INSTRUMENT = 10
    ACCOUNT = 11
    LIMITS = 12
    TRANSFER = 13
    KILL = 14


class Verdict(IntEnum):
    """What risk said of a command."""

    NONE = 0
    ACCEPTED = 1
    REJECTED = 2


class Side(IntEnum):
    """Side of an order; NONE of a fill in an auction."""

    BUY = 1
    NONE = 0
    SELL = -1


class OrderType(IntEnum):
    """Type of an order."""

    LIMIT = 1
    MARKET = 2
    STOP = 3
    STOP_LIMIT = 4
    TRAILING_STOP = 5
    PEGGED = 6


class TimeInForce(IntEnum):
    """How long an order stays."""

    GTC = 1
    IOC = 2
    FOK = 3
    GTD = 4
    DAY = 5


class SelfTrade(IntEnum):
    """What an aggressor does when it meets an order of its owner."""

    NONE = 0
    CANCEL_NEWEST = 1
    CANCEL_OLDEST = 2
    CANCEL_BOTH = 3
    DECREMENT = 4


class Peg(IntEnum):
    """Which price a pegged order follows."""

    NONE = 0
    PRIMARY = 1
    OPPOSITE = 2
    MID = 3


class Session(IntEnum):
    """What trading of an instrument is in."""

    CLOSED = 0
    PRE_OPEN = 1
    AUCTION = 2
    CONTINUOUS = 3
    HALTED = 4


class BandAction(IntEnum):
    """What happens to an aggressor that would leave the price band."""

    REJECT = 0
    HALT = 1


class OrderFlag(IntFlag):
    """Flags of an order."""

    POST_ONLY = 1
    CANCEL_ON_DISCONNECT = 2


class AccountFlag(IntFlag):
    """Flags of an account."""

    OWN_FEES = 1
    MARGIN = 2


class ExecutionKind(IntEnum):
    """What happened."""

    ACCEPTED = 1
    REJECTED = 2
    FILL = 3
    CANCELLED = 4
    REPLACED = 5
    REDUCED = 6
    TRIGGERED = 7
    REFRESHED = 8
    REPRICED = 9
    SESSION_CHANGED = 10
    INDICATIVE = 11
    UNCROSSED = 12
    MASS_CANCELLED = 13
    DONE = 14


class RiskEventKind(IntEnum):
    """What risk tells of."""

    REJECTED = 1
    LIMITS_CHANGED = 2
    ACCOUNT_CHANGED = 3
    INSTRUMENT_CHANGED = 4
    TRANSFERRED = 5
    KILLED = 6
    REVIVED = 7
    MARGIN_CALL = 8
    MARGIN_RESTORED = 9
    DEFICIT = 10
    REVERTED = 11


class Reason(IntEnum):
    """Why a command was refused, or an order ended."""

    NONE = 0
    UNKNOWN_INSTRUMENT = 1
    UNKNOWN_ACCOUNT = 2
    FIELDS = 3
    TIME_IN_FORCE = 4
    EXPIRED = 5
    TICK = 6
    LOT = 7
    SIZE = 8
    PRICE = 9
    DISPLAY_SIZE = 10
    TRIGGER_PRICE = 11
    OFFSET = 12
    AMOUNT = 13
    SESSION = 14
    POST_ONLY = 15
    FULL = 16
    UNKNOWN_ORDER = 17
    LINKED = 18
    REQUESTED = 19
    IMMEDIATE = 20
    FILL_OR_KILL = 21
    NO_LIQUIDITY = 22
    AMOUNT_LEFT = 23
    SELF_TRADE = 24
    PRICE_BAND = 25
    MASS_CANCEL = 26
    DISCONNECTED = 27
    DEAD_MAN = 28
    KILLED = 29
    DUPLICATE_CLIENT_ORDER_ID = 30
    THROTTLED = 31
    BALANCE = 32
    MARGIN = 33
    ORDER_SIZE = 34
    ORDER_NOTIONAL = 35
    COLLAR = 36
    OPEN_ORDERS = 37
    POSITION = 38
    EXPOSURE = 39
    OPERATOR_ONLY = 40
    DEFINITION = 41
    LATE = 42
