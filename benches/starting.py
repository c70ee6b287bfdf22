"""What a user waits for before anything happens: `import tidebook` beside a bare Python, `tidebook --help`."""

import subprocess
import sys
from functools import partial

from benches.harness import Bench, Sample, at_most, measure

COMMANDS = {
    "bare": (sys.executable, "-c", "pass"),
    "import": (sys.executable, "-c", "import tidebook"),
    "help": (sys.executable, "-m", "tidebook", "--help"),
}


def starting(bench: Bench) -> None:
    """Whole processes from start to end, files in the page cache."""
    work = {
        name: partial(subprocess.run, command, check=True, stdout=subprocess.DEVNULL)
        for name, command in COMMANDS.items()
    }
    samples = {name: sample.in_unit("ms") for name, sample in measure(work, rounds=bench.size(21, 2)).items()}
    bare, imported = samples["bare"], samples["import"]
    bench.figure(
        "import tidebook, beyond a bare Python",
        Sample(imported.value - bare.value, imported.spread, "ms"),
        goals=[at_most(60)],
        note=f"bare Python {bare.value:.0f} ms",
    )
    bench.figure("tidebook --help", samples["help"], goals=[at_most(300)], note="whole process")
