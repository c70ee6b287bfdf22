"""`tidebook channel`: channels seen from outside, while they are used. Only `cursor reset` and `cursor remove` write."""
