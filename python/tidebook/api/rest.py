"""`/api/v1`: read-only market data in the venues' own words.

Handlers build one plain object and write it with msgspec; the declared models serve the OpenAPI schema only. All are
coroutines that never wait, so they run on the event loop and see the view between two polls, never inside one.
"""

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response

import tidebook
from tidebook.api import wire
from tidebook.api.problems import ApiError, Problem, described
from tidebook.api.view import DEPTH_LEVELS_MAX, TRADES_KEPT, InstrumentView, MarketView
from tidebook.errors import UnknownInstrumentError

InstrumentName = Annotated[str, Query(description="Such as `BTCUSDT.BINANCE`, in any case.")]
DepthLimit = Annotated[int, Query(ge=1, le=DEPTH_LEVELS_MAX, description="Levels a side.")]
TradeLimit = Annotated[int, Query(ge=1, le=TRADES_KEPT, description="Trades, the newest ones.")]

_NO_INSTRUMENT: dict[int | str, dict[str, Any]] = {
    404: {**described("No such instrument has been seen."), "model": Problem},
}


def _json(data: Any) -> Response:
    return Response(wire.encode(data), media_type="application/json", headers={"cache-control": "no-store"})


def market_router(view: MarketView, not_ready: Callable[[], str | None]) -> APIRouter:
    """Routes over `view`; `not_ready` says in a sentence why the server cannot answer yet, or None."""
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
        """Records are being read and at least one instrument is known."""
        reason = not_ready()
        if reason is not None:
            raise ApiError(503, "not_ready", reason)
        return _json(wire.Health("ready"))

    @router.get("/instruments", tags=["market data"], response_model=list[wire.Instrument])
    async def instruments() -> Response:
        """Every instrument seen, by name."""
        return _json([instrument.said() for instrument in view.instruments()])

    @router.get("/depth", tags=["market data"], response_model=wire.Depth, responses=_NO_INSTRUMENT)
    async def depth(instrument: InstrumentName, limit: DepthLimit = 20) -> Response:
        """The best levels of a book. Look at `usable` before trading on them."""
        found = known(instrument).depth(limit)
        if found is None:
            raise ApiError(404, "no_book", f"{instrument}: no book has been published yet; try again")
        return _json(found)

    @router.get("/trades", tags=["market data"], response_model=list[wire.Trade], responses=_NO_INSTRUMENT)
    async def trades(instrument: InstrumentName, limit: TradeLimit = 100) -> Response:
        """The newest trades, oldest first."""
        return _json(known(instrument).last_trades(limit))

    @router.get("/bookTicker", tags=["market data"], response_model=wire.BookTicker, responses=_NO_INSTRUMENT)
    async def book_ticker(instrument: InstrumentName) -> Response:
        """Top of book."""
        found = known(instrument).top()
        if found is None:
            raise ApiError(404, "no_book", f"{instrument}: no top of book has been published yet; try again")
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
