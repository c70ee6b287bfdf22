"""Order entry: a request in, what became of it out, acknowledged as safely as its account asked for.

A client's id makes a request safe to send again. If the order of that id is known, the answer is that order as it is now, provided the
request asks for the same; other content is a conflict. If it is not known the command goes to the venue, whose risk refuses a second use:
then the order is known by the time the refusal is, because both stand on `orders`, the order first. So nothing that happens between two
tries, a kill of the node included, makes two orders of one id.

Nothing that asks for more waits without a bound: commands that are not answered, those that wait for the disk and those that were given up
on after a time included, are counted, for all and for each account, and beyond that a place or a replace is refused before anything is
written. Whoever wants to get out is not turned away; how many can ask for that at once is bounded by connections.

What is handed over and not judged yet is not on the replica. So the desk remembers the client's ids in it: a cancel by such an id is sent
behind it, and names the order by the id alone, which risk resolves in the order of commands. A replace has to say the whole new state, so
it waits until what came before it is judged, one replace of an order at a time; so does a change of an instrument's or an account's terms.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from copy import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple
from weakref import WeakValueDictionary

import numpy as np

from tidebook.errors import OrderEntryError, UnconfirmedError, UnknownInstrumentError, UsageError
from tidebook.gateway import commands, words
from tidebook.gateway.bounds import crossed
from tidebook.gateway.destination import destination_of
from tidebook.gateway.layouts import EMPTY_BODY, NO_CLIENT_ID, PLACE
from tidebook.gateway.lives import OPEN
from tidebook.gateway.names import VENUE
from tidebook.venue import COMMAND
from tidebook.venue.codes import CommandKind, ExecutionKind, OrderType, Reason, Verdict

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence

    from tidebook.gateway import requests
    from tidebook.gateway.destination import Destination
    from tidebook.gateway.following import Judged, OrdersFollower
    from tidebook.gateway.layouts import Definition
    from tidebook.gateway.lives import Execution, Order
    from tidebook.gateway.names import Names
    from tidebook.venue import Shortfall
    from tidebook.venue.codes import Wait

_OPERATOR: Final = 0
_AGAIN_S: Final = 0.05
"""Between two tries of what has to be done and found no room."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeskOptions:
    """Bounds of order entry."""

    waiting_max: int = 4_096
    """Commands that are handed over and not answered, of all accounts: beyond that no place and no replace is taken."""
    waiting_of_account_max: int = 256
    """Of one account."""
    answer_timeout_s: float = 10.0
    """Until a request is told that its command is not confirmed."""


@dataclass(frozen=True, slots=True)
class Done:
    """A command was carried out."""

    sequence: int
    """On `orders`."""
    durable: bool
    """It was synced before this was said."""
    order: Order | None = None
    """What it was about, if that is one order, as the command left it; of a repeated one as it is now."""
    linked: Order | None = None
    """The other leg of a pair that was placed."""
    cancelled: int = 0
    """Orders that a mass cancel or a kill switch took away."""
    repeated: bool = False
    """Nothing new was done: the order was there already."""


@dataclass(frozen=True, slots=True)
class Refused:
    """A command was journaled and not carried out."""

    sequence: int
    reason: str
    by: str
    """`risk` or `matching`."""
    order: Order | None = None
    """The one that a place made and that ended with this."""
    lacks: Shortfall | None = None
    """Of a refusal for the balance: of what, as of now."""
    bound: str | None = None
    """What was crossed, in a sentence, as of now; None where this cannot be told."""
    repeated: bool = False
    """It was refused when an earlier request asked for it; nothing was sent now."""


@dataclass(frozen=True, slots=True)
class Conflict:
    """The client's id was used before, for something else, or for what is no longer remembered."""

    order: Order | None


@dataclass(frozen=True, slots=True)
class NotThere:
    """No order of the account has this id, or none that is remembered."""


@dataclass(frozen=True, slots=True)
class Ended:
    """The order has ended: nothing can be changed about it."""

    order: Order


class TooManyWaitError(Exception):
    """The account has more commands that wait than it may."""


Outcome = Done | Refused | Conflict | NotThere | Ended


class _OnItsWay(NamedTuple):
    """A command that will give an order a client's id."""

    instrument_id: int
    judged: asyncio.Future[Judged]


