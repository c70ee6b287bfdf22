"""The hub encodes once, answers a subscription with a snapshot, and neither repeats nor loses an event."""

from typing import Any

import msgspec
import pytest

from tests.api.conftest import BTC_DEFINITION, SECOND, Desk, book, trade
from tidebook.api.hub import CLOSE_SLOW_CONSUMER, Client, Hub
from tidebook.api.mailbox import EVENTS_MAX
from tidebook.api.problems import ApiError

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
        with pytest.raises(ApiError, match="@depth20, <instrument>@bookTicker, <instrument>@trade and !feeds"):
            hub.open(name)


def test_an_instrument_redefined_keeps_its_streams(desk: Desk, hub: Hub) -> None:
    client = joined(hub, DEPTH)
    desk.source.put("md.instruments", {**BTC_DEFINITION, "instrument_version": 2, "price_exp": 3})
    desk.source.put("md.book", book([(100, 1)], [(101, 1)], price_exp=3))
    desk.step()
    hub.publish()
    assert received(client)[0]["data"]["bids"] == [["0.100", "0.00001"]]
