"""What every test may use, and the rule about skipping.

A test may be skipped for one reason only: the recordings of real exchanges, which are not part of this repository,
are not there. Any other skip is turned into a failure, so that nothing is quietly left untested.
"""

import os
from collections.abc import Callable, Generator
from pathlib import Path

import hypothesis
import pytest

# A slow machine is no failing example: a hang is pytest's timeout to find. A failure prints what reproduces it.
hypothesis.settings.register_profile(
    "tidebook", deadline=None, print_blob=True, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("tidebook")

# Tests count the commands of a venue; the timer behind a trade, which comes when the clock says, is tested by itself.
os.environ.setdefault("TIDEBOOK_VENUE_CLOSES_BARS", "false")

ROOT = Path(__file__).parent.parent
NO_RECORDINGS = "no recordings: set TIDEBOOK_DATA_RECORDINGS or put them at ../shared/data"


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository."""
    return ROOT


@pytest.fixture(scope="session")
def recordings() -> Path:
    """Folder of recorded exchange data; the test is skipped, visibly, where there is none."""
    folder = Path(os.environ.get("TIDEBOOK_DATA_RECORDINGS", ROOT / "../shared/data")).resolve()
    if not folder.is_dir():
        pytest.skip(NO_RECORDINGS)
    return folder


SAID = pytest.StashKey[list[str]]()


@pytest.fixture
def say(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Prints a line at the end of the whole run, whether the test passes or not: in which form a test ran, what it counted."""
    return request.config.stash.setdefault(SAID, []).append


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for line in config.stash.get(SAID, []):
        terminalreporter.write_line(line)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        if NO_RECORDINGS not in reason:
            report.outcome = "failed"
            report.longrepr = f"{item.nodeid} was skipped ({reason}); only missing recordings may skip a test"
    return report