class OrderDesk:
    """Takes requests of clients and operators. Threads: one event loop's."""

    def __init__(
        self,
        names: Names,
        follower: OrdersFollower,
        destinations: Mapping[str, Destination],
        options: DeskOptions | None = None,
    ) -> None:
        """`destinations` by venue."""
        self.names = names
        self.follower = follower
        self.options = options or DeskOptions()
        self._destinations = destinations
        self._waiting: Counter[int] = Counter()
        self._waiting_count = 0
        self._on_their_way: dict[tuple[int, bytes], list[_OnItsWay]] = {}
        """By account and client's id, in the order in which they were sent; until they are judged, whoever waits for that or not."""
        self._turns: WeakValueDictionary[int | tuple[int, str], asyncio.Lock] = WeakValueDictionary()
        """Of orders that are being replaced, and (kind and name) of instruments and accounts whose terms change: held until that is judged."""
        self.counts: Counter[str] = Counter()
        """What was asked for, by kind and what came of it: `done`, `refused`, `repeated`, `conflict`, `overload`, `unconfirmed`."""

    # Of clients.

    async def place(self, account: str, request: requests.Place, wait: Wait | None = None) -> Outcome:
        """A new order, or the one that the same request made before.

        Raises: UsageError and its kinds for what cannot be asked for; OrderEntryError, TooManyWaitError, nothing sent;
                UnconfirmedError.
        """
        number = self.names.account_number(account)
        instrument_id, definition = self._listed(request.instrument)
        body = commands.place_body(request, definition)
        return await self._new(CommandKind.PLACE, number, instrument_id, request.instrument, body, wait)

    async def place_pair(self, account: str, request: requests.PlacePair, wait: Wait | None = None) -> Outcome:
        """Two orders of which one cancels the other. Raises: as `place`."""
        number = self.names.account_number(account)
        instrument_id, definition = self._listed(request.instrument)
        body = commands.pair_body(request, definition)
        return await self._new(CommandKind.PLACE_PAIR, number, instrument_id, request.instrument, body, wait)

    async def replace(
        self, account: str, order_id: int | bytes, request: requests.Replace, wait: Wait | None = None
    ) -> Outcome:
        """Another state of an order, named by its id or the client's. Raises: as `place`."""
        number = self.names.account_number(account)
        async with self._waits_for_turn("order"):
            await self._arrived(number, order_id)
            order = self.order(number, order_id)
            if order is None:
                return NotThere()
            turn = self._turns.setdefault(order.order_id, asyncio.Lock())
            await turn.acquire()
        judging = None
        try:
            if not order.is_open:
                await self._is_safe(self.follower.sequence, number, wait)
                return Ended(order)
            lives = self.follower.lives
            reckons = lives.reckons_worst_prices(number, order.instrument_id)
            body = commands.replace_body(request, order, lives.definitions[order.instrument_id], reckons=reckons)
            judging = self._hand_over(CommandKind.REPLACE, number, order.instrument_id, self._name(order), body)
        finally:
            _give_turn(turn, judging)
        judged, durable = await self._answered(judging, number, wait)
        return self._refusal(judged) or Done(judged.sequence, durable, judged.order)

    async def cancel(self, account: str, order_id: int | bytes, wait: Wait | None = None) -> Outcome:
        """One order away; one that was cancelled already is answered as it is. Raises: as `place`."""
        number = self.names.account_number(account)
        order = self.order(number, order_id)
        if (order is None or not order.is_open) and (number, order_id) in self._on_their_way:
            assert isinstance(order_id, bytes), "only clients' ids are known before their orders"
            return await self._cancel_behind(number, order_id, wait)
        if order is None:
            return NotThere()
        if not order.is_open:
            return await self._cancelled_before(order, wait)
        body = commands.cancel_body(order.order_id)
        judged, durable = await self._sent(
            CommandKind.CANCEL, number, order.instrument_id, self._name(order), body, wait
        )
        refused = self._refusal(judged)
        if refused is not None and order.state not in OPEN:
            return await self._cancelled_before(order, wait)
        return refused or Done(judged.sequence, durable, judged.order)

    async def mass_cancel(
        self, account: str, instrument: str | None = None, side: str | None = None, wait: Wait | None = None
    ) -> Outcome:
        """All orders of an account away, or those of an instrument, or of a side. Raises: as `place`."""
        number = self.names.account_number(account)
        name = instrument or f".{VENUE}"
        instrument_id = 0 if instrument is None else self._listed(instrument)[0]
        judged, durable = await self._sent(
            CommandKind.MASS_CANCEL, number, instrument_id, name, commands.mass_cancel_body(side), wait
        )
        return self._refusal(judged) or Done(judged.sequence, durable, cancelled=_mass_cancelled(judged))

    async def cancel_all_after(self, account: str, timeout_ms: int, wait: Wait | None = None) -> Outcome:
        """The dead man's switch, on for this long or (0) off. Raises: as `place`."""
        number = self.names.account_number(account)
        body = commands.cancel_all_after_body(timeout_ms)
        judged, durable = await self._sent(CommandKind.CANCEL_ALL_AFTER, number, 0, f".{VENUE}", body, wait)
        return self._refusal(judged) or Done(judged.sequence, durable)

    async def disconnected(self, account: int) -> Outcome:
        """The account's session has ended: orders that are to go with it go, as soon as the venue takes commands.

        Raises: UnconfirmedError; OrderEntryError when the venue is connected no more.
        """
        while True:
            try:
                judged, durable = await self._sent(
                    CommandKind.DISCONNECT, account, 0, f".{VENUE}", EMPTY_BODY, "memory"
                )
                return self._refusal(judged) or Done(judged.sequence, durable)
            except UnconfirmedError:
                raise
            except OrderEntryError:
                if self._destinations[VENUE].failure is not None:
                    raise
                await asyncio.sleep(_AGAIN_S)

    def order(self, account: int, order_id: int | bytes) -> Order | None:
        """An order of an account, by its id or the client's, open or ended; None when it is not remembered."""
        lives = self.follower.lives
        if isinstance(order_id, bytes):
            return lives.order_of(account, order_id)
        found = lives.orders.get(order_id)
        return found if found is not None and found.account == account else None

    def listen(self, listener: Callable[[Sequence[Execution]], None]) -> None:
        """Has every execution of every destination that is final told to `listener` from now on; those of each in order."""
        for destination in self._destinations.values():
            destination.listen(listener)

    # Of operators.

    async def list_instrument(self, request: requests.ListInstrument) -> Outcome:
        """Lists or changes an instrument. Raises: as `place`; OperationError when its name cannot be kept."""
        destination_of(request.instrument, self._destinations)

        def terms() -> tuple[int, int, bytes]:
            # All is looked at before a name is given for ever.
            before = self.names.instruments.get(request.instrument.upper())
            base = request.base if before is None else request.base or before.base
            quote = request.quote if before is None else request.quote or before.quote
            known = None if before is None else self.follower.lives.definitions.get(before.number)
            needed = {"base": base, "quote": quote} | ({} if known else {"tick": request.tick, "lot": request.lot})
            if missing := [field for field, value in needed.items() if value is None]:
                raise UsageError(f"{missing[0]}: a new instrument needs base, quote, tick and lot", field=missing[0])
            assert base is not None
            assert quote is not None
            named = self.names.name_instrument(request.instrument, base, quote)
            body = commands.instrument_body(request, self.names, named.base, named.quote, known)
            return _OPERATOR, named.number, body

        return await self._change_terms(CommandKind.INSTRUMENT, request.instrument.upper(), terms)

    async def open_account(self, request: requests.OpenAccount) -> Outcome:
        """Opens or changes an account. Raises: as `list_instrument`."""

        def terms() -> tuple[int, int, bytes]:
            before = self.names.accounts.get(request.account)
            known = None if before is None else self.follower.lives.accounts.get(before.number)
            body = commands.account_body(request, known)
            named = self.names.name_account(request.account, request.wait)
            return named.number, 0, body

        return await self._change_terms(CommandKind.ACCOUNT, request.account, terms)

    async def transfer(self, account: str, request: requests.Transfer) -> Outcome:
        """Cash or holdings in or out. Raises: as `place`."""
        number = self.names.account_number(account)
        return await self._operated(CommandKind.TRANSFER, number, 0, commands.transfer_body(request, self.names))

    async def set_limits(self, account: str, request: requests.SetLimits) -> Outcome:
        """Limits of an account. Raises: as `place`."""
        number = self.names.account_number(account)
        instrument_id, definition = (0, None) if request.instrument is None else self._listed(request.instrument)
        return await self._operated(
            CommandKind.LIMITS, number, instrument_id, commands.limits_body(request, definition)
        )

    async def set_session(self, instrument: str, session: str) -> Outcome:
        """Another session of an instrument. Raises: as `place`."""
        instrument_id, _ = self._listed(instrument)
        done = await self._operated(CommandKind.SESSION, _OPERATOR, instrument_id, commands.session_body(session))
        if isinstance(done, Refused) and words.SESSIONS[self.follower.lives.sessions.get(instrument_id, 0)] == session:
            # It was there already, so an answer that was lost may be asked for again.
            self.counts["refused"] -= 1
            self.counts["repeated"] += 1
            return Done(done.sequence, done.sequence <= self.follower.durable, repeated=True)
        return done

    async def kill(self, request: requests.Kill) -> Outcome:
        """Trading of an account, or of all, off or on. Raises: as `place`."""
        number = 0 if request.account is None else self.names.account_number(request.account)
        return await self._operated(CommandKind.KILL, number, 0, commands.kill_body(killed=request.killed))

    async def _change_terms(self, kind: int, name: str, terms: Callable[[], tuple[int, int, bytes]]) -> Outcome:
        """Of an instrument or account; `terms` (account, instrument and body) are asked for when those before them are judged."""
        async with self._waits_for_turn("instrument" if kind == CommandKind.INSTRUMENT else "account"):
            turn = self._turns.setdefault((kind, name), asyncio.Lock())
            await turn.acquire()
        judging = None
        try:
            account, instrument_id, body = terms()
            judging = self._hand_over(kind, account, instrument_id, f".{VENUE}", body)
        finally:
            _give_turn(turn, judging)
        return self._operation(*await self._answered(judging, account, "durable"))

    async def _operated(self, kind: int, account: int, instrument_id: int, body: bytes) -> Outcome:
        return self._operation(*await self._sent(kind, account, instrument_id, f".{VENUE}", body, "durable"))

    def _operation(self, judged: Judged, durable: bool) -> Outcome:
        return self._refusal(judged) or Done(judged.sequence, durable, cancelled=_mass_cancelled(judged))

    # What all of them share.

    def _listed(self, instrument: str) -> tuple[int, Definition]:
        """Number and definition of an instrument. Raises: UsageError, UnknownInstrumentError."""
        destination_of(instrument, self._destinations)
        number = self.names.instrument_number(instrument)
        definition = self.follower.lives.definitions.get(number)
        if definition is None:
            raise UnknownInstrumentError(
                f"instrument {instrument!r} is not listed; an operator lists it", instrument=instrument, near=[]
            )
        return number, definition

    @contextlib.asynccontextmanager
    async def _waits_for_turn(self, what: str) -> AsyncIterator[None]:
        """No longer than for an answer. Raises: OrderEntryError."""
        try:
            async with asyncio.timeout(self.options.answer_timeout_s):
                yield
        except TimeoutError:
            raise OrderEntryError(
                f"what was asked for before this about the same {what} is not judged yet; nothing was sent, try again"
            ) from None

    def _name(self, order: Order) -> str:
        return self.names.instrument(order.instrument_id)

    async def _new(
        self, kind: int, account: int, instrument_id: int, instrument: str, body: bytes, wait: Wait | None
    ) -> Outcome:
        lives = self.follower.lives
        ids = [client_id for client_id in _client_ids(kind, body) if client_id != NO_CLIENT_ID]
        for client_id in ids:
            known = lives.order_of(account, client_id)
            if known is not None:
                return await self._again(known, kind, instrument_id, body, wait)
        judged, durable = await self._sent(kind, account, instrument_id, instrument, body, wait)
        refused = self._refusal(judged)
        if refused is None:
            return Done(judged.sequence, durable, judged.order, judged.linked)
        if refused.reason == words.REASONS[Reason.DUPLICATE_CLIENT_ORDER_ID]:
            for client_id in ids:
                known = lives.order_of(account, client_id)
                if known is not None:
                    return await self._again(known, kind, instrument_id, body, wait)
            self.counts["conflict"] += 1
            return Conflict(None)
        return refused

    async def _again(self, known: Order, kind: int, instrument_id: int, body: bytes, wait: Wait | None) -> Outcome:
        """The answer to a request whose id was used: the order, if it asks for that."""
        if known.kind != kind or known.instrument_id != instrument_id or not _same_order(kind, known.placed, body):
            self.counts["conflict"] += 1
            return Conflict(known)
        self.counts["repeated"] += 1
        lives = self.follower.lives
        first, linked = known, None
        if kind == CommandKind.PLACE_PAIR:
            first = lives.orders.get(2 * known.sequence, known)
            linked = lives.orders.get(2 * known.sequence + 1)
        # As they are now, by whatever command: what happens to them while the disk is waited for is not on it.
        first, linked = copy(first), copy(linked)
        durable = await self._is_safe(self.follower.sequence, known.account, wait)
        if known.state == "rejected":
            return Refused(known.sequence, words.REASONS[known.reason], "matching", known, repeated=True)
        return Done(known.sequence, durable, first, linked, repeated=True)

    async def _cancel_behind(self, account: int, client_id: bytes, wait: Wait | None) -> Outcome:
        """Cancels what is handed over and not judged: by the client's id, which risk resolves when it comes to it."""
        instrument_ids = dict.fromkeys(each.instrument_id for each in self._on_their_way[account, client_id])
        body = commands.cancel_body(client_id=client_id)
        judging: dict[str, asyncio.Future[Judged]] = {}
        # All of it before any answer: who gives up on that has everything handed over.
        for instrument_id in instrument_ids:
            name = self.names.instrument(instrument_id)
            try:
                judging[name] = self._hand_over(CommandKind.CANCEL, account, instrument_id, name, body)
            except OrderEntryError:
                if not judging:
                    raise
                raise OrderEntryError(
                    f"the cancel was handed over for {', '.join(judging)} and not for {name}, where an order with this id is on "
                    "its way too; try again"
                ) from None
        answers = await asyncio.gather(*(self._answered(each, account, wait) for each in judging.values()))
        refused: Refused | None = None
        for judged, durable in answers:
            refused = self._refusal(judged)
            if refused is None:
                return Done(judged.sequence, durable, judged.order)
        order = self.order(account, client_id)
        if order is not None and not order.is_open:
            return await self._cancelled_before(order, wait)
        assert refused is not None, "something was on its way"
        return refused

    async def _arrived(self, account: int, order_id: int | bytes) -> None:
        """Returns when what will give an order this id has been judged."""
        if isinstance(order_id, bytes):
            for each in tuple(self._on_their_way.get((account, order_id), ())):
                await asyncio.wait((each.judged,))

    async def _cancelled_before(self, order: Order, wait: Wait | None) -> Outcome:
        durable = await self._is_safe(self.follower.sequence, order.account, wait)
        if order.state == "cancelled":
            return Done(order.sequence, durable, order, repeated=True)
        return Ended(order)

    async def _is_safe(self, sequence: int, account: int, wait: Wait | None) -> bool:
        """Waits as was asked for; whether the message is synced."""
        if (wait or self.names.wait_of(account)) == "durable":
            try:
                async with asyncio.timeout(self.options.answer_timeout_s):
                    await self.follower.wait_durable(sequence)
            except TimeoutError:
                raise UnconfirmedError(f"command {sequence} of orders is not on disk yet; ask again") from None
        return sequence <= self.follower.durable

    async def _sent(
        self,
        kind: int,
        account: int,
        instrument_id: int,
        instrument: str,
        body: bytes,
        wait: Wait | None,
    ) -> tuple[Judged, bool]:
        """Hands a command over and waits as was asked for; how it was judged, and whether it is synced."""
        return await self._answered(self._hand_over(kind, account, instrument_id, instrument, body), account, wait)

    def _hand_over(
        self, kind: int, account: int, instrument_id: int, instrument: str, body: bytes
    ) -> asyncio.Future[Judged]:
        """How the command is judged, which it is whether somebody waits for it or not. Raises: as `place`, nothing sent."""
        destination = destination_of(instrument, self._destinations)
        # Whoever wants to get out is never held up by those who want in.
        if kind in (CommandKind.PLACE, CommandKind.PLACE_PAIR, CommandKind.REPLACE):
            self._require_room(account, destination)
        judging = destination.send(commands.command(kind, account, instrument_id, body))
        for client_id in _client_ids(kind, body):
            if client_id != NO_CLIENT_ID:
                self._remember(account, client_id, _OnItsWay(instrument_id, judging))
        return judging

    def _require_room(self, account: int, destination: Destination) -> None:
        options = self.options
        if (still := destination.still) is not None:
            self.counts["overload"] += 1
            raise OrderEntryError(f"{still}; nothing was sent, try again")
        # Those that were given up on are in the second alone, those that wait for the disk in the first.
        waiting = max(self._waiting_count, destination.waiting)
        if waiting >= options.waiting_max:
            self.counts["overload"] += 1
            raise OrderEntryError(
                f"{waiting} commands wait for the venue, which is as many as may; nothing was sent, try again"
            )
        if self._waiting[account] >= options.waiting_of_account_max:
            self.counts["overload"] += 1
            raise TooManyWaitError(
                f"{self._waiting[account]} commands of the account wait to be acknowledged, which is as many as may; "
                "nothing was sent, try again"
            )

    def _remember(self, account: int, client_id: bytes, on_its_way: _OnItsWay) -> None:
        key = (account, client_id)
        self._on_their_way.setdefault(key, []).append(on_its_way)

        def arrived(_: object) -> None:
            left = self._on_their_way[key]
            left.remove(on_its_way)
            if not left:
                del self._on_their_way[key]

        on_its_way.judged.add_done_callback(arrived)

    async def _answered(self, judging: asyncio.Future[Judged], account: int, wait: Wait | None) -> tuple[Judged, bool]:
        """Waits as was asked for; how the command was judged, and whether it is synced."""
        options = self.options
        self._waiting[account] += 1
        self._waiting_count += 1
        try:
            async with asyncio.timeout(options.answer_timeout_s):
                # Who gives up does not make the venue forget it.
                judged = await asyncio.shield(judging)
                if (wait or self.names.wait_of(account)) == "durable":
                    await self.follower.wait_durable(judged.last_sequence)
        except TimeoutError:
            self.counts["unconfirmed"] += 1
            still = "".join(f"; {found.still}" for found in self._destinations.values() if found.still is not None)
            raise UnconfirmedError(
                f"not confirmed within {options.answer_timeout_s:g} s: the command was handed over and may still be carried "
                f"out; send the same request with the same client_order_id, or look at the order{still}"
            ) from None
        finally:
            self._waiting_count -= 1
            self._waiting[account] -= 1
            if not self._waiting[account]:
                del self._waiting[account]
        return judged, judged.last_sequence <= self.follower.durable

    def _lacks(self, judged: Judged) -> Shortfall | None:
        return self.follower.venue.shortfall(np.frombuffer(judged.command, COMMAND))

    def _refusal(self, judged: Judged) -> Refused | None:
        if judged.verdict == Verdict.REJECTED:
            self.counts["refused"] += 1
            lacks = self._lacks(judged) if judged.reason in (Reason.BALANCE, Reason.MARGIN) else None
            reason = words.REASONS.get(judged.reason, str(judged.reason))
            return Refused(judged.sequence, reason, "risk", lacks=lacks, bound=crossed(judged, self.follower))
        for execution in judged.executions:
            if execution.kind == ExecutionKind.REJECTED and execution.command_kind == judged.kind:
                self.counts["refused"] += 1
                order = self.follower.lives.orders.get(2 * judged.sequence)
                reason = words.REASONS.get(execution.reason, str(execution.reason))
                bound = crossed(judged, self.follower, execution.reason)
                return Refused(judged.sequence, reason, "matching", order, bound=bound)
        self.counts["done"] += 1
        return None


