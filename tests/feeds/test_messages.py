"""Raw messages cross the seam unchanged."""

import pytest

from tidebook._core import Payloads, pack_message, unpack_message
from tidebook.errors import RawMessageError


def test_a_message_read_back_is_the_message_packed() -> None:
    payload = pack_message(1_723_161_253_937_085_768, 3, 2, b'{"bids":[]}', context=b"/api/v3/depth?symbol=BTCUSDT")
    assert unpack_message(payload) == (
        1_723_161_253_937_085_768,
        3,
        2,
        b"/api/v3/depth?symbol=BTCUSDT",
        b'{"bids":[]}',
    )


def test_an_unknown_kind_and_a_cut_payload_are_errors() -> None:
    with pytest.raises(RawMessageError, match="unknown kind 9"):
        pack_message(0, 0, 9, b"")
    with pytest.raises(RawMessageError, match="announced"):
        unpack_message(pack_message(0, 0, 1, b"", context=b"abc")[:-1])


def test_payloads_are_indexed_in_order() -> None:
    payloads = Payloads([b"a", b"", b"bcd"])
    assert [payloads[index] for index in range(len(payloads))] == [b"a", b"", b"bcd"]
    assert payloads.size_bytes == 4
    with pytest.raises(IndexError, match="payload 3 of 3"):
        payloads[3]
