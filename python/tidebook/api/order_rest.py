"""`/api/v1/accounts/...`, `/api/v1/venue/...` and `/api/v1/operator/...`: order entry and what is known of the node's own venue.

There are no keys: an account is named in the path, and whoever can reach the server may trade for any. So commands are taken only from
this machine, and never from another's web page: a browser lets any page send requests to 127.0.0.1, and `Origin` tells which did.
"""

import ipaddress
from collections.abc import Awaitable, Callable
from dataclasses import fields
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Path, Query, Request, Response

from tidebook.api import order_wire, wire
from tidebook.api.bodies import BoundedRoute
from tidebook.api.order_said import Said
from tidebook.api.origin import origin_allowed
from tidebook.api.problems import ApiError, Problem, described
from tidebook.errors import (
    OperationError,
    OrderEntryError,
    UnconfirmedError,
    UnknownAccountError,
    UnknownInstrumentError,
    UsageError,
)
from tidebook.gateway import requests
from tidebook.gateway.desk import Conflict, Done, Ended, NotThere, OrderDesk, Outcome, TooManyWaitError, client_id_of
from tidebook.gateway.lives import EVER, Order
from tidebook.venue import codes

LISTED_MAX = 1_000

AccountName = Annotated[str, Path(description="Name of the account.", examples=["demo"])]
OrderId = Annotated[int, Path(ge=0, lt=1 << 63, description="The venue's id of the order.")]
ClientId = Annotated[str, Path(description="The client's own id of the order.")]
InstrumentPath = Annotated[str, Path(description="Such as `BTC-USD.LOCAL`.")]
OfInstrument = Annotated[str | None, Query(description="Of this instrument alone.")]
OfSide = Annotated[Literal["buy", "sell"] | None, Query(description="Of this side alone.")]
Limit = Annotated[int, Query(ge=1, le=LISTED_MAX, description="How many, the newest ones.")]
Begin = Annotated[int, Query(ge=0, lt=1 << 53, description="From this time on, microseconds since 1970 UTC.")]
Until = Annotated[int | None, Query(ge=0, lt=1 << 53, description="Before this time, microseconds since 1970 UTC.")]
Wait = Annotated[
    codes.Wait | None,
    Query(description="How safe the command is before it is acknowledged; default: as the account was opened."),
]

# Reasons that have a status of their own; all others are 422: the same request would be refused again.
_STATUS_OF_REASON = {"unknown_order": 404, "duplicate_client_order_id": 409, "throttled": 429}

_REFUSALS: dict[int | str, dict[str, Any]] = {
    403: {**described("Not from this machine, or from another server's page."), "model": Problem},
    404: {**described("No such account, instrument or order."), "model": Problem},
    409: {**described("The id was used for another order, or the order has ended."), "model": order_wire.OrderProblem},
    413: {**described("A body larger than 64 KB."), "model": Problem},
    422: {**described("What cannot be asked for, or was refused."), "model": order_wire.RefusedProblem},
    429: {**described("Too much at once; nothing was sent."), "model": Problem},
    503: {**described("The venue takes no commands now; nothing was sent."), "model": Problem},
    504: {**described("Handed over and not confirmed in time."), "model": Problem},
}


class RefusedError(ApiError):
    """A command that was journaled and not carried out."""

    def __init__(
        self,
        reason: str,
        by: str,
        sequence: int,
        order: order_wire.Order | None,
        lacks: order_wire.Shortfall | None = None,
        *,
        bound: str | None = None,
        repeated: bool = False,
    ) -> None:
        status = _STATUS_OF_REASON.get(reason, 422)
        detail = f"refused by {by}: {reason} (command {sequence} of orders)"
        if bound is not None:
            detail += f": {bound}"
        if repeated:
            detail += (
                ". That was an earlier request with this client_order_id, which it has used up; nothing was sent now: to try again "
                "use another id"
            )
        if lacks is not None:
            detail += f": it needs {lacks.needed} {lacks.asset}, and {lacks.available} {lacks.asset} are available"
        super().__init__(status, f"rejected_{reason}", detail)
        self._more = {
            "reason": reason,
            "by": by,
            "sequence": sequence,
            "order": order,
            "lacks": lacks,
            "repeated": repeated,
        }

    def problem(self, instance: str) -> Problem:
        """With the facts of the refusal."""
        return order_wire.RefusedProblem(**_facts(super().problem(instance)), **self._more)  # type: ignore[arg-type]


