"""What the outside sees of a running process: logs (`tidebook.observe.logs`). Every package may use it."""
