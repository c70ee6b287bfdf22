"""`python -m benches [AREA...] [--small]`: runs the areas, prints their tables, writes benches/out/<area>.jsonl."""

import argparse
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from rich.console import Console

from benches.harness import AREAS, Bench, print_table, write_jsonl
from tidebook import _core
from tidebook.config.settings import LogSettings
from tidebook.observe.logs import configure

OUT = Path(__file__).parent / "out"


def main() -> int:
    """Exit code 1 when an area broke; a missed goal is a result and not a failure."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("areas", nargs="*", metavar="AREA", help=f"of {', '.join(AREAS)}; all when none is named")
    parser.add_argument("--small", action="store_true", help="small sizes and nothing written: does it still run?")
    arguments = parser.parse_args()
    unknown = sorted(set(arguments.areas) - set(AREAS))
    if unknown:
        print(f"bench: no area called {', '.join(unknown)}; there are {', '.join(AREAS)}", file=sys.stderr)
        return 2
    if _core.profile() != "release" and not arguments.small:
        print(
            "bench: the core was compiled for debugging, figures would be several times too low; run `make build`",
            file=sys.stderr,
        )
        return 2
    configure(LogSettings(level="warning"))
    # As wide as the table needs where the output is no terminal: a log must not cut figures off.
    console = Console() if sys.stdout.isatty() else Console(width=160)
    broken, missed, total = [], [], 0
    for area in arguments.areas or AREAS:
        if find_spec(f"benches.{area}") is None:
            console.print(f"{area}: not built yet, no figures\n")
            continue
        bench = Bench(area, small=arguments.small)
        try:
            import_module(f"benches.{area}").run(bench)
        except Exception:  # noqa: BLE001 - one broken area must not hide the figures of the others
            console.print_exception()
            broken.append(area)
        if not arguments.small:
            write_jsonl(bench.figures, OUT / f"{area}.jsonl")
        print_table(area, bench.figures, console)
        console.print()
        total += len(bench.figures)
        missed += [f"{area}: {figure.name}" for figure in bench.figures if figure.met is False]
    console.print(f"{total} figures, {len(missed)} missed" + "".join(f"\n  missed  {name}" for name in missed))
    for area in broken:
        console.print(f"[red]broken  {area}[/red]")
    return 1 if broken else 0


sys.exit(main())
