"""What waits to be sent to one WebSocket client.

Frames of state streams (depth, tops, feed health) replace each other: a slow client gets the newest and loses nothing
it would still want. Frames of event streams (trades) and answers must all arrive, so they queue, within bounds; a
client that lets them overflow is told so and closed. Nothing here can grow without limit, and nothing waits.
"""

from collections import deque

EVENTS_MAX = 2_000
EVENTS_SIZE_MAX = 4 << 20


class Mailbox:
    """Frames for one client, as JSON text. Events leave first, so an answer precedes the snapshot it announces."""

    __slots__ = ("_events", "_events_size", "_states", "replaced")

    def __init__(self) -> None:
        self._events: deque[str] = deque()
        self._events_size = 0
        self._states: dict[str, str] = {}
        self.replaced = 0
        """State frames that a newer one overtook."""

    def put_state(self, stream: str, frame: str) -> None:
        """Leaves `frame` as the newest of `stream`; it keeps the place in line of the one it replaces."""
        if stream in self._states:
            self.replaced += 1
        self._states[stream] = frame

    def put_event(self, frame: str) -> bool:
        """Queues `frame`; False when that would exceed `EVENTS_MAX` frames or `EVENTS_SIZE_MAX` characters."""
        size = self._events_size + len(frame)
        if len(self._events) >= EVENTS_MAX or size > EVENTS_SIZE_MAX:
            return False
        self._events.append(frame)
        self._events_size = size
        return True

    def forget(self, stream: str) -> None:
        """Drops a waiting state frame of `stream`: its client unsubscribed."""
        self._states.pop(stream, None)

    def take(self) -> str | None:
        """The next frame to send; None when nothing waits."""
        if self._events:
            frame = self._events.popleft()
            self._events_size -= len(frame)
            return frame
        if self._states:
            return self._states.pop(next(iter(self._states)))
        return None
