"""What a refused command crossed, in a sentence: the bound and its value, where the gateway knows it.

Risk and matching give a reason of one word, which programs go by. Who reads it wants to know which tick, which limit, which session; that is in
definitions, limits and sessions as the gateway has them. They are those of now: a moment later than those that the command was judged by, so
a sentence is given only where the command does cross them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tidebook._core import format_units
from tidebook.gateway import words
from tidebook.gateway.layouts import INSTRUMENT, PAIR, PLACE, REPLACE, SESSION
from tidebook.venue.codes import CommandKind, Reason

if TYPE_CHECKING:
    from tidebook.gateway.following import Judged, OrdersFollower
    from tidebook.gateway.layouts import Definition

_SESSIONS_TAKE: Final = {
    "closed": "nothing is placed or replaced",
    "halted": "nothing is placed or replaced",
    "pre_open": "only limit orders gtc, day and gtd that are not post-only, and stops, are placed",
    "auction": "only limit orders gtc, day and gtd that are not post-only, and stops, are placed",
}
_PPM: Final = 1_000_000
_PARTS_MAX: Final = 100
"""Of an iceberg."""


def crossed(judged: Judged, follower: OrdersFollower, reason: int | None = None) -> str | None:
    """Of a command that was refused, for its own reason unless another is given."""
    reason = judged.reason if reason is None else reason
    lives = follower.lives
    account, instrument_id = judged.account, judged.instrument_id
    definition = lives.definitions.get(instrument_id)
    if judged.kind == CommandKind.INSTRUMENT:
        return _of_definition(judged, definition) if reason == Reason.DEFINITION else None
    if definition is None:
        return None
    prices, sizes = _asked(judged)
    price_exp, size_exp = definition.price_exp, definition.size_exp

    def price(units: int) -> str:
        return format_units(units, price_exp)

    def size(units: int) -> str:
        return format_units(units, size_exp)

    limits = lives.limits.get((account, instrument_id))
    whole = lives.limits.get((account, 0))
    match reason:
        case Reason.TICK | Reason.TRIGGER_PRICE | Reason.OFFSET:
            for field, units in prices.items():
                if units % definition.tick:
                    return f"{field} {price(units)} is no multiple of the tick {price(definition.tick)}"
            if reason == Reason.TRIGGER_PRICE and judged.kind == CommandKind.PLACE_PAIR:
                return "the last trade has reached its trigger_price already"
        case Reason.LOT | Reason.DISPLAY_SIZE:
            for field, units in sizes.items():
                if units % definition.lot:
                    return f"{field} {size(units)} is no multiple of the lot {size(definition.lot)}"
            shown, asked = sizes.get("display_size", 0), sizes.get("size", 0)
            if reason == Reason.DISPLAY_SIZE and shown >= asked > 0:
                return f"display_size {size(shown)} is not below the size {size(asked)}"
            if reason == Reason.DISPLAY_SIZE and asked > _PARTS_MAX * shown > 0:
                return f"display_size {size(shown)} is less than a hundredth of the size {size(asked)}"
        case Reason.SIZE:
            asked = sizes.get("size", 0)
            keeps = judged.kind == CommandKind.REPLACE and not asked
            if not keeps and not max(1, definition.size_min) <= asked <= definition.size_max:
                return (
                    f"size {size(asked)} is not within size_min {size(definition.size_min)} and size_max "
                    f"{size(definition.size_max)}"
                )
            if judged.kind == CommandKind.REPLACE and not keeps:
                return "the whole size counts what is filled, and is above that"
        case Reason.PRICE:
            bound = "limit_price" if judged.kind == CommandKind.PLACE_PAIR else "price"
            if not prices.get(bound) and lives.is_margin(account):
                return f"no reference price yet: give `{bound}` or list a reference_price"
            if not prices.get("price") and judged.kind != CommandKind.REPLACE:
                return (
                    "a spot account's order without a price needs a worst one, and there is no collar and no band with a reference "
                    "price to take it from: give `price`, or list a band_ppm and a reference_price, or set a collar_ppm"
                )
        case Reason.COLLAR:
            ppm = (limits and limits.collar_ppm) or (whole and whole.collar_ppm)
            in_force = follower.venue.definition(
                instrument_id
            )  # the last command may have left the reference as it was
            reference = follower.venue.last_trade(instrument_id) or (
                0 if in_force is None else int(in_force["reference_price"])
            )
            for field in ("price", "limit_price"):
                units = prices.get(field, 0)
                if ppm and reference and units and abs(units - reference) * _PPM > reference * ppm:
                    # A pair's `price` is its limit order's.
                    of_stop = prices.get("trigger_price") and (field == "limit_price" or "limit_price" not in prices)
                    return (
                        f"a price may be {ppm} ppm (collar_ppm) from the reference, which is {price(reference)}"
                        f"{', or from the trigger' if of_stop else ''}"
                    )
        case Reason.POSITION:
            if limits and limits.position_max:
                held = (it.position for it in follower.venue.positions(account) if it.instrument_id == instrument_id)
                return f"position_max is {size(limits.position_max)}: with the position, {size(next(held, 0))}, and open orders it would be passed"
        case Reason.ORDER_SIZE:
            if limits and limits.order_size_max:
                return f"order_size_max is {size(limits.order_size_max)}"
        case Reason.ORDER_NOTIONAL:
            if limits and limits.order_notional_max:
                return f"order_notional_max is {price(limits.order_notional_max)}"
        case Reason.EXPOSURE:
            said = [f"{price(limits.exposure_max)} of the instrument"] if limits and limits.exposure_max else []
            if whole and whole.exposure_max:
                said.append(f"{format_units(whole.exposure_max, whole.exposure_exp)} of the account")
            if said:
                return f"exposure_max is {' and '.join(said)}"
        case Reason.OPEN_ORDERS:
            said = [f"{limits.open_orders_max} of the instrument"] if limits and limits.open_orders_max else []
            if whole and whole.open_orders_max:
                said.append(f"{whole.open_orders_max} of the account")
            if said:
                return f"open_orders_max is {' and '.join(said)}"
        case Reason.THROTTLED:
            said = [
                f"{it.commands_per_s} commands a second of the {of}, {it.burst or it.commands_per_s} at once"
                for it, of in ((limits, "instrument"), (whole, "account"))
                if it is not None and it.commands_per_s
            ]
            if said:
                return " and ".join(said)
        case Reason.SESSION:
            now = words.SESSIONS[lives.sessions.get(instrument_id, 0)]
            if judged.kind == CommandKind.SESSION:
                return f"the session is {now}, from which there is no way to {words.SESSIONS[SESSION.unpack(judged.body)[0]]}"
            if now in _SESSIONS_TAKE:
                return f"the session is {now}, in which {_SESSIONS_TAKE[now]}"
        case Reason.LINKED:
            return "the order is a leg of a pair whose other leg is there: cancel it and place another"
        case Reason.EXPIRED:
            return f"expire_ts is not later than the venue's time, {follower.venue.ts // 1_000} (microseconds)"
    return None


def _asked(judged: Judged) -> tuple[dict[str, int], dict[str, int]]:
    """Prices and sizes of an order or its new state, by the names of requests."""
    match judged.kind:
        case CommandKind.PLACE:
            _, price, size, _, trigger, display, offset, *_ = PLACE.unpack(judged.body)
            return (
                {"price": price, "trigger_price": trigger, "offset": offset},
                {"size": size, "display_size": display},
            )
        case CommandKind.PLACE_PAIR:
            _, _, price, size, trigger, limit, *_ = PAIR.unpack(judged.body)
            return {"price": price, "trigger_price": trigger, "limit_price": limit}, {"size": size}
        case CommandKind.REPLACE:
            _, _, price, size, trigger, display, offset, _ = REPLACE.unpack(judged.body)
            return (
                {"price": price, "trigger_price": trigger, "offset": offset},
                {"size": size, "display_size": display},
            )
    return {}, {}


def _of_definition(judged: Judged, now: Definition | None) -> str:
    tick, lot, size_min, size_max, _, _, maker, taker, base, quote, price_exp, size_exp, _ = INSTRUMENT.unpack(
        judged.body
    )
    if price_exp + size_exp > 18:
        return f"decimals of prices and sizes, {price_exp} and {size_exp}, are more than 18 together"
    if base == quote:
        return "base and quote are the same asset"
    if size_min > size_max:
        return "size_min is above size_max"
    if size_max < lot:
        return "size_max is below the lot"
    if max(abs(maker), abs(taker)) > _PPM // 2:
        return "maker_ppm and taker_ppm are at most 500,000 to either side"
    if now is not None and (price_exp, size_exp) != (now.price_exp, now.size_exp):
        return f"the decimals of its prices and sizes stay {now.price_exp} and {now.size_exp}"
    if now is not None and (tick, lot, size_max) != (now.tick, now.lot, now.size_max):
        return "tick, lot and size_max change only while it has no open order"
    return "there is no room for another instrument"