class OrderError(ApiError):
    """Something that cannot be done with an order that there is."""

    def __init__(self, code: str, detail: str, order: order_wire.Order | None) -> None:
        super().__init__(409, code, detail)
        self._order = order

    def problem(self, instance: str) -> Problem:
        """With the order."""
        return order_wire.OrderProblem(**_facts(super().problem(instance)), order=self._order)


def _facts(problem: Problem) -> dict[str, Any]:
    return {each.name: getattr(problem, each.name) for each in fields(problem)}


class Answers:
    """Calls a desk and says what came of it, the same for REST and WebSocket."""

    def __init__(self, desk: OrderDesk) -> None:
        self.desk = desk
        self.said = Said(desk)

    async def __call__(self, asked: Awaitable[Outcome]) -> order_wire.Acknowledged:
        """Raises: ApiError for all that was not done."""
        try:
            outcome = await asked
        except Exception as error:
            raise self.refused(error) from error
        return self.outcome(outcome)

    def outcome(self, outcome: Outcome) -> order_wire.Acknowledged:
        """What a command led to. Raises: ApiError."""
        match outcome:
            case Done():
                return order_wire.Acknowledged(
                    sequence=outcome.sequence,
                    durable=outcome.durable,
                    repeated=outcome.repeated,
                    order=self._order(outcome.order),
                    linked=self._order(outcome.linked),
                    cancelled=outcome.cancelled,
                )
            case Conflict(None):
                detail = (
                    "client_order_id: it was used by an order of this account that has ended and is no longer remembered here; "
                    "use another"
                )
                raise OrderError("client_order_id_used", detail, None)
            case Conflict(order):
                assert order is not None, "the case above"
                detail = "client_order_id: it is that of an order which asks for something else; use another"
                detail += ", or replace the order" if order.is_open else f": that one has ended ({order.state})"
                raise OrderError("client_order_id_used", detail, self._order(order))
            case Ended(order):
                detail = f"order {order.order_id} has ended: it is {order.state}; nothing was sent"
                raise OrderError("order_ended", detail, self._order(order))
            case NotThere():
                detail = (
                    "the account has no such order, or it has ended and is no longer remembered here; nothing was sent"
                )
                raise ApiError(404, "unknown_order", detail)
        lacks = None if outcome.lacks is None else self.said.shortfall(outcome.lacks)
        raise RefusedError(
            outcome.reason,
            outcome.by,
            outcome.sequence,
            self._order(outcome.order),
            lacks,
            bound=outcome.bound,
            repeated=outcome.repeated,
        )

    def refused(self, error: Exception) -> Exception:
        """An error of the desk as one of the API; any other as it is."""
        match error:
            case UnknownAccountError():
                return ApiError(404, "unknown_account", str(error))
            case UnknownInstrumentError():
                return ApiError(404, "unknown_instrument", str(error))
            case UsageError():
                return ApiError(422, "invalid_request", str(error))
            case UnconfirmedError():
                return ApiError(504, "unconfirmed", str(error))
            case OrderEntryError():
                return ApiError(503, "venue_unavailable", str(error))
            case OperationError():
                return ApiError(503, "not_kept", str(error))
            case TooManyWaitError():
                return ApiError(429, "too_many_waiting", str(error))
        return error

    def account(self, name: str) -> int:
        """Number of an account that is open. Raises: ApiError."""
        try:
            number = self.desk.names.account_number(name)
            if number not in self.desk.follower.lives.accounts:
                raise UnknownAccountError(f"account {name!r} is not open; an operator opens it", account=name, near=[])
        except UnknownAccountError as error:
            raise self.refused(error) from error
        return number

    def instrument(self, name: str | None) -> int:
        """Number of an instrument; 0 for none. Raises: ApiError."""
        if name is None:
            return 0
        try:
            return self.desk.names.instrument_number(name)
        except UsageError as error:
            raise self.refused(error) from error

    def client_id(self, text: str) -> bytes:
        """Raises: ApiError for what is no id of a client."""
        try:
            return client_id_of(text)
        except UsageError as error:
            raise self.refused(error) from error

    def _order(self, order: Order | None) -> order_wire.Order | None:
        return None if order is None else self.said.order(order)