def _give_turn(turn: asyncio.Lock, judging: asyncio.Future[Judged] | None) -> None:
    """To who waits for it, when what was sent is judged; now, where nothing was."""
    if judging is None:
        turn.release()
    else:
        judging.add_done_callback(lambda _: turn.release())


def client_id_of(text: str) -> bytes:
    """The bytes of a client's id in a path. Raises: UsageError for what is none."""
    found = commands.client_id(text)
    if found == NO_CLIENT_ID:
        raise UsageError(f"{text!r} is no id of a client", client_order_id=text)
    return found


def _client_ids(kind: int, body: bytes) -> tuple[bytes, ...]:
    """Ids that orders get by a command; zeros for none."""
    match kind:
        case CommandKind.PLACE:
            return (body[:16],)
        case CommandKind.PLACE_PAIR:
            return (body[:16], body[16:32])
        case CommandKind.REPLACE:
            return (body[8:24],)
    return ()


def _same_order(kind: int, journaled: bytes, body: bytes) -> bool:
    """Whether a request asks for what was journaled. Risk may have put in the worst price of an order that had none."""
    if journaled == body:
        return True
    if kind != CommandKind.PLACE:
        return False
    (client_id, price, *rest), (own_id, own_price, *own_rest) = PLACE.unpack(journaled), PLACE.unpack(body)
    return own_price == 0 and price != 0 and (client_id, rest) == (own_id, own_rest) and rest[7] != OrderType.LIMIT


def _mass_cancelled(judged: Judged) -> int:
    return sum(execution.size for execution in judged.executions if execution.kind == ExecutionKind.MASS_CANCELLED)
