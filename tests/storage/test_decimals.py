"""A double is called exact only when the integer comes back from it, and then it is the decimal's own double."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidebook._core import format_units
from tidebook.errors import UsageError
from tidebook.storage.decimals import EXPONENT_MAX, to_doubles, to_units

UNITS = st.integers(-(2**63), 2**63 - 1)
EXPONENTS = st.integers(0, EXPONENT_MAX)


@given(st.lists(st.tuples(UNITS | st.integers(-(2**54), 2**54), EXPONENTS), min_size=1, max_size=50))
def test_doubles_called_exact_give_back_every_unit_and_equal_the_decimal_text(rows: list[tuple[int, int]]) -> None:
    units = np.array([unit for unit, _ in rows], np.int64)
    exponents = np.array([exponent for _, exponent in rows], np.uint8)
    doubles, exact = to_doubles(units, exponents)
    if exact:
        assert (to_units(doubles, exponents) == units).all()
        assert doubles.tolist() == [float(format_units(*row)) for row in rows]


@given(st.lists(st.integers(-(2**51), 2**51), min_size=1), EXPONENTS)
def test_units_of_up_to_fifteen_digits_are_always_exact(units: list[int], exponent: int) -> None:
    """Why: division and multiplication each err by at most 2^-53, together less than half a unit below 2^51."""
    _, exact = to_doubles(np.array(units, np.int64), np.full(len(units), exponent, np.uint8))
    assert exact


@pytest.mark.parametrize("unit", [2**53 + 1, -(2**53) - 1, 2**63 - 1, 1_234_567_890_123_456_789])
def test_one_row_that_no_double_keeps_makes_the_whole_column_inexact(unit: int) -> None:
    units = np.full(100_000, 6_183_763, np.int64)
    assert to_doubles(units, np.full(100_000, 2, np.uint8))[1]
    units[77_777] = unit
    assert not to_doubles(units, np.full(100_000, 2, np.uint8))[1]


def test_an_exponent_beyond_the_records_is_refused() -> None:
    with pytest.raises(UsageError, match="exponent is 19"):
        to_doubles(np.array([1], np.int64), np.array([19], np.uint8))
