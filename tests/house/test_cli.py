"""The command line: fast to start, one line per error, an exit code one can branch on."""

import ast
import json
import os
import re
import signal
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from tidebook.cli import COMMANDS, boundary, build_app
from tidebook.cli.shown import size
from tidebook.errors import ConfigError, OperationError


def tidebook(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tidebook", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **environment})


def test_help_names_every_command() -> None:
    shown = tidebook("--help")
    assert shown.returncode == 0
    assert all(name.split()[0] in shown.stdout for name in COMMANDS)


def test_help_imports_nothing_that_takes_long() -> None:
    """How long it takes is measured by `make bench ONLY=api`."""
    shown = tidebook("--help", PYTHONPROFILEIMPORTTIME="1")
    heavy = {"numpy", "polars", "pyarrow", "duckdb", "pydantic", "fastapi", "uvicorn", "aiohttp", "picows"}
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in shown.stderr.splitlines()}
    assert "tidebook" in imported
    assert not heavy & imported


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_line_of_a_command_is_its_docstring(name: str) -> None:
    """Method: read the function's source, so that a command with heavy imports costs nothing here."""
    target, help_line = COMMANDS[name]
    module, function = target.split(":")
    spec = find_spec(module)
    assert spec is not None
    assert spec.origin is not None
    for node in ast.parse(Path(spec.origin).read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == function:
            assert (ast.get_docstring(node) or "").splitlines()[0] == help_line
            return
    pytest.fail(f"{target} does not exist")


@pytest.mark.parametrize("name", COMMANDS)
def test_an_option_means_the_same_in_every_command(name: str) -> None:
    """`--from` and `--to` are messages, `--limit` or `-n` is how many of them; a directory has another name."""
    target, _ = COMMANDS[name]
    module, function = target.split(":")
    spec = find_spec(module)
    assert spec is not None
    assert spec.origin is not None
    tree = ast.parse(Path(spec.origin).read_text())
    (found,) = [
        node for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) if node.name == function
    ]
    for argument in found.args.kwonlyargs:
        annotation = ast.unparse(argument.annotation) if argument.annotation else ""
        options = re.findall(r"'(--?[a-z-]+)'", annotation) or [f"--{argument.arg.replace('_', '-')}"]
        if {"--from", "--to"} & set(options):
            assert annotation.startswith("Annotated[int,"), f"{options}: a message and nothing else"
        if {"-n", "--limit"} & set(options):
            assert (options, annotation.startswith("Annotated[int,")) == (["-n", "--limit"], True)
        assert not {"--lines", "--count", "--first", "--last", "--since"} & set(options), (
            f"{options}: it has another name"
        )


def test_sizes_are_printed_in_one_family_of_units_by_one_function(root: Path) -> None:
    place = root / "python/tidebook/cli"
    own = [
        path.relative_to(place).as_posix()
        for path in sorted(place.rglob("*.py"))
        if re.search(r"1e[369][^\n]*\b[KMG]B\b(?!/s)|1 << [123]0[^\n]*\b[KMG]i?B\b", path.read_text())
    ]
    assert own == ["shown.py"], "others print sizes by themselves"
    assert [size(each) for each in (0, 999, 1_000, 999_499, 9_940_000, 64 << 20, 37_100_000_000)] == [
        "0 B",
        "999 B",
        "1 KB",
        "999 KB",
        "9.9 MB",
        "67 MB",
        "37 GB",
    ]


def test_version_as_json_is_one_object() -> None:
    shown = tidebook("version", "--json")
    assert shown.returncode == 0
    assert json.loads(shown.stdout)["records"]["trades"] == 1


def test_version_tells_every_record_layout_to_people_too() -> None:
    shown = tidebook("version").stdout
    assert "\nrecords: " in shown
    assert "trades v1" in shown


def test_an_unknown_command_is_one_line_and_a_usage_exit() -> None:
    shown = tidebook("repaly")
    assert shown.returncode == boundary.EXIT_USAGE
    assert shown.stdout == ""
    assert shown.stderr.startswith('tidebook: Unknown command "repaly"')
    assert shown.stderr.count("\n") == 1


def test_a_word_too_many_leads_to_the_help_of_the_command_it_was_given_to() -> None:
    for words in (("channel", "ls"), ("status",)):
        shown = tidebook(*words, "NAME")
        assert shown.returncode == boundary.EXIT_USAGE
        assert shown.stderr.endswith(f"(see tidebook {' '.join(words)} --help)\n")


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (ConfigError("x is unknown"), 2, "tidebook: x is unknown\n"),
        (OperationError("disk is gone"), 1, "tidebook: disk is gone\n"),
        (OSError(28, "No space left on device", "/data/a"), 1, "tidebook: /data/a: No space left on device\n"),
        (KeyboardInterrupt(), 130, "tidebook: interrupted\n"),
        (
            ZeroDivisionError("1\n/ 0"),
            70,
            "tidebook: internal error: ZeroDivisionError: 1 / 0; please report it with --debug\n",
        ),
    ],
)
def test_each_kind_of_error_ends_in_one_line_and_its_exit_code(
    error: BaseException, code: int, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    app = build_app()

    def fail() -> None:
        raise error

    app.command(fail, name="fail")
    with pytest.raises(SystemExit) as exit_:
        boundary.run(app, ["fail"])
    assert exit_.value.code == code
    assert capsys.readouterr().err == line


def test_debug_shows_the_traceback_before_the_line() -> None:
    shown = tidebook("repaly", "--debug")
    assert shown.returncode == boundary.EXIT_USAGE
    assert "Traceback" in shown.stderr
    assert tidebook("repaly", TIDEBOOK_DEBUG="1").stderr.startswith("Traceback")


def test_a_closed_pipe_ends_quietly() -> None:
    """Method: a reader that is gone before the command writes."""
    read_end, write_end = os.pipe()
    os.close(read_end)
    with os.fdopen(write_end, "wb") as pipe:
        command = [sys.executable, "-m", "tidebook", "version", "--json"]
        shown = subprocess.run(command, stdout=pipe, stderr=subprocess.PIPE, check=False)
    assert shown.returncode == 128 + signal.SIGPIPE
    assert shown.stderr == b""
