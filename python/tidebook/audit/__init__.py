"""The audit trail: each order's life as rows of SQLite or PostgreSQL, derived from the journal of `orders`, each exactly once.

`AuditEngine` keeps it while a node runs; the rest reads it. Docs: docs/audit.md.
"""

from tidebook.audit.database import Database, open_database
from tidebook.audit.engine import AuditEngine, AuditOptions, AuditStatus
from tidebook.audit.queries import OrderLife, Scale, fills, order_life, orders_of, position, scales, view
from tidebook.audit.rebuild import Rebuilt, rebuild
from tidebook.audit.upgrade import upgrade
from tidebook.audit.writer import Position

__all__ = [
    "AuditEngine",
    "AuditOptions",
    "AuditStatus",
    "Database",
    "OrderLife",
    "Position",
    "Rebuilt",
    "Scale",
    "fills",
    "open_database",
    "order_life",
    "orders_of",
    "position",
    "rebuild",
    "scales",
    "upgrade",
    "view",
]
