"""One thread looks after all things of a kind, and goes on whatever one of them raises."""

import logging
import threading
from dataclasses import dataclass, field

import pytest

from tidebook.transport.rounds import Rounds

LONG_S = 60.0
LOOKS = 3


class Panic(BaseException):
    """As the core raises, which is no `Exception`."""


@dataclass(eq=False)
class Thing:
    raises: BaseException | None
    looks: int = 0
    seen: threading.Event = field(default_factory=threading.Event)

    def look(self) -> None:
        self.looks += 1
        if self.looks == LOOKS:
            self.seen.set()
        if self.raises is not None:
            raise self.raises


@pytest.mark.parametrize("raised", [ValueError("of one"), Panic("of one")], ids=["error", "panic"])
def test_what_looking_after_one_raises_is_said_once_and_all_are_looked_after_on(
    raised: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    rounds = Rounds("tidebook-test", Thing.look)
    wrong, right = Thing(raised), Thing(None)
    with caplog.at_level(logging.ERROR, "tidebook.transport.rounds"):
        rounds.add(wrong, 0.001)
        rounds.add(right, 0.001)
        try:
            assert wrong.seen.wait(LONG_S)
            assert right.seen.wait(LONG_S)
        finally:
            rounds.stop()
    said = [message for message in caplog.messages if message.startswith("tidebook-test: ")]
    assert said == [f"tidebook-test: a look failed, the next comes as ever: {raised!r}"]
