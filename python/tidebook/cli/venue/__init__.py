"""`tidebook venue`: the running node's own venue, from the command line."""
