"""What clients may send over HTTP that no venue can carry out, value by value: refused with a reason, and the venue as it was."""

import asyncio
import json
from pathlib import Path
from typing import Any

from websockets.asyncio.client import connect

from tests.gateway.serving import Served, served
from tidebook.api.bodies import BODY_SIZE_MAX_BYTES

JSON = {"content-type": "application/json"}
EXTREMES = (0, 1, -1, 2**53 - 1, 2**53, 2**62, 2**63 - 1, -(2**63), -(2**53))
NO_NUMBERS: tuple[Any, ...] = (
    "",
    " ",
    "1e5",
    "0x10",
    "NaN",
    "-Infinity",
    "1,5",
    "1_000",
    "٣",
    "--1",
    True,
    [],
    {},
    1.5,
    1e300,
    "9" * 5_000,
)
NO_SIZES = (*NO_NUMBERS, "0", "-1", "-0.00001", "0.000001", "9" * 30, "90071992547.40992", None)
NO_PRICES = (*NO_NUMBERS, "0", "-1", "0.001", "9" * 30, "90071992547409.93", None)
NO_WORDS: tuple[Any, ...] = ("", "byu", "BUY\x00", 1, -1, True, None, [], {}, "x" * 5_000)
NO_IDS: tuple[Any, ...] = ("", "x" * 21, "a b", "ä", "a/b", "\x00", 7, True, [], {}, "0" * 5_000)
PLACE: dict[str, Any] = {"instrument": "BTC-USD.LOCAL", "side": "buy", "size": "0.1", "price": "60000", "type": "limit"}
HOSTILE: dict[str, tuple[Any, ...]] = {
    "instrument": (*NO_WORDS, "BTC-USD", "ETH-USD.LOCAL", "BTC-USD.NASDAQ", "../BTC-USD.LOCAL"),
    "side": NO_WORDS,
    "size": NO_SIZES,
    "price": NO_PRICES,
    "type": NO_WORDS,
    "time_in_force": (*(word for word in NO_WORDS if word is not None), "fok_"),
    "client_order_id": NO_IDS,
    "trigger_price": (*NO_NUMBERS, "61000"),
    "amount": (*NO_NUMBERS, "5"),
    "display_size": (*NO_NUMBERS, "-1", "0.000001", "9" * 30),
    "unheard_of": ("1", None),
}


def bodies() -> list[str]:
    """Orders of which one field each cannot be, and what is no order at all."""
    wrong = [json.dumps(PLACE | {field: value}) for field, values in HOSTILE.items() for value in values]
    # In no document of JSON that others write, and in ours neither.
    nothing = [
        "",
        "null",
        "[]",
        "7",
        '"buy"',
        "{",
        "[" * 10_000,
        '{"side": "buy"}',
        json.dumps(PLACE)[:-1],
        '{"size": 1e999}',
        "\x00",
    ]
    return wrong + nothing


async def state(at: Served) -> Any:
    """What accounts have; that an order was refused by matching is told among those that have ended."""
    kinds = ("orders", "fills", "positions", "balances")
    asked = [at.get(f"accounts/{account}/{kind}") for account in ("alice", "bob") for kind in kinds]
    return await asyncio.gather(*asked, at.get("venue/instruments"), at.get("venue/accounts"))


async def test_orders_over_http_that_cannot_be_are_refused_with_a_reason_and_change_nothing(tmp_path: Path) -> None:
    async with served(tmp_path) as at:
        await at.begin()
        resting = await at.place("alice", "buy", "0.1", "50000")
        before = await state(at)
        for body in bodies():
            answer = await at.client.post(
                "/api/v1/accounts/alice/orders",
                content=body.encode("utf-8", "surrogatepass"),
                headers={"content-type": "application/json"},
            )
            assert 400 <= answer.status_code < 500, (body[:200], answer.status_code, answer.text[:500])
            said = answer.json()
            assert said["code"], (body[:200], said)
            assert said["detail"], (body[:200], said)
        changes = [{field: value} for field in ("size", "price") for value in HOSTILE[field] if value is not None]
        for change in changes:
            path = f"/api/v1/accounts/alice/orders/{resting['order']['order_id']}"
            answer = await at.client.patch(path, json=change)
            assert 400 <= answer.status_code < 500, (change, answer.status_code, answer.text[:500])
        for order_id in ("0", "-1", str(2**64), "9" * 400, "abc", "1.5", "%00"):
            for method in ("DELETE", "PATCH", "GET"):
                answer = await at.client.request(
                    method,
                    f"/api/v1/accounts/alice/orders/{order_id}",
                    json={"size": "0.2"} if method == "PATCH" else None,
                )
                assert 400 <= answer.status_code < 500, (method, order_id, answer.status_code)
        assert await state(at) == before


async def test_a_key_that_is_there_twice_is_refused_by_its_name_over_http_and_websocket(tmp_path: Path) -> None:
    """Of two sides one would count."""
    twice = json.dumps(PLACE)[:-1] + ', "side": "sell"}'
    async with served(tmp_path) as at:
        await at.begin()
        before = await state(at)
        for path in ("accounts/alice/orders", "operator/kill"):
            answer = await at.client.post(f"/api/v1/{path}", content=twice, headers=JSON)
            assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
            assert answer.json()["detail"].startswith("side: it is given twice")
        async with connect(f"ws://{at.address}/ws/v1/orders?account=alice") as alice:
            for frame in (
                f'{{"method": "PLACE", "params": {twice}, "id": 5}}',
                f'{{"method": "PLACE", "params": {json.dumps(PLACE)}, "id": 4, "id": 5}}',
            ):
                await alice.send(frame)
                said = json.loads(await alice.recv())
                assert (said["id"], said["error"]["status"]) == (5, 422)
                assert "it is given twice" in said["error"]["detail"]
        assert await state(at) == before


async def test_a_body_larger_than_may_be_is_refused_before_it_is_read(tmp_path: Path) -> None:
    """Of the last two the end never comes."""
    path = "/api/v1/accounts/alice/orders"
    async with served(tmp_path) as at:
        await at.begin()
        largest = json.dumps(PLACE).encode().ljust(BODY_SIZE_MAX_BYTES)
        assert (await at.client.post(path, content=largest, headers=JSON)).status_code == 200
        before = await state(at)
        answer = await at.client.post(path, content=largest + b" ", headers=JSON)
        assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")
        head = f"POST {path} HTTP/1.1\r\nhost: {at.address}\r\n".encode()
        piece = b"10000\r\n" + largest + b"\r\n"
        for sent in (b"content-length: 300000000\r\n\r\n", b"transfer-encoding: chunked\r\n\r\n" + piece + piece):
            reader, writer = await asyncio.open_connection(*at.address.split(":"))
            writer.write(head + sent)
            async with asyncio.timeout(60):
                assert (await reader.readline()).startswith(b"HTTP/1.1 413")
            writer.close()
        assert await state(at) == before
