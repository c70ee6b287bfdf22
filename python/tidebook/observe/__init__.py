"""What the outside sees of a running process, and what a process sees of the outside. Every package may use it."""
