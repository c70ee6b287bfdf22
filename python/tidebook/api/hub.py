"""One hub per process: each frame is encoded once and handed to every subscriber's mailbox.

The hub never sends. It fills mailboxes at a steady pace and wakes the clients, whose own tasks wait for their sockets,
so one slow browser cannot hold up another. Kept apart from any socket, so that a raw or Rust fan-out can replace the
sending side without touching what is said.
"""

import asyncio
from dataclasses import dataclass

from tidebook.api import wire
from tidebook.api.mailbox import Mailbox
from tidebook.api.topics import Topic, open_topic
from tidebook.api.view import MarketView

HEARTBEAT_INTERVAL_NS = 1_000_000_000

CLOSE_SLOW_CONSUMER = 4008


@dataclass(slots=True)
class HubCounters:
    """What the hub did since it began."""

    encoded: int = 0
    """Frames turned into JSON."""
    offered: int = 0
    """Frames put into mailboxes."""
    slow_consumers: int = 0
    """Clients closed because their events overflowed."""


class Client:
    """One subscriber: its mailbox, its streams, the bell that wakes its sender, and why it must end, if it must."""

    def __init__(self) -> None:
        self.mailbox = Mailbox()
        self.streams: dict[str, Topic] = {}
        self.bell = asyncio.Event()
        self.ended = asyncio.Event()
        self.close_code: int | None = None

    def put_event(self, frame: str) -> None:
        """Queues `frame`; a client whose queue overflows is ended as a slow consumer."""
        if self.mailbox.put_event(frame):
            self.bell.set()
        else:
            self.end(CLOSE_SLOW_CONSUMER)

    def put_state(self, stream: str, frame: str) -> None:
        """Leaves `frame` as the newest of `stream`."""
        self.mailbox.put_state(stream, frame)
        self.bell.set()

    def end(self, close_code: int) -> None:
        """Has the session close with `close_code`; the first reason given counts."""
        if self.close_code is None:
            self.close_code = close_code
            self.ended.set()


class Hub:
    """Streams of one `MarketView` to any number of clients. Belongs to the event loop's thread."""

    def __init__(self, view: MarketView) -> None:
        self._view = view
        self._clients: set[Client] = set()
        # Topics stay once opened (at most four per instrument), so a sequence never starts again.
        self._topics: dict[str, Topic] = {}
        self._subscribers: dict[Topic, set[Client]] = {}
        self._heartbeats = 0
        self._heartbeat_second = 0
        self.counters = HubCounters()

    @property
    def clients(self) -> int:
        """Clients connected now."""
        return len(self._clients)

    def join(self) -> Client:
        """A new client without streams."""
        client = Client()
        self._clients.add(client)
        return client

    def leave(self, client: Client) -> None:
        """Ends `client`."""
        self._clients.discard(client)
        for topic in client.streams.values():
            self._subscribers[topic].discard(client)

    def open(self, stream: str) -> Topic:
        """The topic called `stream`, in any case of the instrument.

        Raises: ApiError for a stream that cannot be, UnknownInstrumentError.
        """
        topic = self._topics.get(stream)
        if topic is None:
            opened = open_topic(stream, self._view)
            topic = self._topics.setdefault(opened.stream, opened)
            self._subscribers.setdefault(topic, set())
        return topic

    def subscribe(self, client: Client, topic: Topic) -> None:
        """Adds `topic` to `client`, its snapshot first. A second subscription changes nothing."""
        if topic.stream in client.streams:
            return
        subscribers = self._subscribers[topic]
        before = topic.encodes
        if not subscribers:
            topic.resume()
        snapshot = topic.snapshot()
        self.counters.encoded += topic.encodes - before
        client.streams[topic.stream] = topic
        subscribers.add(client)
        if snapshot is not None:
            self._offer(client, topic, snapshot)

    def unsubscribe(self, client: Client, stream: str) -> bool:
        """Removes `stream` from `client`; False when it had none of that name."""
        topic = client.streams.pop(stream, None)
        if topic is None:
            return False
        self._subscribers[topic].discard(client)
        client.mailbox.forget(stream)
        return True

    def publish(self) -> None:
        """Encodes what changed since the last call and offers it to its subscribers; call at the pace of the streams."""
        for topic, subscribers in self._subscribers.items():
            if not subscribers:
                continue
            frame = topic.news()
            if frame is not None:
                self.counters.encoded += 1
                for client in subscribers:
                    self._offer(client, topic, frame)
        second = self._view.clock() // HEARTBEAT_INTERVAL_NS
        if second != self._heartbeat_second and self._clients:
            self._heartbeat_second = second
            self._heartbeats += 1
            beat = wire.encode(wire.Frame("!heartbeat", self._heartbeats, self._view.clock() // 1000)).decode()
            self.counters.encoded += 1
            for client in self._clients:
                client.put_state("!heartbeat", beat)
            self.counters.offered += len(self._clients)

    def _offer(self, client: Client, topic: Topic, frame: str) -> None:
        if client.close_code is not None:
            return
        self.counters.offered += 1
        if topic.is_state:
            client.put_state(topic.stream, frame)
        else:
            client.put_event(frame)
            self.counters.slow_consumers += client.close_code == CLOSE_SLOW_CONSUMER
