"""The audit engine as a process of its own: node and process meet in the channel `orders`, its journal and the database, and nowhere else.

What the process had in hand when it ended is in the journal, and the rows say where the next one goes on.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from tidebook.audit.database import open_database
from tidebook.audit.engine import AuditEngine, AuditStatus
from tidebook.observe.child import Child, serve
from tidebook.transport import open_channel


class _Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What a process follows: arguments of `AuditEngine`, and the directory of the rings."""

    data: str
    url: str
    journal: str
    rings: str


_PLAN = msgspec.json.Decoder(_Plan)
_STATUS = msgspec.json.Decoder(AuditStatus)


class AuditProcess(Child[AuditStatus]):
    """Keeps the audit trail of a data directory from a process of its own; used as `AuditEngine`."""

    def __init__(self, data: Path, *, url: str = "", journal: Path, rings: Path) -> None:
        """Nothing is started yet; arguments as of `AuditEngine`, `rings` is where the channel `orders` is.

        Raises: ConfigError for a `url` that is none.
        """
        database = open_database(url, data)
        plan = _Plan(data=str(data), url=url, journal=str(journal), rings=str(rings))
        status = AuditStatus(
            state="stopped",
            database=database.shown,
            sequence=0,
            executions=0,
            durable=0,
            rows=0,
            problem="",
            waiting_since=None,
        )
        database.close()
        super().__init__("tidebook.audit.process", "audit", plan, status, _STATUS)


def _engine(plan: _Plan) -> AuditEngine:
    rings = Path(plan.rings)
    return AuditEngine(
        Path(plan.data),
        url=plan.url,
        journal=Path(plan.journal),
        channel=lambda: open_channel("orders", directory=rings),
    )


if __name__ == "__main__":
    serve(_PLAN, _engine, lambda audit, timeout_s: audit.wait(audit.status().sequence + 1, timeout_s))
