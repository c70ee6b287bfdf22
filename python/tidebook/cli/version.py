"""`tidebook version`: what is installed, for a bug report."""

import platform

from tidebook import _core
from tidebook.cli.output import Json, print_json


def version(*, json: Json = False) -> None:
    """Show the versions of Tidebook, Python and every record layout."""
    records = {name: schema.version for name, schema in _core.schemas().items()}
    facts = {
        "tidebook": _core.version(),
        "core": _core.profile(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "records": records,
    }
    if json:
        print_json(facts)
        return
    slow = " (core compiled with PROFILE=dev: slow)" if facts["core"] == "dev" else ""
    print(f"tidebook {facts['tidebook']}{slow}, Python {facts['python']} on {facts['platform']}")
    print(f"records: {', '.join(f'{name} v{number}' for name, number in records.items())}")
