"""One WebSocket session with a venue: every frame to the sink, nothing decoded.

A frame is stamped and written inside the socket's callback, before anything else looks at it. Only then the venue's
protocol is asked whether it is one of the few that a session must act on: answers to its own requests, heartbeats,
snapshots that were asked for, and the notice that the venue shuts down. The client is picows, chosen by measurement:
loopback to callback 24 us at the median against 52 (aiohttp) and 58 (websockets), 31 us of processor a message against
79 and 67 (1,000 messages/s, asyncio, Xeon).
"""

import asyncio
import ssl
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Protocol, Self

from picows import (
    WSCloseCode,
    WSError,
    WSFrame,
    WSInvalidStatusError,
    WSListener,
    WSMsgType,
    WSTransport,
    ws_connect,
)

from tidebook.errors import VenueError
from tidebook.feeds.pace import Pace
from tidebook.feeds.protocol import (
    HEARTBEAT,
    Answer,
    Notice,
    Request,
    Shutdown,
    SnapshotSeen,
    SymbolStream,
    VenueProtocol,
)
from tidebook.feeds.sink import MessageKind, RawSink
from tidebook.feeds.stop_signs import stop_s
from tidebook.observe.logs import logger

log = logger("feeds.session")

# A venue that says we come too fast is given a rest before the same request, each time twice as long up to the largest,
# which is shorter than the silence after which a session counts as stalled.
TOO_FAST_PAUSES_MAX = 6
TOO_FAST_PAUSE_GROWTH_MAX = 8

SERVER_SHUTDOWN = "server shutdown"


@dataclass(frozen=True, slots=True)
class Pacing:
    """How fast a session asks, and how long it waits."""

    pace: Pace
    """Of its requests; that of other sessions too where the venue counts them together."""
    answer_timeout_s: float
    too_fast_pause_s: float
    """The first rest after an answer that says we come too fast."""


class SessionOwner(Protocol):
    """Who hears of a session's life. Called on the event loop, between two frames."""

    def session_opened(self, session: "Session") -> None:
        """The venue accepted the connection; no frame has been written yet."""

    def session_ended(self, session: "Session", reason: str) -> None:
        """An opened session ended, or was retired; no frame will be written any more."""

    def data_seen(self, body: bytes) -> None:
        """A frame of market data was written."""

    def snapshot_seen(self, symbol: str) -> None:
        """A book's snapshot was written."""

    def capture_failed(self, error: Exception) -> None:
        """The sink raised: the capture cannot go on."""


@dataclass(slots=True)
class _Asked:
    """A request whose answers are awaited."""

    number: int
    request: Request
    answers_left: int
    done: asyncio.Future[None]
    refused: dict[str, str] = field(default_factory=dict)
    granted: set[str] = field(default_factory=set)
    refused_whole: str = ""
    hurried: dict[str, str] = field(default_factory=dict)
    """Symbols that were asked for too soon, and in which words; under the empty one all of them."""

    def take(self, answer: Answer) -> None:
        if answer.number not in (None, self.number) or self.done.done():
            return
        if answer.symbol is None:
            self.answers_left = 0
        else:
            # Counted rather than matched: a venue may answer with another spelling than it was asked with.
            self.answers_left -= 1
        if answer.too_fast:
            self.hurried[answer.symbol or ""] = answer.refused
        elif answer.symbol is None:
            self.refused_whole = answer.refused
        elif answer.refused:
            self.refused[answer.symbol] = answer.refused
        else:
            self.granted.add(answer.symbol)
        if self.answers_left <= 0:
            self.done.set_result(None)

    def refused_symbols(self) -> dict[str, str]:
        """The request's symbols that were refused, and why.

        One that was refused under another spelling is known by elimination, while every grant has a name that was asked.
        """
        symbols = self.request.symbols
        strange = [reason for symbol, reason in self.refused.items() if symbol not in symbols]
        known = {symbol: reason for symbol, reason in self.refused.items() if symbol in symbols}
        if strange and self.granted.issubset(symbols):
            known |= {symbol: strange[0] for symbol in symbols if symbol not in self.granted | known.keys()}
        return known

    def too_soon(self) -> Request | None:
        """What of the request was asked for too soon and has to be repeated."""
        if not self.hurried:
            return None
        named = tuple(symbol for symbol in self.request.symbols if symbol in self.hurried)
        return self.request if "" in self.hurried or not named else replace(self.request, symbols=named)


