"""Numbers and times as venues write them: decimals from integer units, and RFC 3339."""

import time
from collections.abc import Callable
from functools import lru_cache


def padded(exponent: int, decimals: int | None = None) -> Callable[[int], str]:
    """Writer of units of 10^-exponent with `decimals` decimals (None = exponent): 4339 -> "43.3900"."""
    decimals = exponent if decimals is None else decimals
    assert decimals >= exponent, f"{decimals} decimals cannot hold units of 10^-{exponent}"
    scale = 10**exponent
    zeros = "0" * (decimals - exponent)
    if exponent == 0:
        point = f".{zeros}" if zeros else ""
        return lambda units: f"{units}{point}"
    form = f"%d.%0{exponent}d{zeros}"
    return lambda units: form % divmod(units, scale)


def trimmed(exponent: int) -> Callable[[int], str]:
    """Writer of units of 10^-exponent without zeros at the end: 4340 -> "43.4", 0 -> "0"."""
    if exponent == 0:
        return str
    write = padded(exponent)
    return lambda units: write(units).rstrip("0").rstrip(".")


def rfc3339(time_us: int) -> str:
    """UTC with six decimals: 2026-08-01T02:53:53.398143Z."""
    second, part = divmod(time_us, 1_000_000)
    return f"{_second(second)}.{part:06d}Z"


def rfc3339_trimmed(time_us: int) -> str:
    """UTC without zeros at the end of the fraction, as Go prints it."""
    second, part = divmod(time_us, 1_000_000)
    fraction = f".{part:06d}".rstrip("0").rstrip(".")
    return f"{_second(second)}{fraction}Z"


def rfc3339_ns(time_us: int, ns: int = 0) -> str:
    """UTC with nine decimals, `ns` nanoseconds later."""
    second, part = divmod(time_us, 1_000_000)
    return f"{_second(second)}.{part * 1_000 + ns:09d}Z"


@lru_cache(maxsize=64)
def _second(second: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
