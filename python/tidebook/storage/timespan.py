"""Times a caller may give, as nanoseconds since 1970 UTC."""

from datetime import UTC, date, datetime, timedelta

from tidebook.errors import QueryError

Time = int | str | date | datetime
"""Nanoseconds since 1970 UTC, an ISO 8601 text, a date, or a datetime. Without a zone it is UTC."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# 3 March 1973. A smaller number is a time in seconds, milliseconds or microseconds.
_NS_MIN = 10**17


def to_ns(value: Time, name: str) -> int:
    """`value` in ns since 1970 UTC; a date is its midnight. `name` is the argument's, for the error.

    Raises: QueryError if it is a text that is no ISO 8601 time, or a number too small to be nanoseconds; 0 is the start.
    """
    if isinstance(value, int):
        if 0 < abs(value) < _NS_MIN:
            raise QueryError(
                f"{name} is {value}: as nanoseconds that is {_EPOCH + timedelta(microseconds=value // 1_000):%Y-%m-%d}; "
                "multiply seconds by 10**9, or give a datetime or an ISO 8601 text",
                kind=name,
                value=value,
            )
        return value
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError as error:
            raise QueryError(
                f"{name} is {value!r}, which is no time: write it like 2024-08-08 or 2024-08-08T12:30:00+00:00",
                kind=name,
                value=value,
            ) from error
    if not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day, tzinfo=UTC)
    if value.tzinfo is None:
        value = value.replace(tzinfo=UTC)
    return (value - _EPOCH) // timedelta(microseconds=1) * 1_000
