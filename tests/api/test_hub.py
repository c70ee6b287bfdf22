"""The hub encodes once, answers a subscription with a snapshot, and neither repeats nor loses an event."""

from typing import Any

import msgspec
import pytest

from tests.api.conftest import BTC, BTC_DEFINITION, SECOND, START, Desk, book, trade
from tidebook.api.hub import CLOSE_SLOW_CONSUMER, Client, Hub
from tidebook.api.mailbox import EVENTS_MAX
from tidebook.api.problems import ApiError
from tidebook.feeds.status import StatusKind

DEPTH = "btcusdt.binance@depth20"
TRADE = "btcusdt.binance@trade"


def received(client: Client) -> list[dict[str, Any]]:
    return [msgspec.json.decode(frame) for frame in iter(client.mailbox.take, None)]


def joined(hub: Hub, *streams: str) -> Client:
    client = hub.join()
    for stream in streams:
        hub.subscribe(client, hub.open(stream))
    return client


@pytest.fixture
def hub(desk: Desk) -> Hub:
    hub = desk.app.state.hub
    assert isinstance(hub, Hub)
    return hub


def test_a_frame_is_encoded_once_for_any_number_of_clients(desk: Desk, hub: Hub) -> None:
    clients = [joined(hub, DEPTH) for _ in range(20)]
    hub.publish()
    assert [[frame["stream"] for frame in received(client)] for client in clients] == [["!heartbeat"]] * 20
    before = hub.counters.encoded
    for price in (100, 101, 102):
        desk.source.put("md.book", book([(price, 1)], [(price + 1, 1)], venue_sequence=price))
        desk.step()
        hub.publish()
        frames = [client.mailbox.take() for client in clients]
        assert len({id(frame) for frame in frames}) == 1
        assert msgspec.json.decode(frames[0] or "")["data"]["last_update_id"] == price
    assert hub.counters.encoded - before == 3


def test_nothing_is_encoded_when_nothing_changed_or_nobody_listens(desk: Desk, hub: Hub) -> None:
    desk.source.put("md.book", book([(100, 1)], [(101, 1)]))
    desk.step()
    hub.publish()
    assert hub.counters.encoded == 0
    client = joined(hub, DEPTH)
    hub.publish()
    hub.publish()
    assert [frame["stream"] for frame in received(client)] == [DEPTH, "!heartbeat"]
    hub.leave(client)
    desk.source.put("md.book", book([(100, 2)], [(101, 1)]))
    desk.step()
    before = hub.counters.encoded
    hub.publish()
    assert hub.counters.encoded == before


def test_a_subscription_begins_with_the_present_state_also_after_a_silence(desk: Desk, hub: Hub) -> None:
    desk.source.put("md.book", book([(100, 1)], [(101, 1)], venue_sequence=1))
    desk.step()
    first = joined(hub, DEPTH)
    hub.leave(first)
    desk.source.put("md.book", book([(200, 1)], [(201, 1)], venue_sequence=2))
    desk.step()
    assert received(joined(hub, DEPTH))[0]["data"]["last_update_id"] == 2


def test_a_late_subscriber_takes_nothing_from_those_who_were_there(desk: Desk, hub: Hub) -> None:
    """The change came, was not published yet, and then somebody else subscribes."""
    desk.source.put("md.book", book([(100, 1)], [(101, 1)], venue_sequence=1))
    desk.step()
    first = joined(hub, DEPTH)
    assert [frame["data"]["last_update_id"] for frame in received(first)] == [1]
    desk.source.put("md.book", book([(100, 1)], [(101, 1)], venue_sequence=2))
    desk.step()
    second = joined(hub, DEPTH)
    assert [frame["data"]["last_update_id"] for frame in received(second)] == [1]
    hub.publish()
    for client in (first, second):
        assert [frame["data"]["last_update_id"] for frame in received(client) if "data" in frame] == [2]


def test_trades_reach_old_and_new_subscribers_once_each(desk: Desk, hub: Hub) -> None:
    """Trades 1-2 before anybody, 3 published, 4 pending when the second client comes, 5 later."""
    desk.source.put("md.trades", trade(1), trade(2))
    desk.step()
    first = joined(hub, TRADE)
    desk.source.put("md.trades", trade(3))
    desk.step()
    hub.publish()
    desk.source.put("md.trades", trade(4))
    desk.step()
    second = joined(hub, TRADE)
    hub.publish()
    desk.source.put("md.trades", trade(5))
    desk.step()
    hub.publish()

    def story(client: Client) -> list[tuple[int, bool, list[int]]]:
        frames = [frame for frame in received(client) if frame["stream"] == TRADE]
        return [(frame["seq"], frame.get("snapshot", False), [row["id"] for row in frame["data"]]) for frame in frames]

    assert story(first) == [(0, True, [1, 2]), (1, False, [3]), (2, False, [4]), (3, False, [5])]
    assert story(second) == [(1, True, [1, 2, 3]), (2, False, [4]), (3, False, [5])]


def test_trades_overwritten_before_the_server_read_them_are_said_in_the_frame(desk: Desk, hub: Hub) -> None:
    client = joined(hub, TRADE)
    desk.source.put("md.trades", trade(9), missed=4)
    desk.step()
    hub.publish()
    assert received(client)[1] | {"ts": 0, "data": 0} == {"stream": TRADE, "seq": 1, "ts": 0, "data": 0, "missed": 4}


