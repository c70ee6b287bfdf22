"""The API as one ASGI application over a `MarketView`.

Whoever starts a node builds the view and the source, calls `create_app`, and may mount more on what it gets (the
console does). The application owns the hub and the pump; both live from start-up to shut-down of its lifespan.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from fastapi import Depends, FastAPI, Response
from starlette.routing import WebSocketRoute

import tidebook
from tidebook.api import problems
from tidebook.api.analytics_rest import analytics_router
from tidebook.api.charts import Charts
from tidebook.api.history import History, NoHistory
from tidebook.api.hub import Hub
from tidebook.api.metrics import CONTENT_TYPE, MoreMetrics, exposition
from tidebook.api.order_rest import order_router
from tidebook.api.order_websocket import OrderSessions
from tidebook.api.origin import LoopbackHosts
from tidebook.api.past_trades import past_trades
from tidebook.api.pump import Pump
from tidebook.api.query import require_known_query
from tidebook.api.rest import market_router
from tidebook.api.source import RecordSource
from tidebook.api.trace import TraceIds
from tidebook.api.view import MarketView
from tidebook.api.websocket import WebSocketEndpoint
from tidebook.api.windows import Windows
from tidebook.api.wire import ChannelGuarantee, EngineState
from tidebook.gateway.desk import OrderDesk


@dataclass(frozen=True, slots=True)
class ApiOptions:
    """How the API behaves."""

    poll_interval_ms: int = 20
    """Between two reads of the source."""
    publish_interval_ms: int = 100
    """Between two frames of a stream: 10 a second."""
    origins: frozenset[str] = field(default_factory=frozenset)
    """Pages of other servers that may open the WebSocket, such as `http://127.0.0.1:5173`."""
    loopback_only: bool = True
    """Refuse requests made under a host name that is not loopback; false only behind a proxy of your own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderEntry:
    """What takes orders."""

    desk: OrderDesk
    engine: Callable[[], dict[str, Any]]
    """What the engine says of itself."""
    audit: Callable[[], dict[str, Any] | None] = lambda: None
    """What keeps the audit trail says of itself."""
    allow_remote: bool = False
    """Take orders from other machines too: there are no keys."""


def create_app(
    view: MarketView,
    source: RecordSource,
    options: ApiOptions | None = None,
    more_metrics: MoreMetrics = lambda: (),
    unwell: Callable[[], str | None] = lambda: None,
    history: History | None = None,
    guarantees: Callable[[], list[ChannelGuarantee]] = list,
    engines: Callable[[], list[EngineState]] = list,
    orders: OrderEntry | None = None,
    windows: Windows | None = None,
    degraded: Callable[[], str | None] = lambda: None,
) -> FastAPI:
    """REST under `/api/v1`, WebSocket at `/ws/v1`, schema at `/openapi.json`, `/metrics`; fed from `source` while it runs.

    `more_metrics` gives what a node adds to the view's and the hub's; `unwell` says why the node is not ready though
    records are being read, such as storing that has stopped; `degraded` what has failed that readiness does not wait for. `history` has what is
    older than this process, `guarantees` what its durable channels promise, `engines` where each of its engines runs. With `orders` it also takes
    orders, at `/api/v1/accounts` and `/ws/v1/orders`. `windows` are
    those of analytics, where somebody makes them.

    The hub, the pump and the sessions of order entry are at `app.state.hub`, `pump` and `order_sessions`.
    """
    options = options or ApiOptions()
    view.windows = windows
    hub = Hub(view)
    pump = Pump(
        source,
        view,
        hub,
        poll_s=options.poll_interval_ms / 1000,
        publish_s=options.publish_interval_ms / 1000,
    )

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        running = asyncio.create_task(pump.run(), name="tidebook-api-pump")
        try:
            yield
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    app = FastAPI(
        title="Tidebook",
        version=tidebook.__version__,
        description="Market data of this node, read-only, and order entry to its own venue. Prices and sizes are decimal "
        "strings, times are microseconds since 1970 UTC, errors are RFC 9457 problems.",
        lifespan=lifespan,
        docs_url=None,  # FastAPI's pages load their scripts from a CDN
        redoc_url=None,
    )
    problems.install(app)
    asked: Any = [Depends(require_known_query)]
    app.include_router(
        market_router(
            view,
            Charts(history or NoHistory()),
            not_ready=lambda: pump.not_ready() or unwell(),
            degraded=degraded,
            problems=lambda: [failed for failed in (unwell(), degraded()) if failed is not None],
            guarantees=guarantees,
            engines=engines,
        ),
        dependencies=asked,
    )
    app.router.routes.append(WebSocketRoute("/ws/v1", WebSocketEndpoint(hub, options.origins), name="ws"))

    if orders is not None:
        view.past_trades = partial(past_trades, orders.desk)
        router = order_router(
            orders.desk, orders.engine, orders.audit, options.origins, allow_remote=orders.allow_remote
        )
        app.include_router(router, dependencies=asked)
        sessions = OrderSessions(orders.desk, options.origins, allow_remote=orders.allow_remote)
        app.router.routes.append(WebSocketRoute("/ws/v1/orders", sessions, name="ws orders"))
        app.state.order_sessions = sessions

    app.include_router(analytics_router(view, windows, None if orders is None else orders.desk), dependencies=asked)

    @app.get("/metrics", tags=["server"], response_class=Response, include_in_schema=False)
    async def metrics() -> Response:
        """What the node counts, for Prometheus."""
        return Response(exposition(view, hub, more_metrics), media_type=CONTENT_TYPE)

    if options.loopback_only:
        app.add_middleware(LoopbackHosts)
    app.add_middleware(TraceIds)
    app.state.hub = hub
    app.state.pump = pump
    return app
