"""Record layouts as numpy sees them."""

import pytest

from tidebook import _core
from tidebook.errors import UnknownVenueError


def test_dtypes_have_the_published_offsets_and_no_holes() -> None:
    for name, schema in _core.schemas().items():
        dtype = schema.dtype()
        assert schema.name == name
        assert dtype.itemsize == schema.size_bytes
        assert dtype.fields is not None
        assert [(field, dtype.fields[field][1]) for field in dtype.names or ()] == [
            (field, offset) for field, offset, _ in schema.fields
        ]
        assert sum(dtype.fields[field][0].itemsize for field in dtype.names or ()) == schema.size_bytes


def test_each_venue_has_a_number_that_instrument_ids_carry() -> None:
    names = _core.venues()
    assert list(names) == sorted(names)
    assert (names[1], names[3], names[8]) == ("binance", "binance-usdm", "kraken-v1")
    assert _core.instrument_name("binance-usdm", "BTCUSDT") == "BTCUSDT-PERP.BINANCE"
    with pytest.raises(UnknownVenueError, match="binance-usdm"):
        _core.instrument_name("nowhere", "BTCUSDT")


def test_units_and_text_agree_both_ways() -> None:
    assert _core.parse_units("61837.63000000", 2) == 6_183_763
    assert _core.format_units(5_100, 8) == "0.00005100"
