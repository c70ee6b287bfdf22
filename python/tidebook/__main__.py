"""`python -m tidebook` is the command `tidebook`."""

from tidebook.cli import main

main()
