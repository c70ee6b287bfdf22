"""Migrations of the audit trail's tables, run by Alembic: `tidebook.audit.upgrade` is the way in."""
