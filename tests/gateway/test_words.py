"""Words of answers."""

import pytest

from tidebook.gateway import words


@pytest.mark.parametrize("table", [words.ORDER_TYPES, words.TIMES_IN_FORCE, words.SELF_TRADES, words.PEGS, words.SIDES])
def test_a_number_that_means_nothing_is_said_as_its_digits(table: words.Words) -> None:
    """Risk lets some of them pass and matching refuses them: the order is listed like any other."""
    assert (table[9], table[1] != "1", 9 in table) == ("9", True, False)
