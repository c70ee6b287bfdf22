"""Feeds: sessions with venues, recordings, and what they write to `feed.<venue>`."""
