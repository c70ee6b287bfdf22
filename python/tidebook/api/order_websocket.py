"""`/ws/v1/orders?account=NAME`: order entry and the private stream of one account's executions.

Requests are those of REST, in the same words, each with an `id` that comes back with its answer; several may be under way, so answers
come as they are ready. What is sent is always read, so that the end of a session is seen at once. Of a session with too much under way no
place and no replace is taken any more, and all that wants out is handed over all the same: it is answered without being waited for.
Everything that happens to the account's orders follows, once it is on disk, whoever asked for it. A session that
was opened with `cancel_on_disconnect=true`, or that placed an order with it, ends in the cancellation of such orders, however it ends.

Nothing is left out of a private stream: a reader that is too slow is closed, and REST tells whoever comes back how his orders stand.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qs

from pydantic import BaseModel, ConfigDict, ValidationError

from tidebook.api import order_wire, wire
from tidebook.api.bodies import require_keys_once
from tidebook.api.hub import CLOSE_SLOW_CONSUMER
from tidebook.api.mailbox import Mailbox
from tidebook.api.order_rest import Answers, require_trader
from tidebook.api.problems import ApiError, FieldError, answer, said_of
from tidebook.errors import TidebookError
from tidebook.gateway import requests
from tidebook.observe.logs import logger
from tidebook.venue import codes  # noqa: TC001 - annotations are read at runtime

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from starlette.types import Receive, Scope, Send

    from tidebook.gateway.desk import OrderDesk
    from tidebook.gateway.lives import Execution

log = logger("api.orders")

UNDER_WAY_MAX: Final = 256
"""Requests of one session that are not answered: beyond that none is taken that asks for more."""
_MORE: Final = ("PLACE", "PLACE_PAIR", "REPLACE")
_WAITED_FOR_MAX: Final = 2 * UNDER_WAY_MAX
"""Beyond that a command is handed over and not waited for."""
SESSIONS_MAX: Final = 128
_FLAGS: Final = {"true": True, "1": True, "false": False, "0": False}
CLOSE_TIMEOUT_S: Final = 5.0
CLOSE_RESTART: Final = 1012
STREAM: Final = "executions"


class _Named(requests.Request):
    order_id: int | None = None
    client_order_id: str | None = None
    wait: codes.Wait | None = None


class _Place(requests.Place):
    wait: codes.Wait | None = None


class _PlacePair(requests.PlacePair):
    wait: codes.Wait | None = None


class _Replace(_Named):
    change: requests.Replace


class _Cancel(_Named):
    pass


class _MassCancel(requests.Request):
    instrument: str | None = None
    side: requests.Side | None = None
    wait: codes.Wait | None = None


class _CancelAllAfter(requests.CancelAllAfter):
    wait: codes.Wait | None = None


class _OpenOrders(requests.Request):
    instrument: str | None = None


class _Envelope(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    method: str
    params: dict[str, Any] = {}
    id: int | str | None = None


class OrderSessions:
    """ASGI application of the endpoint, and its sessions. Threads: one event loop's."""

    def __init__(self, desk: OrderDesk, origins: frozenset[str], *, allow_remote: bool) -> None:
        self._answers = Answers(desk)
        self._desk = desk
        self._origins = origins
        self._allow_remote = allow_remote
        self._sessions: dict[int, set[_Session]] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self.slow = 0
        """Sessions closed because their reader was too slow."""
        desk.listen(self._happened)

    @property
    def count(self) -> int:
        """Sessions open now."""
        return sum(map(len, self._sessions.values()))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one session to its end."""
        await receive()  # websocket.connect
        query = parse_qs(scope["query_string"].decode("latin-1"))
        try:
            require_trader(scope, self._origins, allow_remote=self._allow_remote)
            account = self._answers.account(query.get("account", [""])[0])
            ends_orders = _FLAGS.get(query.get("cancel_on_disconnect", ["false"])[0])
            if ends_orders is None or not query.keys() <= {"account", "cancel_on_disconnect"}:
                raise ApiError(
                    422, "invalid_request", "the address takes account and cancel_on_disconnect, which is true or false"
                )
            if self.count >= SESSIONS_MAX:
                raise ApiError(
                    503, "too_many_sessions", f"{SESSIONS_MAX} sessions are open, which is as many as may be"
                )
        except ApiError as error:
            if "websocket.http.response" in scope.get("extensions", {}):
                await answer(error, scope["path"])(scope, receive, send)
            else:
                await send({"type": "websocket.close", "code": 1008})  # before accept: HTTP 403, without a word
            return
        await send({"type": "websocket.accept"})
        session = _Session(self._answers, account, receive, send, ends_orders=ends_orders)
        self._sessions.setdefault(account, set()).add(session)
        try:
            await session.run()
        finally:
            sessions = self._sessions[account]
            sessions.discard(session)
            if not sessions:
                del self._sessions[account]
            self.slow += session.close_code == CLOSE_SLOW_CONSUMER
            if session.ends_orders:
                # In a task of its own: the server may be cancelling this one.
                task = asyncio.create_task(self._ended(account), name="orders of an ended session")
                self._closing.add(task)
                task.add_done_callback(self._closing.discard)

    async def settle(self) -> None:
        """Returns when the orders of all ended sessions were asked to go."""
        while self._closing:
            await asyncio.gather(*self._closing)

    async def _ended(self, account: int) -> None:
        try:
            await self._desk.disconnected(account)
        except TidebookError as error:
            log.error("orders of an ended session may still be open", account=account, reason=str(error))

    def _happened(self, executions: Sequence[Execution]) -> None:
        if not self._sessions:
            return
        touched: dict[int, list[Execution]] = {}
        for execution in executions:
            for account in {execution.account, execution.contra_account} & self._sessions.keys():
                touched.setdefault(account, []).append(execution)
        for account, own in touched.items():
            events = self._answers.said.events(account, own)
            if events:
                text = wire.encode({"stream": STREAM, "data": events}).decode()
                for session in self._sessions[account]:
                    session.put(text)


class _Session:
    """One client from accept to close."""

    def __init__(self, answers: Answers, account: int, receive: Receive, send: Send, *, ends_orders: bool) -> None:
        self._answers = answers
        self._desk = answers.desk
        self._number = account
        # By number: a name could be given to another by then.
        self._account = str(account)
        self._receive = receive
        self._send = send
        self._mailbox = Mailbox()
        self._bell = asyncio.Event()
        self._end = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self.close_code: int | None = None
        self.ends_orders = ends_orders
        self._methods: dict[str, tuple[type[BaseModel], Callable[[Any], Coroutine[Any, Any, Any]]]] = {
            "PLACE": (_Place, self._place),
            "PLACE_PAIR": (_PlacePair, self._place_pair),
            "REPLACE": (_Replace, self._replace),
            "CANCEL": (_Cancel, self._cancel),
            "MASS_CANCEL": (_MassCancel, self._mass_cancel),
            "CANCEL_ALL_AFTER": (_CancelAllAfter, self._cancel_all_after),
            "OPEN_ORDERS": (_OpenOrders, self._open_orders),
        }

    async def run(self) -> None:
        """Serves until the client leaves, or until it must end."""
        parts = [asyncio.ensure_future(part) for part in (self._read(), self._write(), self._end.wait())]
        try:
            await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (*parts, *self._tasks):
                task.cancel()
            await asyncio.gather(*parts, *self._tasks, return_exceptions=True)
        if self.close_code is not None:
            with contextlib.suppress(TimeoutError, OSError):
                async with asyncio.timeout(CLOSE_TIMEOUT_S):
                    await self._send({"type": "websocket.close", "code": self.close_code, "reason": "slow_consumer"})

    def put(self, text: str) -> None:
        """Queues a frame; a reader that let too many wait is closed."""
        if self._mailbox.put_event(text):
            self._bell.set()
        elif self.close_code is None:
            self.close_code = CLOSE_SLOW_CONSUMER
            self._end.set()

    async def _write(self) -> None:
        with contextlib.suppress(OSError):  # uvicorn's ClientDisconnected
            while True:
                await self._bell.wait()
                self._bell.clear()
                while (frame := self._mailbox.take()) is not None:
                    await self._send({"type": "websocket.send", "text": frame})

    async def _read(self) -> None:
        while True:
            message = await self._receive()
            if message["type"] == "websocket.disconnect":
                return
            task = asyncio.create_task(self._answer(message.get("text") or message.get("bytes") or b""))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            # It goes as far as it can before the next is read: what comes in one go is neither too much nor out of order.
            await asyncio.sleep(0)

    async def _answer(self, text: str | bytes) -> None:
        request_id: int | str | None = None
        try:
            try:
                asked = _Envelope.model_validate_json(text)
            except ValidationError as error:
                request_id = wire.request_id(text)
                raise _invalid(error) from None
            request_id = asked.id
            require_keys_once(text)
            if asked.method not in self._methods:
                raise ApiError(
                    404, "unknown_method", f"no method {asked.method!r}; there are {', '.join(self._methods)}"
                )
            if asked.method in _MORE and len(self._tasks) > UNDER_WAY_MAX:  # with this one
                raise ApiError(
                    429,
                    "too_many_waiting",
                    f"{UNDER_WAY_MAX} requests of this session are not answered, which is as many as may be; nothing was sent, try again",
                )
            model, method = self._methods[asked.method]
            try:
                params = model.model_validate(asked.params)
            except ValidationError as error:
                raise _invalid(error) from None
            answering = method(params)
            waited_for = len(self._tasks) <= _WAITED_FOR_MAX
            said = {"id": request_id, "result": await (answering if waited_for else _at_once(answering))}
        except ApiError as error:
            said = {"id": request_id, "error": error.problem("/ws/v1/orders")}
        self.put(wire.encode(said).decode())

    async def _place(self, asked: _Place) -> order_wire.Acknowledged:
        self.ends_orders = self.ends_orders or asked.cancel_on_disconnect
        return await self._answers(self._desk.place(self._account, asked, asked.wait))

    async def _place_pair(self, asked: _PlacePair) -> order_wire.Acknowledged:
        self.ends_orders = self.ends_orders or asked.cancel_on_disconnect
        return await self._answers(self._desk.place_pair(self._account, asked, asked.wait))

    async def _replace(self, asked: _Replace) -> order_wire.Acknowledged:
        return await self._answers(self._desk.replace(self._account, self._which(asked), asked.change, asked.wait))

    async def _cancel(self, asked: _Cancel) -> order_wire.Acknowledged:
        return await self._answers(self._desk.cancel(self._account, self._which(asked), asked.wait))

    async def _mass_cancel(self, asked: _MassCancel) -> order_wire.Acknowledged:
        return await self._answers(self._desk.mass_cancel(self._account, asked.instrument, asked.side, asked.wait))

    async def _cancel_all_after(self, asked: _CancelAllAfter) -> order_wire.Acknowledged:
        return await self._answers(self._desk.cancel_all_after(self._account, asked.timeout_ms, asked.wait))

    async def _open_orders(self, asked: _OpenOrders) -> list[order_wire.Order]:
        found = self._desk.follower.lives.open_orders(self._number, self._answers.instrument(asked.instrument))
        return [self._answers.said.order(order) for order in found]

    def _which(self, asked: _Named) -> int | bytes:
        if asked.order_id is not None and asked.client_order_id is None:
            return asked.order_id
        if asked.client_order_id is not None and asked.order_id is None:
            return self._answers.client_id(asked.client_order_id)
        raise ApiError(422, "invalid_request", "params: name the order by order_id or by client_order_id")


async def _at_once(answering: Coroutine[Any, Any, Any]) -> Any:
    """What it gives without being waited for; a command is handed over by then. Raises: ApiError."""
    try:
        async with asyncio.timeout(0):
            return await answering
    except TimeoutError:
        raise ApiError(
            504,
            "unconfirmed",
            f"{_WAITED_FOR_MAX} requests of this session are not answered, so this one is not waited for: it was handed over "
            "and may still be carried out; the stream of executions tells, or look at the orders",
        ) from None


def _invalid(error: ValidationError) -> ApiError:
    errors = [
        FieldError("/".join(map(str, ("params", *part["loc"]))), said_of(part))
        for part in error.errors(include_url=False)
    ]
    return ApiError(422, "invalid_request", "; ".join(f"{part.pointer}: {part.detail}" for part in errors), errors)
