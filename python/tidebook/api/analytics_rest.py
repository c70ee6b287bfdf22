"""`/api/v1/analytics`: the newest windows of markets and accounts, read-only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Query, Response

from tidebook.api import wire
from tidebook.api.analytics_wire import AccountWindow, AnalyticsStatus, MarketWindow
from tidebook.api.order_rest import Answers
from tidebook.api.problems import ApiError, Problem, described
from tidebook.api.windows import KEPT, Interval, no_analytics
from tidebook.errors import UnknownInstrumentError

if TYPE_CHECKING:
    from tidebook.api.view import MarketView
    from tidebook.api.windows import Windows
    from tidebook.gateway.desk import OrderDesk

InstrumentName = Annotated[str, Query(description="Such as `BTCUSDT.BINANCE`, in any case.")]
OfInterval = Annotated[Interval, Query(description="Length of a window.")]
WindowLimit = Annotated[int, Query(ge=1, le=max(KEPT.values()), description="Windows, the newest ones.")]

_MISSING: dict[int | str, dict[str, Any]] = {
    404: {**described("No such instrument or account, or nobody makes windows."), "model": Problem},
}


def analytics_router(view: MarketView, windows: Windows | None, desk: OrderDesk | None) -> APIRouter:
    """Routes over `windows`; accounts are those of `desk`."""
    router = APIRouter(prefix="/api/v1/analytics", tags=["analytics"])
    answers = None if desk is None else Answers(desk)

    def made() -> Windows:
        if windows is None:
            raise no_analytics()
        return windows

    @router.get("", response_model=AnalyticsStatus)
    async def status() -> Response:
        """Whether there are windows, and how their engine does."""
        return _json(AnalyticsStatus(made=False) if windows is None else windows.status())

    @router.get("/markets", response_model=list[MarketWindow], responses=_MISSING)
    async def markets(instrument: InstrumentName, interval: OfInterval = "1m", limit: WindowLimit = 60) -> Response:
        """The newest windows of a market, oldest first; the last one may be open."""
        of = made()
        try:
            market = view.instrument(instrument)
        except UnknownInstrumentError as error:
            raise ApiError(404, "unknown_instrument", f"{error}; GET /api/v1/instruments lists them") from error
        return _json(of.of_market(market.name, int(market.definition["instrument_id"]), interval, limit))

    @router.get("/accounts/{account}", response_model=list[AccountWindow], responses=_MISSING)
    async def accounts(
        account: str,
        instrument: Annotated[str | None, Query(description="Of this one only.")] = None,
        interval: OfInterval = "1m",
        limit: WindowLimit = 60,
    ) -> Response:
        """The newest windows of an account of the node's own venue, oldest first, those of one time by instrument."""
        of = made()
        if answers is None:
            raise ApiError(404, "unknown_account", "this node runs no venue of its own")
        number, which = answers.account(account), answers.instrument(instrument)
        names = answers.desk.names.instrument
        return _json(of.of_account(account, number, names, which, interval, limit))

    return router


def _json(data: Any) -> Response:
    return Response(wire.encode(data), media_type="application/json", headers={"cache-control": "no-store"})
