"""`tidebook channel`: channels seen from outside, while they are used. Only `cursor reset`, `cursor remove` and `rm`
change anything.
"""
