"""Benches by area: `make bench` runs all, `make bench ONLY=feeds` one. How to write one: `benches/harness.py`."""
