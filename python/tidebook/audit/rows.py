"""Rows of the audit trail, from commands as they are journaled and the executions they led to: a function of the two alone.

Work is done a column at a time, not a record at a time. Commands of a batch come with all executions of theirs, so that how an order ended is
known from the last thing that happened to it there: what is left of an order by amount may be 0 in units before the rest of it is cancelled.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from tidebook import venue
from tidebook.audit.schema import metadata
from tidebook.venue import LAYOUTS, CommandKind, ExecutionKind, Reason, Records, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable
    from enum import IntEnum

    from numpy.typing import NDArray

Rows = dict[str, list[tuple[Any, ...]]]
"""Of each table its rows, fields in the order of the schema; tables without a row are not there."""

_HEAD_FIELDS = frozenset(LAYOUTS[CommandKind.TIMER].names or ())
# Kinds whose bodies have no columns: their fields are told as JSON.
_TOLD = (
    CommandKind.CANCEL_ALL_AFTER,
    CommandKind.SESSION,
    CommandKind.INSTRUMENT,
    CommandKind.ACCOUNT,
    CommandKind.LIMITS,
    CommandKind.TRANSFER,
    CommandKind.KILL,
)
_PLACING = [CommandKind.PLACE, CommandKind.PLACE_PAIR]


_DEFINITIONS: tuple[tuple[str, CommandKind, tuple[str, ...]], ...] = (
    (
        "instruments",
        CommandKind.INSTRUMENT,
        ("tick", "lot", "price_exp", "size_exp", "base_asset", "quote_asset", "maker_ppm", "taker_ppm"),
    ),
    ("accounts", CommandKind.ACCOUNT, ("group", "flags")),
)


def _words(codes: type[IntEnum], *, none: bool = False) -> NDArray[np.object_]:
    """The word of each number that a byte can be; of one that means nothing its digits, for a refused command may have any."""
    words: list[str | None] = [str(code) for code in range(256)]
    for code in codes:
        words[code] = code.name.lower()
    if none:
        words[0] = None
    return np.array(words, dtype=object)


_KINDS = _words(CommandKind)
_REFUSED_KINDS = _words(CommandKind, none=True)
_VERDICTS = _words(Verdict)
_REASONS = _words(Reason, none=True)
_HAPPENINGS = _words(ExecutionKind)
_ORDER_TYPES = _words(venue.OrderType)
_TIMES_IN_FORCE = _words(venue.TimeInForce)
_SELF_TRADES = _words(venue.SelfTrade)
_PEGS = _words(venue.Peg, none=True)
_SIDES = np.array(
    [None, "buy", *(str(code) for code in range(2, 128)), *(str(code - 256) for code in range(128, 255)), "sell"],
    dtype=object,
)
"""By the byte of a signed number; None where a command has no side."""
_ORDER_SIDES = np.where(_SIDES == None, "0", _SIDES)  # noqa: E711 - each of an array
"""Of an order, which has one: a refused one may say 0."""
_FLAGS = np.array(
    [None, "post_only", "cancel_on_disconnect", "post_only cancel_on_disconnect", *map(str, range(4, 256))],
    dtype=object,
)
_ACCOUNT_FLAGS = np.array([None, "own_fees", "margin", "own_fees margin", *map(str, range(4, 256))], dtype=object)


def derive(first_sequence: int, commands: Records, executions: Records) -> Rows:
    """Rows of commands of `orders` that follow each other, whose executions are all of those.

    `commands` and `executions` have the layouts of docs/formats/orders.md.
    """
    rows: dict[str, list[tuple[Any, ...]]] = {table: [] for table in metadata.tables if table != "position"}
    sequences = np.arange(first_sequence, first_sequence + len(commands), dtype=np.int64)
    _add_commands(rows, sequences, commands)
    _add_executions(rows, executions)
    _add_definitions(rows, first_sequence, commands, executions)
    return {table: found for table, found in rows.items() if found}


def _side(values: NDArray[np.int8]) -> NDArray[np.object_]:
    return _SIDES[values.view(np.uint8)]


def _optional(values: NDArray[Any]) -> NDArray[np.object_]:
    """Numbers, None where they are 0; ids beyond 63 bits as the signed number of the same bits."""
    numbers = values.astype(np.int64)
    found = numbers.astype(object)
    found[numbers == 0] = None
    return found


def _client_ids(values: NDArray[np.uint8]) -> list[str | None]:
    """Texts of ids; bytes that are no text's in hexadecimal digits."""
    found: list[str | None] = [None] * len(values)
    for at in np.flatnonzero(values.any(axis=1)).tolist():
        raw = values[at].tobytes()
        found[at] = venue.client_order_text(raw) or f"0x{raw.hex()}"
    return found


