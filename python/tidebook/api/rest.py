"""`/api/v1`: read-only market data in the venues' own words.

Handlers build one plain object and write it with msgspec; the declared models serve the OpenAPI schema only. They run
on the event loop and see the view between two polls, never inside one; only those that ask about the past wait.
"""

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response

import tidebook
from tidebook.api import wire
from tidebook.api.bars import TimeframeName
from tidebook.api.charts import Charts
from tidebook.api.problems import ApiError, Problem, described
from tidebook.api.view import (
    DEPTH_LEVELS_MAX,
    GROUPS_MAX,
    TRADES_KEPT,
    InstrumentView,
    MarketView,
    said_bar,
    said_outage,
)
from tidebook.errors import StorageError, UnknownInstrumentError

InstrumentName = Annotated[str, Query(description="Such as `BTCUSDT.BINANCE`, in any case.")]
DepthLimit = Annotated[
    int,
    Query(ge=1, le=GROUPS_MAX, description=f"Levels a side; above {DEPTH_LEVELS_MAX} only with `step`."),
]
Step = Annotated[
    str | None,
    Query(description="Puts levels into groups this wide: 1, 2 or 5 times a power of ten, such as `0.5`."),
]
Timeframe = Annotated[TimeframeName, Query(description="Length of a bar.")]
BarLimit = Annotated[int, Query(ge=1, le=1_000, description="Bars, the newest ones.")]
Before = Annotated[int | None, Query(ge=0, lt=1 << 53, description="Only bars that begin before, microseconds.")]
Start = Annotated[int, Query(ge=0, lt=1 << 53, description="Microseconds since 1970 UTC.")]
End = Annotated[int | None, Query(ge=0, lt=1 << 53, description="Microseconds since 1970 UTC; now by default.")]
TradeLimit = Annotated[int, Query(ge=1, le=TRADES_KEPT, description="Trades, the newest ones.")]

_NO_INSTRUMENT: dict[int | str, dict[str, Any]] = {
    404: {**described("No such instrument has been seen."), "model": Problem},
}


_ABOUT_THE_PAST: dict[int | str, dict[str, Any]] = {
    **_NO_INSTRUMENT,
    500: {**described("What is stored cannot be read; `detail` names the file."), "model": Problem},
}


def _json(data: Any) -> Response:
    return Response(wire.encode(data), media_type="application/json", headers={"cache-control": "no-store"})


