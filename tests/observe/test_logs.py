"""Logs: one structured event a line, with the trace id of the work that caused it."""

import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from tidebook.config import LogSettings
from tidebook.observe.logs import configure, logger, trace_id, traced


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield io.StringIO()
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def events(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_an_event_is_one_line_of_json_with_its_fields_and_trace_id(stream: io.StringIO) -> None:
    configure(LogSettings(format="json"), stream)
    log = logger("feeds.binance")
    with traced() as own:
        log.info("connected", connection=3)
    log.info("idle")
    first, second = events(stream)
    assert (first["event"], first["connection"], first["logger"]) == ("connected", 3, "tidebook.feeds.binance")
    assert (first["trace_id"], first["level"]) == (own, "info")
    assert len(own) == 32
    assert second["trace_id"] == trace_id() != own


def test_a_trace_id_given_from_outside_is_kept_and_ends_with_its_work(stream: io.StringIO) -> None:
    before = trace_id()
    with traced("4bf92f3577b34da6a3ce929d0e0e4736") as own:
        assert own == trace_id() == "4bf92f3577b34da6a3ce929d0e0e4736"
    assert trace_id() == before


def test_what_libraries_log_has_the_same_shape_and_exceptions_stay_on_one_line(stream: io.StringIO) -> None:
    configure(LogSettings(format="json"), stream)
    logging.getLogger("websockets").warning("closed %s", 1006)
    try:
        raise ValueError("bad")
    except ValueError:
        logger("api").exception("failed")
    library, ours = events(stream)
    assert (library["event"], library["logger"], library["trace_id"]) == ("closed 1006", "websockets", trace_id())
    assert ours["event"] == "failed"
    assert "exception" in ours


def test_events_below_the_level_are_not_written_and_auto_is_json_where_there_is_no_terminal(
    stream: io.StringIO,
) -> None:
    configure(LogSettings(level="warning"), stream)
    logger("api").info("quiet")
    logger("api").warning("loud")
    assert [event["event"] for event in events(stream)] == ["loud"]


def test_on_a_console_an_event_is_a_line_for_people(stream: io.StringIO) -> None:
    configure(LogSettings(format="console"), stream)
    logger("api").info("started", port=8080)
    assert "started" in stream.getvalue()
    assert "port=8080" in stream.getvalue()
    assert not stream.getvalue().startswith("{")