def _put(rows: Rows, table: str, *columns: NDArray[Any] | list[Any]) -> None:
    values = [column if isinstance(column, list) else column.tolist() for column in columns]
    rows[table].extend(zip(*values, strict=True))


def _add_commands(rows: Rows, sequences: NDArray[np.int64], commands: Records) -> None:
    count = len(commands)
    kinds = commands["kind"]
    empty = np.full(count, None, dtype=object)
    order_ids, sides, details, client_ids = empty.copy(), empty.copy(), empty.copy(), empty.copy()
    terms = {name: empty.copy() for name in ("price", "size", "trigger_price", "display_size", "offset", "expire_ts")}

    def of(kind: CommandKind) -> tuple[NDArray[np.int64], Records]:
        at = np.flatnonzero(kinds == kind)
        return at, commands[at].view(LAYOUTS[kind])

    for kind in _PLACING:
        at, body = of(kind)
        if len(at):
            order_ids[at] = 2 * sequences[at]
            client_ids[at] = ids = _client_ids(body["client_order_id"])
            _add_orders(rows, kind, sequences[at], body, ids)
    at, body = of(CommandKind.REPLACE)
    if len(at):
        for name, column in terms.items():
            column[at] = _optional(body[name])
    for kind in (CommandKind.REPLACE, CommandKind.CANCEL):
        at, body = of(kind)
        if len(at):
            order_ids[at] = _optional(body["order_id"])
            client_ids[at] = _client_ids(body["client_order_id"])
    at, body = of(CommandKind.MASS_CANCEL)
    if len(at):
        sides[at] = _side(body["side"])
    for kind in _TOLD:
        at, body = of(kind)
        names = [name for name in body.dtype.names or () if name not in _HEAD_FIELDS]
        for index, record in zip(at.tolist(), body[names].tolist(), strict=True):
            details[index] = msgspec.json.encode(dict(zip(names, record, strict=True))).decode()
    # What was refused because it makes no sense is kept byte for byte: there is no other way to tell it.
    for index in np.flatnonzero(
        (commands["verdict"] != Verdict.ACCEPTED) & (commands["reason"] == Reason.FIELDS)
    ).tolist():
        details[index] = msgspec.json.encode({"record": commands[index].tobytes().hex()}).decode()
    _put(
        rows,
        "commands",
        sequences,
        commands["ts"],
        commands["source_sequence"].astype(np.int64),
        commands["executions_seen"].astype(np.int64),
        commands["account"],
        commands["instrument_id"],
        _KINDS[kinds],
        _VERDICTS[commands["verdict"]],
        _REASONS[commands["reason"]],
        order_ids,
        client_ids,
        sides,
        *terms.values(),
        details,
    )


