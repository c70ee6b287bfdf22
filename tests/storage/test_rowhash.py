"""The row hash tells any change of the rows and no change of their order."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tests.storage import flow
from tidebook.storage.columns import ColumnBuffer, Columns, fields
from tidebook.storage.rowhash import row_hash


def columns(rows: int, seed: int = 1) -> Columns:
    buffer = ColumnBuffer("trades")
    buffer.append(flow.trades(rows, seed))
    return buffer.columns()


def hashed(given: Columns) -> int:
    return row_hash(given, fields("trades"))


def test_the_hash_of_kept_files_never_changes() -> None:
    """A change of this number would make every manifest written so far look damaged."""
    whole = {name: np.arange(index, index + 1_000) for index, name in enumerate(fields("trades"))}
    assert f"{hashed(whole):016x}" == "46a99fab2ede07bc"


@given(st.integers(1, 40_000), st.randoms(use_true_random=False))
def test_neither_order_nor_split_matters(rows: int, random: object) -> None:
    whole = columns(40_000)
    order = np.random.default_rng(rows).permutation(40_000)
    shuffled = {name: column[order] for name, column in whole.items()}
    first = {name: column[:rows] for name, column in shuffled.items()}
    second = {name: column[rows:] for name, column in shuffled.items()}
    assert (hashed(first) + hashed(second)) % 2**64 == hashed(shuffled) == hashed(whole)


@given(st.integers(0, 99), st.sampled_from(fields("trades")), st.integers(0, 7))
def test_one_changed_bit_in_any_field_of_any_row_shows(row: int, field: str, bit: int) -> None:
    whole = columns(100)
    before = hashed(whole)
    whole[field][row] ^= np.array(1 << bit).astype(whole[field].dtype)
    assert hashed(whole) != before


@given(st.integers(0, 99), st.integers(0, 99), st.sampled_from(["price", "size", "ts_event"]))
def test_values_swapped_between_rows_show(one: int, other: int, field: str) -> None:
    whole = columns(100)
    before = hashed(whole)
    differ = whole[field][one] != whole[field][other]
    whole[field][[one, other]] = whole[field][[other, one]]
    assert (hashed(whole) != before) == differ


def test_a_lost_or_doubled_row_shows() -> None:
    whole = columns(100)
    assert hashed({name: column[:99] for name, column in whole.items()}) != hashed(whole)
    assert hashed({name: np.r_[column, column[:1]] for name, column in whole.items()}) != hashed(whole)