def market_router(
    view: MarketView,
    charts: Charts,
    not_ready: Callable[[], str | None],
    degraded: Callable[[], str | None],
    problems: Callable[[], list[str]],
    guarantees: Callable[[], list[wire.ChannelGuarantee]],
    engines: Callable[[], list[wire.EngineState]],
) -> APIRouter:
    """Routes over `view` and, for what is older, `charts`.

    `not_ready` says in a sentence why the server cannot answer yet, `degraded` what does not work beside, or None, `problems` what has failed of
    either; `guarantees` are those of its durable channels, `engines` says where each runs.
    """
    router = APIRouter(prefix="/api/v1")

    def known(name: str) -> InstrumentView:
        try:
            return view.instrument(name)
        except UnknownInstrumentError as error:
            raise ApiError(404, "unknown_instrument", f"{error}; GET /api/v1/instruments lists them") from error

    @router.get("/ping", tags=["server"], response_model=wire.Empty)
    async def ping() -> Response:
        """Answers, that is all."""
        return _json({})

    @router.get("/time", tags=["server"], response_model=wire.ServerTime)
    async def server_time() -> Response:
        """Our clock."""
        return _json(wire.ServerTime(view.clock() // 1000))

    @router.get("/version", tags=["server"], response_model=wire.Version)
    async def version() -> Response:
        """Which version answers."""
        return _json(wire.Version("tidebook", tidebook.__version__, "v1"))

    @router.get("/health/live", tags=["server"], response_model=wire.Health)
    async def live() -> Response:
        """The process answers."""
        return _json(wire.Health("alive"))

    @router.get(
        "/health/ready",
        tags=["server"],
        response_model=wire.Health,
        responses={503: {**described("Not yet; `detail` says why."), "model": Problem}},
    )
    async def ready() -> Response:
        """Records are being read and at least one instrument is known. `degraded` where something else has failed: `detail` says what."""
        reason = not_ready()
        if reason is not None:
            raise ApiError(503, "not_ready", reason)
        failed = degraded()
        return _json(wire.Health("ready") if failed is None else wire.Health("degraded", failed))

    @router.get("/status", tags=["server"], response_model=wire.NodeStatus)
    async def status() -> Response:
        """The guarantee in force of every durable channel, and never more; where each engine runs; and what has failed."""
        return _json(wire.NodeStatus(guarantees(), engines(), problems()))

    @router.get("/instruments", tags=["market data"], response_model=list[wire.Instrument])
    async def instruments() -> Response:
        """Every instrument seen, by name."""
        return _json([instrument.said() for instrument in view.instruments()])

    @router.get("/depth", tags=["market data"], response_model=wire.Depth, responses=_NO_INSTRUMENT)
    async def depth(instrument: InstrumentName, limit: DepthLimit = 20, step: Step = None) -> Response:
        """The best levels of a book, as the venue has them or in groups. Look at `usable` before trading on them."""
        if step is None and limit > DEPTH_LEVELS_MAX:
            raise ApiError(422, "invalid_request", f"query/limit: at most {DEPTH_LEVELS_MAX} without a step")
        market = known(instrument)
        try:
            found = market.depth(limit) if step is None else market.grouped(step, limit)
        except ValueError as error:
            raise ApiError(422, "invalid_request", f"query/{error}") from error
        if found is None:
            raise ApiError(404, "no_book", f"{instrument}: no book has been published yet; try again")
        return _json(found)

    @router.get("/trades", tags=["market data"], response_model=list[wire.Trade], responses=_NO_INSTRUMENT)
    async def trades(instrument: InstrumentName, limit: TradeLimit = 100) -> Response:
        """The newest trades, oldest first."""
        return _json(known(instrument).last_trades(limit))

    @router.get("/klines", tags=["market data"], response_model=list[wire.Bar], responses=_ABOUT_THE_PAST)
    async def klines(
        instrument: InstrumentName, timeframe: Timeframe = "1m", limit: BarLimit = 500, before: Before = None
    ) -> Response:
        """The newest bars, oldest first, open ones last. For older ones ask again with `before`."""
        market, before_ns = known(instrument), None if before is None else before * 1000
        try:
            closed, opened = await charts.bars(market, timeframe, view.clock(), before_ns, limit)
        except StorageError as error:
            raise ApiError(500, "history_unreadable", str(error)) from error
        said = [*(said_bar(bar, closed=True) for bar in closed), *(said_bar(bar, closed=False) for bar in opened)]
        return _json(said)

    @router.get("/outages", tags=["market data"], response_model=list[wire.Outage], responses=_ABOUT_THE_PAST)
    async def outages(instrument: InstrumentName, start: Start = 0, end: End = None) -> Response:
        """When the book could not be used or nothing came from the venue, oldest first; those that overlap [start, end)."""
        market = known(instrument)
        end_ns = view.clock() + 1 if end is None else end * 1000
        try:
            found = await charts.outages(market, start * 1000, end_ns)
        except StorageError as error:
            raise ApiError(500, "history_unreadable", str(error)) from error
        return _json([said_outage(outage) for outage in found])

    @router.get("/bookTicker", tags=["market data"], response_model=wire.BookTicker, responses=_NO_INSTRUMENT)
    async def book_ticker(instrument: InstrumentName) -> Response:
        """Top of book."""
        found = known(instrument).top()
        if found is None:
            raise ApiError(404, "no_book", f"{instrument}: no top of book has been published yet; try again")
        return _json(found)

    @router.get("/session", tags=["market data"], response_model=wire.Session, responses=_NO_INSTRUMENT)
    async def session(instrument: InstrumentName) -> Response:
        """How an instrument of the node's own venue is traded now, and what an auction would give."""
        market = known(instrument)
        found = market.session()
        if market.trading_lost:
            raise ApiError(
                503,
                "session_unknown",
                f"{instrument}: too much was told for this server to read; it is told again, ask again",
            )
        if found is None:
            raise ApiError(404, "no_session", f"{instrument}: its venue does not tell sessions")
        return _json(found)

    @router.get("/tops", tags=["market data"], response_model=list[wire.Top])
    async def tops() -> Response:
        """Every instrument in a line: top of book, last trade, state of its book; by name."""
        return _json([instrument.line() for instrument in view.instruments()])

    @router.get("/feeds", tags=["market data"], response_model=list[wire.Feed])
    async def feeds() -> Response:
        """Health of every feed, by venue."""
        return _json(view.health())

    return router