def _add_orders(
    rows: Rows, kind: CommandKind, sequences: NDArray[np.int64], body: Records, client_ids: list[str | None]
) -> None:
    """Orders that were placed, refused ones too, and the endings of those that risk refused."""
    nothing: list[None] = [None] * len(body)
    verdicts, reasons = _VERDICTS[body["verdict"]], _REASONS[body["reason"]]
    ids = 2 * sequences

    def put(order_ids: NDArray[np.int64], client: list[str | None], *terms: NDArray[Any] | list[Any]) -> None:
        head = (sequences, body["ts"], body["account"], body["instrument_id"], verdicts, reasons)
        _put(rows, "orders", order_ids, *head, client, _ORDER_SIDES[body["side"].view(np.uint8)], *terms)

    time_in_force, self_trade = _TIMES_IN_FORCE[body["time_in_force"]], _SELF_TRADES[body["self_trade"]]
    price, size, trigger = (_optional(body[name]) for name in ("price", "size", "trigger_price"))
    expire, flags = _optional(body["expire_ts"]), _FLAGS[body["flags"]]
    if kind == CommandKind.PLACE:
        put(
            ids,
            client_ids,
            _ORDER_TYPES[body["order_type"]],
            time_in_force,
            self_trade,
            _PEGS[body["peg"]],
            flags,
            price,
            size,
            _optional(body["amount"]),
            trigger,
            _optional(body["display_size"]),
            _optional(body["offset"]),
            expire,
            nothing,
        )
        legs = [(ids, price)]
    else:
        limit_price = _optional(body["limit_price"])
        stop_type = np.where(body["limit_price"] == 0, "stop", "stop_limit").astype(object)
        of_stop = _FLAGS[body["flags"] & 0b10]
        common = (time_in_force, self_trade, nothing)
        put(
            ids,
            client_ids,
            ["limit"] * len(ids),
            *common,
            flags,
            price,
            size,
            nothing,
            nothing,
            nothing,
            nothing,
            expire,
            ids + 1,
        )
        stop_ids = _client_ids(body["stop_client_order_id"])
        put(
            ids + 1,
            stop_ids,
            stop_type,
            *common,
            of_stop,
            limit_price,
            size,
            nothing,
            trigger,
            nothing,
            nothing,
            expire,
            ids,
        )
        legs = [(ids, price), (ids + 1, limit_price)]
    refused = np.flatnonzero(body["verdict"] != Verdict.ACCEPTED)
    for order_ids, its_price in legs if len(refused) else ():
        _put(
            rows,
            "endings",
            order_ids[refused],
            sequences[refused],
            [None] * len(refused),
            [0] * len(refused),
            body["ts"][refused],
            body["account"][refused],
            body["instrument_id"][refused],
            ["refused"] * len(refused),
            reasons[refused],
            _side(body["side"][refused]),
            its_price[refused],
            body["size"][refused],
        )


def _add_executions(rows: Rows, executions: Records) -> None:
    is_fill = executions["kind"] == ExecutionKind.FILL
    others, trades = executions[~is_fill], executions[is_fill]
    order_ids = others["order_id"].astype(np.int64)
    # The venue names no order when it refuses a new one: it has none yet. Its life is told under the id it would have had.
    of_place = (others["kind"] == ExecutionKind.REJECTED) & np.isin(others["command_kind"], _PLACING)
    order_ids = np.where(of_place, 2 * others["source_sequence"].astype(np.int64), order_ids)
    _put(
        rows,
        "events",
        others["sequence"].astype(np.int64),
        others["source_sequence"].astype(np.int64),
        others["source_index"],
        others["ts"],
        others["instrument_id"],
        others["account"],
        _optional(order_ids),
        _HAPPENINGS[others["kind"]],
        _REASONS[others["reason"]],
        _side(others["side"]),
        others["price"],
        others["size"],
        others["remaining"],
        others["filled"],
        _REFUSED_KINDS[others["command_kind"]],
    )
    _add_fills(rows, trades)
    _add_endings(rows, others, order_ids, of_place, trades)