def require_trader(scope: Any, origins: frozenset[str], *, allow_remote: bool) -> None:
    """Whether a connection may send commands. Raises: ApiError."""
    if not origin_allowed(scope, origins):
        raise ApiError(403, "foreign_origin", "a page of another server may not send orders here")
    client = scope.get("client")
    if allow_remote or client is None:
        return
    address = ipaddress.ip_address(client[0])
    mapped = getattr(address, "ipv4_mapped", None)
    if not (mapped or address).is_loopback:
        raise ApiError(
            403,
            "remote_orders",
            f"commands are taken from this machine only and came from {client[0]}; there are no keys: if your network is closed, "
            "allow it with `allow_remote = true` under [venue]",
        )


def _within(start: int, end: int | None) -> tuple[int, int]:
    """Microseconds as the venue's time."""
    return start * 1_000, EVER[1] if end is None else end * 1_000


def _json(data: Any, status: int = 200) -> Response:
    return Response(wire.encode(data), status, media_type="application/json", headers={"cache-control": "no-store"})


def order_router(
    desk: OrderDesk,
    engine: Callable[[], dict[str, Any]],
    audit: Callable[[], dict[str, Any] | None],
    origins: frozenset[str],
    *,
    allow_remote: bool,
) -> APIRouter:
    """Routes over `desk`; `engine` and `audit` give what these say of themselves, `origins` are pages of others that may send commands."""
    answers = Answers(desk)
    said, lives = answers.said, desk.follower.lives
    router = APIRouter(prefix="/api/v1", route_class=BoundedRoute)

    async def may_trade(request: Request) -> None:
        require_trader(request.scope, origins, allow_remote=allow_remote)

    sends: Any = {
        "response_model": order_wire.Acknowledged,
        "responses": _REFUSALS,
        "dependencies": [Depends(may_trade)],
    }
    reads: Any = {"responses": {404: _REFUSALS[404]}}

    async def done(asked: Awaitable[Outcome]) -> Response:
        return _json(await answers(asked))

    def found(account: str, order_id: int | bytes) -> Response:
        order = desk.order(answers.account(account), order_id)
        if order is None:
            raise ApiError(
                404, "unknown_order", "the account has no such order, or it has ended and is no longer remembered here"
            )
        return _json(said.order(order))

    # Orders of an account.

    @router.post("/accounts/{account}/orders", tags=["orders"], **sends)
    async def place(account: AccountName, order: requests.Place, wait: Wait = None) -> Response:
        """A new order. The same request with the same `client_order_id` answers with the order that there is."""
        return await done(desk.place(account, order, wait))

    @router.post("/accounts/{account}/order-pairs", tags=["orders"], **sends)
    async def place_pair(account: AccountName, pair: requests.PlacePair, wait: Wait = None) -> Response:
        """A limit order and a stop of which one cancels the other."""
        return await done(desk.place_pair(account, pair, wait))

    @router.get("/accounts/{account}/orders", tags=["orders"], response_model=list[order_wire.Order], **reads)
    async def orders(
        account: AccountName,
        instrument: OfInstrument = None,
        state: Annotated[Literal["open", "ended"], Query(description="`ended`: the newest first.")] = "open",
        limit: Annotated[
            int | None,
            Query(
                ge=1,
                le=LISTED_MAX,
                description=f"How many, the newest ones; default: all open ones, {LISTED_MAX} ended.",
            ),
        ] = None,
        before: Annotated[
            int | None,
            Query(ge=0, lt=1 << 63, description="Only those that ended before this order did, by its `order_id`."),
        ] = None,
        start: Begin = 0,
        end: Until = None,
    ) -> Response:
        """Open orders in the order of acceptance, or those that have ended, the newest first.

        For older ones ask again with the last order's id as `before`. `start` and `end` are of when they ended.
        """
        number, of = answers.account(account), answers.instrument(instrument)
        if state == "open":
            if before is not None or start or end is not None:
                raise ApiError(422, "invalid_request", "query: before, start and end are for state=ended")
            listed = lives.open_orders(number, of)[-(limit or 0) :]
        else:
            if before is not None and before not in lives.orders:
                raise ApiError(404, "unknown_order", f"query/before: order {before} is not remembered here (any more)")
            listed = lives.ended_orders(number, limit or LISTED_MAX, of, before, _within(start, end))
        return _json([said.order(order) for order in listed])

    @router.get("/accounts/{account}/orders/{order_id}", tags=["orders"], response_model=order_wire.Order, **reads)
    async def order_by_id(account: AccountName, order_id: OrderId) -> Response:
        """An order, open or ended."""
        return found(account, order_id)

    @router.get(
        "/accounts/{account}/client-orders/{client_order_id}",
        tags=["orders"],
        response_model=order_wire.Order,
        **reads,
    )
    async def order_by_client_id(account: AccountName, client_order_id: ClientId) -> Response:
        """An order by the client's id."""
        return found(account, answers.client_id(client_order_id))

    @router.patch("/accounts/{account}/orders/{order_id}", tags=["orders"], **sends)
    async def replace(account: AccountName, order_id: OrderId, change: requests.Replace, wait: Wait = None) -> Response:
        """Another price, size or condition. A smaller size at the same price keeps its priority."""
        return await done(desk.replace(account, order_id, change, wait))

    @router.patch("/accounts/{account}/client-orders/{client_order_id}", tags=["orders"], **sends)
    async def replace_by_client_id(
        account: AccountName, client_order_id: ClientId, change: requests.Replace, wait: Wait = None
    ) -> Response:
        """The same, the order named by the client's id."""
        return await done(desk.replace(account, answers.client_id(client_order_id), change, wait))

    @router.delete("/accounts/{account}/orders/{order_id}", tags=["orders"], **sends)
    async def cancel(account: AccountName, order_id: OrderId, wait: Wait = None) -> Response:
        """An order away. One that was cancelled already is answered as it is."""
        return await done(desk.cancel(account, order_id, wait))

    @router.delete("/accounts/{account}/client-orders/{client_order_id}", tags=["orders"], **sends)
    async def cancel_by_client_id(account: AccountName, client_order_id: ClientId, wait: Wait = None) -> Response:
        """The same, the order named by the client's id."""
        return await done(desk.cancel(account, answers.client_id(client_order_id), wait))

    @router.delete("/accounts/{account}/orders", tags=["orders"], **sends)
    async def mass_cancel(
        account: AccountName, instrument: OfInstrument = None, side: OfSide = None, wait: Wait = None
    ) -> Response:
        """All orders of the account away, of an instrument or a side if they are named."""
        return await done(desk.mass_cancel(account, instrument, side, wait))

    @router.post("/accounts/{account}/cancel-all-after", tags=["orders"], **sends)
    async def cancel_all_after(account: AccountName, switch: requests.CancelAllAfter, wait: Wait = None) -> Response:
        """The dead man's switch: all orders go unless this comes again in time."""
        return await done(desk.cancel_all_after(account, switch.timeout_ms, wait))

    @router.get("/accounts/{account}/fills", tags=["orders"], response_model=list[order_wire.Fill], **reads)
    async def fills(
        account: AccountName,
        instrument: OfInstrument = None,
        limit: Limit = 100,
        before: Annotated[
            int | None, Query(ge=0, lt=1 << 63, description="Only those below this `sequence` of a fill.")
        ] = None,
        start: Begin = 0,
        end: Until = None,
    ) -> Response:
        """The newest fills, oldest first. For older ones ask again with the first one's `sequence` as `before`."""
        number, of = answers.account(account), answers.instrument(instrument)
        listed = lives.fills(number, limit, of, before, _within(start, end))
        return _json([said.fill(fill) for fill in listed])

    @router.get("/accounts/{account}/positions", tags=["orders"], response_model=list[order_wire.Position], **reads)
    async def positions(account: AccountName) -> Response:
        """Positions, average prices, realised profit and fees."""
        return _json(said.positions(answers.account(account)))

    @router.get("/accounts/{account}/balances", tags=["orders"], response_model=list[order_wire.Balance], **reads)
    async def balances(account: AccountName) -> Response:
        """What the account has of each asset, and what of that is reserved."""
        return _json(said.balances(answers.account(account)))

    @router.get("/accounts/{account}/limits", tags=["orders"], response_model=list[order_wire.Limits], **reads)
    async def limits_of(account: AccountName) -> Response:
        """Limits of the account that are in force: as a whole, then by instrument."""
        return _json(said.limits(answers.account(account)))

    # The venue.

    @router.get("/venue/limits", tags=["venue"], response_model=list[order_wire.Limits])
    async def limits() -> Response:
        """Limits of all accounts that are in force."""
        return _json(said.limits())

    @router.get("/venue", tags=["venue"], response_model=order_wire.VenueStatus)
    async def status() -> Response:
        """How the node's own venue does."""
        return _json(said.status(engine(), audit()))

    @router.get("/venue/instruments", tags=["venue"], response_model=list[order_wire.VenueInstrument])
    async def instruments() -> Response:
        """Instruments of the node's own venue."""
        return _json(said.instruments())

    @router.get("/venue/accounts", tags=["venue"], response_model=list[order_wire.VenueAccount])
    async def accounts() -> Response:
        """Its accounts."""
        return _json(said.accounts())

    # For operators.

    @router.post("/operator/instruments", tags=["operator"], **sends)
    async def list_instrument(instrument: requests.ListInstrument) -> Response:
        """Lists an instrument, or changes one. It is closed until its session is set."""
        return await done(desk.list_instrument(instrument))

    @router.post("/operator/instruments/{instrument:path}/session", tags=["operator"], **sends)
    async def set_session(instrument: InstrumentPath, session: requests.SetSession) -> Response:
        """Another session of an instrument."""
        return await done(desk.set_session(instrument, session.session))

    @router.post("/operator/accounts", tags=["operator"], **sends)
    async def open_account(account: requests.OpenAccount) -> Response:
        """Opens an account, or changes one."""
        return await done(desk.open_account(account))

    @router.post("/operator/accounts/{account}/transfers", tags=["operator"], **sends)
    async def transfer(account: AccountName, transfer: requests.Transfer) -> Response:
        """Cash or holdings in, or out below 0. Sent again it is done again: look at the balances when an answer was lost."""
        return await done(desk.transfer(account, transfer))

    @router.post("/operator/accounts/{account}/limits", tags=["operator"], **sends)
    async def set_limits(account: AccountName, limits: requests.SetLimits) -> Response:
        """Replaces all limits of an account for an instrument, or as a whole."""
        return await done(desk.set_limits(account, limits))

    @router.post("/operator/kill", tags=["operator"], **sends)
    async def kill(kill: requests.Kill) -> Response:
        """Trading of an account, or of all, off with all open orders cancelled; or on again."""
        return await done(desk.kill(kill))

    return router
