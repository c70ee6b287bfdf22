"""What waits for one client is bounded, newest for states, complete for events."""

from tidebook.api.mailbox import EVENTS_MAX, EVENTS_SIZE_MAX, Mailbox


def drain(mailbox: Mailbox) -> list[str]:
    return list(iter(mailbox.take, None))


def test_a_newer_state_takes_the_place_of_the_one_that_waits() -> None:
    mailbox = Mailbox()
    mailbox.put_state("a", "a1")
    mailbox.put_state("b", "b1")
    mailbox.put_state("a", "a2")
    assert (drain(mailbox), mailbox.replaced) == (["a2", "b1"], 1)


def test_events_all_arrive_in_order_and_before_states() -> None:
    mailbox = Mailbox()
    mailbox.put_state("a", "a1")
    assert all(mailbox.put_event(frame) for frame in ("1", "2", "3"))
    assert drain(mailbox) == ["1", "2", "3", "a1"]
    assert mailbox.take() is None


def test_events_overflow_by_count_and_by_size() -> None:
    mailbox = Mailbox()
    assert all(mailbox.put_event("x") for _ in range(EVENTS_MAX))
    assert not mailbox.put_event("x")
    assert mailbox.take() == "x"
    assert mailbox.put_event("x")
    heavy = Mailbox()
    assert heavy.put_event("x" * EVENTS_SIZE_MAX)
    assert not heavy.put_event("x")
    assert drain(heavy) == ["x" * EVENTS_SIZE_MAX]
    assert heavy.put_event("x")


def test_an_unsubscribed_state_is_not_sent_any_more() -> None:
    mailbox = Mailbox()
    mailbox.put_state("a", "a1")
    mailbox.forget("a")
    mailbox.forget("never there")
    assert mailbox.take() is None