def _add_fills(rows: Rows, trades: Records) -> None:
    in_auction = trades["side"] == 0
    # In an auction the order is the buyer's.
    side = np.where(in_auction, 1, trades["side"]).astype(np.int8)
    common = ("sequence", "source_sequence", "source_index", "ts", "instrument_id", "trade_id")
    sequence, source, *rest = (trades[name].astype(np.int64) for name in common)
    own, other = trades["order_id"].astype(np.int64), trades["contra_order_id"].astype(np.int64)
    for order_ids, account, its_side, word, remaining, fee, counter_ids, counter in (
        (own, "account", side, "taker", "remaining", "fee", other, "contra_account"),
        (other, "contra_account", -side, "maker", "contra_remaining", "contra_fee", own, "account"),
    ):
        _put(
            rows,
            "fills",
            order_ids,
            sequence,
            source,
            *rest,
            trades[account],
            _side(its_side),
            np.where(in_auction, "auction", word),
            trades["price"],
            trades["size"],
            trades[remaining],
            trades[fee],
            counter_ids,
            trades[counter],
        )


def _add_endings(
    rows: Rows, others: Records, order_ids: NDArray[np.int64], of_place: NDArray[np.bool_], trades: Records
) -> None:
    """Of each order that ended: by the last execution that left nothing of it."""
    ends = {ExecutionKind.CANCELLED: "cancelled", ExecutionKind.REDUCED: "reduced", ExecutionKind.REJECTED: "refused"}
    gone = (others["kind"] == ExecutionKind.CANCELLED) | of_place
    gone |= (others["kind"] == ExecutionKind.REDUCED) & (others["remaining"] == 0)
    found: dict[int, tuple[Any, ...]] = {}

    def end(order: int, execution: int, *facts: Any) -> None:
        if order not in found or found[order][2] < execution:
            found[order] = (order, facts[0], execution, *facts[1:])

    for trade_orders, account, sign, remaining in (
        ("order_id", "account", 1, "remaining"),
        ("contra_order_id", "contra_account", -1, "contra_remaining"),
    ):
        done = trades[trades[remaining] == 0]
        side = sign * np.where(done["side"] == 0, 1, done["side"]).astype(np.int8)
        names = ("source_sequence", "source_index", "ts", account, "instrument_id")
        columns = [done[name].tolist() for name in (trade_orders, "sequence", *names)]
        for (*facts,), word in zip(zip(*columns, strict=True), _side(side.astype(np.int8)).tolist(), strict=True):
            end(*facts, "filled", None, word, None, 0)
    last = others[gone]
    facts_of_last = ("sequence", "source_sequence", "source_index", "ts", "account", "instrument_id")
    columns = [order_ids[gone].tolist(), *(last[name].tolist() for name in facts_of_last)]
    columns += [[ends[kind] for kind in last["kind"].tolist()], _REASONS[last["reason"]].tolist()]
    columns += [_side(last["side"]).tolist(), _optional(last["price"]).tolist(), last["size"].tolist()]
    of_pair = (last["command_kind"] == CommandKind.PLACE_PAIR).tolist()
    for (*facts,), both in zip(zip(*columns, strict=True), of_pair, strict=True):
        end(*facts)
        if both:
            end(facts[0] + 1, *facts[1:])
    rows["endings"].extend(found.values())


def _add_definitions(rows: Rows, first_sequence: int, commands: Records, executions: Records) -> None:
    """Instruments and accounts as the venue took them: what it refused, though risk let it pass, changed nothing."""
    for table, kind, names in _DEFINITIONS:
        done = executions[(executions["kind"] == ExecutionKind.DONE) & (executions["command_kind"] == kind)]
        sequences = done["source_sequence"].astype(np.int64)
        taken = commands[sequences - first_sequence].view(LAYOUTS[kind])
        subject = taken["instrument_id" if kind == CommandKind.INSTRUMENT else "account"]
        values: Iterable[NDArray[Any]] = (
            _ACCOUNT_FLAGS[taken[name]] if name == "flags" else taken[name] for name in names
        )
        _put(rows, table, subject, sequences, taken["ts"], *values)
