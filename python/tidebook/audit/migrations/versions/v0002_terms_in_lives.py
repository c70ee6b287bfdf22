"""Views alone: a life tells terms and amounts too, and what matching refused does not count as placed."""

revision = "0002"
down_revision = "0001"
VIEWS = "b35c0473291d6e12"
"""Digest of the views that go with these tables."""


def upgrade() -> None:
    """No table changes; views are made anew with every revision."""
