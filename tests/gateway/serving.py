"""A real venue engine with the gateway over it, served on 127.0.0.1, for tests that ask it as clients do."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tests.api.conftest import HandFed
from tidebook.api import MarketView, create_app, listen, serving
from tidebook.config.settings import TopologySettings, VenueSettings
from tidebook.node.hosted_venue import HostedVenue, VenuePlan
from tidebook.node.live import followed, order_entry

BTC = {
    "instrument": "BTC-USD.LOCAL",
    "base": "BTC",
    "quote": "USD",
    "tick": "0.01",
    "lot": "0.00001",
    "maker_ppm": 100,
    "taker_ppm": 200,
}


@dataclass
class Served:
    """A venue and how to ask it."""

    venue: HostedVenue
    client: httpx.AsyncClient
    address: str
    sessions: Any

    async def ask(self, method: str, path: str, body: dict[str, Any] | None = None, status: int = 200) -> Any:
        """What it answers, which has this status."""
        answer = await self.client.request(method, f"/api/v1/{path}", json=body)
        assert answer.status_code == status, answer.text
        return answer.json()

    async def get(self, path: str, status: int = 200) -> Any:
        return await self.ask("GET", path, status=status)

    async def place(self, account: str, side: str, size: str, price: str | None, status: int = 200, **more: Any) -> Any:
        body = {"instrument": "BTC-USD.LOCAL", "side": side, "size": size, "price": price, **more}
        return await self.ask("POST", f"accounts/{account}/orders", body, status)

    async def begin(self) -> None:
        """BTC-USD.LOCAL is traded, alice has dollars, bob has bitcoins and some dollars for fees."""
        await self.ask("POST", "operator/instruments", BTC)
        await self.ask("POST", "operator/instruments/BTC-USD.LOCAL/session", {"session": "continuous"})
        for account in ("alice", "bob"):
            await self.ask("POST", "operator/accounts", {"account": account})
        for account, asset, amount in (("alice", "USD", "1000000"), ("bob", "BTC", "10"), ("bob", "USD", "100")):
            await self.ask("POST", f"operator/accounts/{account}/transfers", {"asset": asset, "amount": amount})


@contextlib.asynccontextmanager
async def served(place: Path, topology: TopologySettings | None = None, **settings: Any) -> AsyncIterator[Served]:
    """A venue in `place`, which is one that ran there before if there was one."""
    data, rings = place / "data", place / "rings"
    rings.mkdir(mode=0o700, parents=True, exist_ok=True)
    data.mkdir(exist_ok=True)
    plan = VenuePlan(
        settings=VenueSettings(**{"closes_bars": False} | settings), topology=topology or TopologySettings()
    )
    venue = HostedVenue(plan, data, rings)
    try:
        app = create_app(MarketView([]), HandFed(), orders=order_entry(venue))
        with contextlib.closing(listen(port=0)) as sock:
            address = "{}:{}".format(*sock.getsockname())
            async with contextlib.AsyncExitStack() as stack:
                await stack.enter_async_context(followed(venue))
                stack.push_async_callback(app.state.order_sessions.settle)
                await stack.enter_async_context(serving(app, sock))
                client = await stack.enter_async_context(httpx.AsyncClient(base_url=f"http://{address}", timeout=30))
                yield Served(venue, client, address, app.state.order_sessions)
    finally:
        venue.stop()