def test_a_client_whose_events_overflow_is_ended_and_others_are_not(desk: Desk, hub: Hub) -> None:
    slow, fast = joined(hub, TRADE), joined(hub, TRADE)
    seen = len(received(fast))
    for number in range(EVENTS_MAX):
        desk.source.put("md.trades", trade(number))
        desk.step()
        hub.publish()
        seen += sum(frame["stream"] == TRADE for frame in received(fast))
    assert (slow.close_code, fast.close_code) == (CLOSE_SLOW_CONSUMER, None)
    assert slow.ended.is_set()
    assert (seen, hub.counters.slow_consumers) == (EVENTS_MAX + 1, 1)


def test_feed_health_and_heartbeat_come_once_a_second(desk: Desk, hub: Hub) -> None:
    client = joined(hub, "!feeds")
    for tenth in range(30):
        desk.clock.now += SECOND // 10
        hub.publish()
        if tenth % 10 == 9:
            assert [frame["stream"] for frame in received(client)] == ["!feeds", "!heartbeat"]


def test_a_second_subscription_changes_nothing_and_an_ended_one_is_silent(desk: Desk, hub: Hub) -> None:
    desk.source.put("md.book", book([(100, 1)], [(101, 1)]))
    desk.step()
    client = joined(hub, DEPTH, DEPTH, "BTCUSDT.BINANCE@depth20")
    assert [frame["seq"] for frame in received(client)] == [1]
    assert hub.unsubscribe(client, DEPTH)
    assert not hub.unsubscribe(client, DEPTH)
    desk.source.put("md.book", book([(99, 1)], [(101, 1)]))
    desk.step()
    hub.publish()
    assert [frame["stream"] for frame in received(client)] == ["!heartbeat"]


def test_a_stream_that_cannot_be_is_refused_with_those_that_can(desk: Desk, hub: Hub) -> None:
    for name in ("btcusdt.binance@depth", "depth20", "!storage", "@trade", ""):
        with pytest.raises(
            ApiError,
            match=r"@depth20, <instrument>@bookTicker, .*@depth20_step_<step>, .*@kline_1d, .*@analytics_1d, !tops and !feeds",
        ):
            hub.open(name)


def test_an_instrument_redefined_keeps_its_streams(desk: Desk, hub: Hub) -> None:
    client = joined(hub, DEPTH)
    desk.source.put("md.instruments", {**BTC_DEFINITION, "instrument_version": 2, "price_exp": 3})
    desk.source.put("md.book", book([(100, 1)], [(101, 1)], price_exp=3))
    desk.step()
    hub.publish()
    assert received(client)[0]["data"]["bids"] == [["0.100", "0.00001"]]


def lines(frame: dict[str, Any]) -> list[dict[str, Any]]:
    data = frame["data"]
    return [dict(zip(data["fields"], row, strict=True)) for row in data["rows"]]


def test_tops_say_every_instrument_in_a_line_as_rest_does_four_times_a_second(desk: Desk, hub: Hub) -> None:
    desk.source.put("md.book", book([(10_000, 7)], [(10_002, 9)], ts_recv=START))
    desk.source.put("md.trades", trade(1, side=-1, ts_recv=START + SECOND))
    desk.step()
    client = joined(hub, "!tops")
    (frame,) = received(client)
    assert lines(frame) == [msgspec.to_builtins(view.line()) for view in desk.view.instruments()]
    btc, xrp = lines(frame)
    assert [btc[name] for name in ("venue", "book", "bid_price", "ask_price", "last_price", "last_side")] == [
        "binance",
        "usable",
        "100.00",
        "100.02",
        "100.00",
        "sell",
    ]
    assert btc["updated_at"] == btc["last_at"] == (START + SECOND) // 1000
    assert [xrp[name] for name in ("book", "bid_price", "last_price", "last_at", "updated_at")] == [
        "none",
        None,
        None,
        0,
        0,
    ]
    published = []
    for step in range(10):
        desk.clock.now += SECOND // 10
        desk.source.put("md.book", book([(20_000 + step, 1)], []))
        desk.step()
        hub.publish()
        published += [frame for frame in received(client) if frame["stream"] == "!tops"]
    assert [frame["seq"] for frame in published] == [2, 3, 4, 5]
    assert lines(published[-1])[0]["bid_price"] == "200.09"


def test_tops_encode_only_the_lines_that_changed(desk: Desk, hub: Hub) -> None:
    joined(hub, "!tops")
    btc, xrp = desk.view.instruments()
    before = (btc.encoded_line(), xrp.encoded_line())
    desk.source.put("md.book", book([(10_000, 7)], []))
    desk.step()
    assert xrp.encoded_line() is before[1]
    assert btc.encoded_line() is not before[0]


def test_a_line_says_the_gaps_of_its_instrument_and_that_its_book_is_unusable(desk: Desk, hub: Hub) -> None:
    desk.source.put("md.status", {"instrument_id": BTC, "kind": StatusKind.GAP})
    desk.source.put("md.book", book([(10_000, 7)], [], usable=0))
    desk.step()
    btc, xrp = lines(received(joined(hub, "!tops"))[0])
    assert (btc["gaps"], btc["book"], xrp["gaps"]) == (1, "unusable", 0)


def test_tops_of_nothing_are_said_too(hub: Hub, desk: Desk) -> None:
    desk.view._by_name.clear()
    assert lines(received(joined(hub, "!tops"))[0]) == []
