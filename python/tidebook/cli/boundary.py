"""Where every error of a command ends: one line to stderr, an exit code, no traceback.

A user's mistake or an outside failure is `tidebook: <message>` and exit code 2 or 1; Ctrl-C is 130; a closed pipe
(`tidebook ... | head`) ends quietly like any Unix tool. Anything else is our own mistake: it also prints one line,
asking for a report, and the traceback comes with `--debug` or TIDEBOOK_DEBUG=1.
"""

import os
import signal
import sys
import traceback
from typing import TYPE_CHECKING, NoReturn

from tidebook.errors import TidebookError, UsageError

if TYPE_CHECKING:
    from cyclopts import App

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_OUR_MISTAKE = 70  # EX_SOFTWARE of sysexits.h
EXIT_INTERRUPTED = 128 + signal.SIGINT
EXIT_PIPE_CLOSED = 128 + signal.SIGPIPE


def run(app: "App", arguments: list[str] | None = None) -> NoReturn:
    """Runs one command and exits the process with its code.

    `--debug`, wherever it stands before a `--`, is taken out and turns tracebacks on.
    """
    tokens = list(sys.argv[1:] if arguments is None else arguments)
    debug = _take_debug(tokens)
    try:
        result = app(tokens, exit_on_error=False, print_error=False, result_action="return_value")
        sys.stdout.flush()
    except KeyboardInterrupt:
        _say("interrupted", debug)
        sys.exit(EXIT_INTERRUPTED)
    except BrokenPipeError:
        # stdout is gone; point it elsewhere, or the interpreter complains again when it closes it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(EXIT_PIPE_CLOSED)
    except Exception as error:  # noqa: BLE001 - the last place an error can be turned into a line
        sys.exit(_report(error, debug))
    sys.exit(result if isinstance(result, int) else 0)


def _take_debug(tokens: list[str]) -> bool:
    end = tokens.index("--") if "--" in tokens else len(tokens)
    found = "--debug" in tokens[:end]
    if found:
        tokens.remove("--debug")
    return found or os.environ.get("TIDEBOOK_DEBUG", "") not in ("", "0")


def _report(error: Exception, debug: bool) -> int:
    from cyclopts import CycloptsError

    if isinstance(error, TidebookError):
        _say(str(error), debug)
        return EXIT_USAGE if isinstance(error, UsageError) else EXIT_FAILED
    if isinstance(error, CycloptsError):
        command = " ".join(["tidebook", *(error.command_chain or ()), "--help"])
        _say(f"{_one_line(error)} (see {command})", debug)
        return EXIT_USAGE
    if isinstance(error, OSError):
        # Disk full, read-only, no such file: the operating system's own words and the path are the message.
        where = f"{error.filename}: " if error.filename else ""
        _say(f"{where}{error.strerror or error}{_in_the_way(error)}", debug)
        return EXIT_FAILED
    _say(f"internal error: {type(error).__name__}: {_one_line(error)}; please report it with --debug", debug)
    return EXIT_OUR_MISTAKE


def _in_the_way(error: OSError) -> str:
    """What to do about a file that stands where a directory belongs."""
    if not isinstance(error, NotADirectoryError | FileExistsError) or not isinstance(error.filename, str):
        return ""
    path = error.filename
    while path != os.path.dirname(path) and not os.path.exists(path):  # noqa: PTH120, PTH110 - pathlib is slow to import
        path = os.path.dirname(path)  # noqa: PTH120
    return f": {path} is a file where a directory is needed; move it away or name another data directory"


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def _say(message: str, debug: bool) -> None:
    if debug:
        traceback.print_exc()
    print(f"tidebook: {message}", file=sys.stderr)
