"""The node: what puts the parts together. It knows every package; only the command line knows it."""
