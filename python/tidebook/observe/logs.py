"""Structured logs with a trace id.

Everything a process says goes to stderr as one event with fields, as JSON or for people, also what libraries say
through the standard `logging`. Every event carries `trace_id`: that of the work being done (`traced`, one per
request, command or connection) or else that of the process. Per message or per tick nothing is logged: that is what
counters are for.

    log = logger("feeds.binance")
    with traced():
        log.info("connected", connection=3, streams=2)
"""

import logging
import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TextIO, cast

import structlog
from structlog.typing import EventDict, FilteringBoundLogger, Processor

from tidebook.config.settings import LogSettings

_process_trace_id = secrets.token_hex(16)
_trace_id: ContextVar[str | None] = ContextVar("tidebook_trace_id", default=None)


def logger(name: str) -> FilteringBoundLogger:
    """The logger of one part of the project; `name` is its path below the package (`feeds.binance`)."""
    return cast("FilteringBoundLogger", structlog.stdlib.get_logger(f"tidebook.{name}"))


def trace_id() -> str:
    """The 32 hexadecimal digits that events carry now (the form of W3C trace context)."""
    return _trace_id.get() or _process_trace_id


@contextmanager
def traced(trace_id: str | None = None) -> Iterator[str]:
    """A piece of work with a trace id of its own: the one given (from a request's header) or a new one."""
    own = trace_id or secrets.token_hex(16)
    token = _trace_id.set(own)
    try:
        yield own
    finally:
        _trace_id.reset(token)


def configure(settings: LogSettings, stream: TextIO | None = None) -> None:
    """Sends every log of this process to `stream` (stderr) in the form `settings` asks for. Call once, at start."""
    output = stream or sys.stderr
    as_json = settings.format == "json" or (settings.format == "auto" and not output.isatty())
    shared: list[Processor] = [
        _add_trace_id,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    last: list[Processor] = (
        [structlog.processors.dict_tracebacks, structlog.processors.JSONRenderer(ensure_ascii=False, default=str)]
        if as_json
        else [_without_process_trace_id, structlog.dev.ConsoleRenderer(colors=output.isatty())]
    )
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(output)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.level.upper())


def _without_process_trace_id(_: object, __: str, event: EventDict) -> EventDict:
    """People read one process at a time: only the id of a piece of work tells them anything."""
    if event.get("trace_id") == _process_trace_id:
        del event["trace_id"]
    return event


def _add_trace_id(_: object, __: str, event: EventDict) -> EventDict:
    event.setdefault("trace_id", trace_id())
    return event