class Session(WSListener):
    """Speaks to one connection. Make it with `connect`."""

    def __init__(
        self,
        number: int,
        url: str,
        protocol: VenueProtocol,
        sink: RawSink,
        owner: SessionOwner,
        pacing: Pacing,
    ) -> None:
        self.number = number
        self.url = url
        self.frame_count = 0
        """Everything that came, control frames too."""
        self.message_count = 0
        """Messages that were written."""
        self.data_count = 0
        """Of them market data: neither heartbeats nor answers nor snapshots."""
        self.relief_reason = ""
        """Why a successor is wanted; empty while none is."""
        self._protocol = protocol
        self._notice = protocol.notice
        self._data_seen = owner.data_seen
        self._sink_write = sink.write
        self._owner = owner
        self._pacing = pacing
        self._ended = asyncio.Event()
        self._done_for = asyncio.Event()
        self._transport: WSTransport | None = None
        self._parts: list[bytes] = []
        self._parts_bytes = 0
        self._turn = asyncio.Lock()
        self._asked: _Asked | None = None
        self._request_count = 0
        self._end_reason = "connection lost"
        self._seen_off: asyncio.Task[None] | None = None

    @classmethod
    async def connect(
        cls,
        number: int,
        url: str,
        protocol: VenueProtocol,
        sink: RawSink,
        owner: SessionOwner,
        *,
        tls: ssl.SSLContext | None,
        timeout_s: float,
        pacing: Pacing,
    ) -> Self:
        """Opens the connection; the owner hears `session_opened` before the first frame can arrive.

        Raises: VenueError when the venue cannot be reached or refuses the upgrade; with the fact `retry_after_s` when
        it wants silence for so long.
        """
        session = cls(number, url, protocol, sink, owner, pacing)
        try:
            async with asyncio.timeout(timeout_s):
                await ws_connect(
                    lambda: session,
                    url,
                    ssl_context=tls,
                    max_frame_size=protocol.limits.frame_bytes_max,
                    # It alone can close a socket whose handshake never ends; ours counts the whole and would leave it open.
                    websocket_handshake_timeout=timeout_s,
                )
        except (OSError, WSError, TimeoutError) as error:
            session.retire(f"cannot connect: {error}")
            why = f"no answer within {timeout_s:g} s" if isinstance(error, TimeoutError) else str(error)
            base = url.partition("?")[0]
            facts = {"retry_after_s": wait_s} if (wait_s := _stop_s(error)) is not None else {}
            raise VenueError(f"{protocol.venue}: {base}: {why}", url=base, **facts) from error
        except BaseException:
            session.retire("given up while it was opened")
            raise
        return session

    @property
    def alive(self) -> bool:
        """Whether frames may still come."""
        return self._transport is not None and not self._ended.is_set()

    async def wait_end(self, timeout_s: float | None) -> bool:
        """Whether the session ended within the time; None waits for ever."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._ended.wait()
        except TimeoutError:
            return False
        return True

    async def wait_relief(self, timeout_s: float) -> None:
        """Waits for the end, for `relieve`, or for the time to pass."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._done_for.wait()

    def relieve(self, reason: str) -> None:
        """Wants a successor, until whose opening the session goes on."""
        self.relief_reason = self.relief_reason or reason
        self._done_for.set()

    def retire(self, reason: str) -> None:
        """Ends the session from our side, at once: nothing is written after this returns."""
        transport = self._transport
        self._end(reason)
        if transport is not None and not transport.is_disconnected:
            transport.send_close(WSCloseCode.OK)
            # Not graceful: a venue that stopped reading would hold the socket until its buffers drain.
            transport.disconnect(graceful=False)

    def ping(self) -> None:
        """Asks the venue for a sign of life; its pong counts as a frame."""
        if self.alive and self._transport is not None:
            self._transport.send_ping(b"tidebook")

    async def ask(self, requests: Iterable[Request]) -> dict[SymbolStream, str]:
        """Sends requests one by one, each after the answer to the one before. What was refused, and why.

        A request refused as a whole is asked again in halves, so that one symbol the venue does not know costs nobody
        else the subscription. One that came too fast is repeated as it was, after a rest that grows: halves would be more
        messages yet. Once it has had all its rests it counts as refused.

        Raises: VenueError when the session ends first, or an answer does not come.
        """
        refused: dict[SymbolStream, str] = {}
        waiting = list(requests)[::-1]
        pauses = 0
        while waiting:
            request = waiting.pop()
            asked = await self._ask(request)
            refused |= _of(request.streams, asked.refused_symbols())
            again = asked.too_soon()
            if again is not None and pauses < TOO_FAST_PAUSES_MAX:
                growth = min(2**pauses, TOO_FAST_PAUSE_GROWTH_MAX)
                self._pacing.pace.rest(time.monotonic(), self._pacing.too_fast_pause_s * growth)
                pauses += 1
                waiting.append(again)
                continue
            pauses = 0
            if again is not None:
                why = next(iter(asked.hurried.values()))
                refused |= _of(request.streams, dict.fromkeys(again.symbols or ("",), why))
            elif asked.refused_whole:
                symbols = request.symbols
                half = len(symbols) // 2
                if half:
                    waiting += (replace(request, symbols=symbols[half:]), replace(request, symbols=symbols[:half]))
                else:
                    refused |= _of(request.streams, {"".join(symbols): asked.refused_whole})
        return refused

    async def _ask(self, request: Request) -> _Asked:
        """One request and its answers. One is under way at a time, since some venues do not say which they answer."""
        async with self._turn:
            await self._place()
            if self._transport is None or not self.alive:
                raise self._lost("the session ended before a request")
            self._request_count += 1
            answers = len(request.symbols) if request.answered_each and request.symbols else 1
            asked = _Asked(self._request_count, request, answers, asyncio.get_running_loop().create_future())
            self._asked = asked
            self._transport.send(WSMsgType.TEXT, request.encode(asked.number, request.symbols))
            timeout_s = self._pacing.answer_timeout_s
            try:
                async with asyncio.timeout(timeout_s):
                    await asked.done
            except TimeoutError as error:
                # An answer that comes later would be taken for that of the next request.
                reason = f"no answer to a request within {timeout_s:g} s"
                self.retire(reason)
                raise self._lost(reason) from error
            except asyncio.CancelledError:
                self.retire("a request was given up before its answer")  # for the same reason
                raise
            finally:
                self._asked = None
            return asked

    async def _place(self) -> None:
        """Waits for a place in the pace, or for the session's end."""
        pace = self._pacing.pace
        while True:
            now_s = time.monotonic()
            delay_s = pace.delay_s(now_s)
            if delay_s > 0 and await self.wait_end(delay_s):
                return
            if pace.holds(now_s + delay_s, time.monotonic()):
                return

    # What picows calls

    def on_ws_connected(self, transport: WSTransport) -> None:
        """The venue accepted the connection."""
        if self._ended.is_set():  # given up while the handshake was on its way
            transport.disconnect(graceful=False)
            return
        self._transport = transport
        self._owner.session_opened(self)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """Stamps and writes one frame. Nothing before the stamp, nothing slow after it."""
        ts_recv_ns = time.time_ns()
        if self._ended.is_set():
            return
        self.frame_count += 1
        kind = frame.msg_type
        if kind is WSMsgType.TEXT or kind is WSMsgType.BINARY or kind is WSMsgType.CONTINUATION:
            body = frame.get_payload_as_bytes()
            if not frame.fin or self._parts:
                self._parts.append(body)
                self._parts_bytes += len(body)
                if self._parts_bytes > self._protocol.limits.frame_bytes_max:
                    self.retire(f"a message of more than {self._protocol.limits.frame_bytes_max} bytes")
                    return
                if not frame.fin:
                    return
                body = b"".join(self._parts)
                self._parts.clear()
                self._parts_bytes = 0
            try:
                self._sink_write(ts_recv_ns, self.number, MessageKind.WS, b"", body)
            except Exception as error:  # noqa: BLE001 - picows would log it and go on; the connector must stop
                self.retire(f"sink failed: {error}")
                self._owner.capture_failed(error)
                return
            self.message_count += 1
            notice = self._notice(body)
            if notice is None:
                self.data_count += 1
                self._data_seen(body)
            elif notice is not HEARTBEAT:
                self._on_notice(notice)
        elif kind is WSMsgType.CLOSE:
            payload = frame.get_payload_as_bytes()
            code, words = int.from_bytes(payload[:2], "big"), payload[2:].decode(errors="replace")
            self._end_reason = f"closed by venue: {code} {words}".rstrip()
            transport.send_close(WSCloseCode.OK)
            transport.disconnect()

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        """The socket is gone."""
        self._end(self._end_reason)
        self._seen_off = asyncio.create_task(self._see_off(transport), name=f"end of {self.number}")

    async def _see_off(self, transport: WSTransport) -> None:
        """Takes what broke the connection, if anything did: an error nobody takes asyncio would report as ours."""
        try:
            await transport.wait_disconnected()
        except Exception as error:  # noqa: BLE001 - picows hands on whatever it was; the session has ended already
            reason = f"{type(error).__name__}: {error}"
            log.warning("connection broken off", venue=self._protocol.venue, connection=self.number, reason=reason)

    def _on_notice(self, notice: Notice) -> None:
        if isinstance(notice, SnapshotSeen):
            self._owner.snapshot_seen(notice.symbol)
        elif isinstance(notice, Answer):
            if self._asked is not None:
                self._asked.take(notice)
            elif notice.refused:
                log.warning(
                    "the venue complains", venue=self._protocol.venue, connection=self.number, reason=notice.refused
                )
        elif isinstance(notice, Shutdown):
            self.retire(SERVER_SHUTDOWN)

    def _end(self, reason: str) -> None:
        if self._ended.is_set():
            return
        self._ended.set()
        self._done_for.set()
        if self._asked is not None and not self._asked.done.done():
            self._asked.done.set_exception(self._lost(reason))
            self._asked.done.exception()  # its waiter may be gone; it was told
        if self._transport is not None:
            self._owner.session_ended(self, reason)

    def _lost(self, reason: str) -> VenueError:
        base = self.url.partition("?")[0]
        return VenueError(f"{self._protocol.venue}: {base}: {reason}", url=base)


def _of(streams: Iterable[str], reasons: Mapping[str, str]) -> dict[SymbolStream, str]:
    return {SymbolStream(symbol, stream): reason for symbol, reason in reasons.items() for stream in streams}


def _stop_s(error: Exception) -> float | None:
    """For how long a venue that refuses an upgrade wants silence."""
    response = error.response if isinstance(error, WSInvalidStatusError) else None
    return stop_s(int(response.status), response.headers.get("Retry-After"), time.time()) if response else None
