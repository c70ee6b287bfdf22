"""When the next message or connection has its turn, and how long a host wants silence: second by second."""

import pytest

from tidebook.feeds.pace import Pace, connect_pace
from tidebook.feeds.protocol import ConnectionLimits
from tidebook.feeds.stop_signs import RETRY_AFTER_MAX_S, RETRY_AFTER_UNKNOWN_S, StopSigns, stop_s

NOON_S = 1_764_417_600.0
"""2025-11-29 12:00:00 UTC."""


def test_connections_are_staggered_and_stay_within_the_venues_window() -> None:
    limits = ConnectionLimits(
        names_per_request=1, request_spacing_s=0, connect_spacing_s=0.5, connects_per_window=3, connect_window_s=10
    )
    pace = connect_pace(limits)
    assert [pace.delay_s(100.0) for _ in range(3)] == [0.0, 0.5, 1.0]
    assert pace.delay_s(101.0) == 9.0, "the fourth within ten seconds of the first"
    assert pace.delay_s(200.0) == 0.0


def test_who_shares_a_pace_shares_its_places() -> None:
    pace = Pace(0.25)
    assert [pace.delay_s(10.0) for _ in range(4)] == [0.0, 0.25, 0.5, 0.75]
    assert pace.delay_s(10.5) == 0.5
    assert pace.delay_s(20.0) == 0.0


def test_a_rest_takes_the_places_that_were_given_in_it() -> None:
    pace = Pace(0.25)
    assert [pace.delay_s(10.0) for _ in range(3)] == [0.0, 0.25, 0.5]
    pace.rest(10.0, 2.0)
    pace.rest(10.0, 1.0)
    assert [pace.holds(now, now) for now in (10.25, 11.9, 12.0)] == [False, False, True]
    assert [pace.delay_s(10.25) for _ in range(2)] == [1.75, 2.0]


def test_places_that_a_process_slept_through_are_not_used_all_at_once() -> None:
    pace = Pace(0.25)
    places = [10.0 + pace.delay_s(10.0) for _ in range(4)]
    assert [pace.holds(place, 10.8) for place in places] == [False, False, False, True]
    assert [pace.delay_s(10.8) for _ in range(3)] == pytest.approx([0.2, 0.45, 0.7])
    assert pace.holds(20.0, 20.1)


def test_nothing_is_asked_of_a_host_before_retry_after_is_over() -> None:
    """Whatever the port, since a venue counts by address; other hosts are asked as before."""
    signs = StopSigns()
    signs.obey("wss://stream.venue.example:9443", 120.0, 300.0)
    signs.obey("wss://stream.venue.example:9443", 121.0, 1.0)
    assert signs.delay_s("https://stream.venue.example/api", 200.0) == 220.0
    assert signs.delay_s("https://api.venue.example", 200.0) == 0.0
    assert signs.delay_s("wss://stream.venue.example:9443", 420.0) == 0.0


@pytest.mark.parametrize(
    ("status", "header", "wait_s"),
    [
        (101, "5", None),
        (200, None, None),
        (403, None, None),
        (429, "7", 7.0),
        (503, "0.5", 0.5),
        (418, "-3", 0.0),
        (429, None, RETRY_AFTER_UNKNOWN_S),
        (429, "soon", RETRY_AFTER_UNKNOWN_S),
        (418, "nan", RETRY_AFTER_UNKNOWN_S),
        (503, "inf", None),
        (429, "1e30", RETRY_AFTER_MAX_S),
        (503, "Sat, 29 Nov 2025 12:00:30 GMT", 30.0),
        (503, "Sat, 29 Nov 2025 11:00:00 GMT", 0.0),
    ],
)
def test_how_long_an_answer_wants_silence(status: int, header: str | None, wait_s: float | None) -> None:
    assert stop_s(status, header, NOON_S) == wait_s
