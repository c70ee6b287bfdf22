"""Who may send commands: there are no keys, so it is who is here."""

import pytest

from tidebook.api.order_rest import require_trader
from tidebook.api.problems import ApiError


@pytest.mark.parametrize(
    ("address", "allowed"),
    [
        ("127.0.0.1", True),
        ("127.8.9.10", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("192.168.1.7", False),
        ("::ffff:192.168.1.7", False),
        ("2001:db8::1", False),
        ("0.0.0.0", False),
    ],
)
def test_commands_come_from_this_machine_alone(address: str, allowed: bool) -> None:
    scope = {"headers": [], "client": (address, 5)}
    require_trader(scope, frozenset(), allow_remote=True)
    if allowed:
        require_trader(scope, frozenset(), allow_remote=False)
        return
    with pytest.raises(ApiError) as refused:
        require_trader(scope, frozenset(), allow_remote=False)
    assert (refused.value.status, refused.value.code) == (403, "remote_orders")
    assert address in refused.value.detail
