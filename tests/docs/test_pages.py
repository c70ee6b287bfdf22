"""Pages keep their word: links lead somewhere, invariants name tests that exist, nothing private is written down."""

import re
import subprocess
import sys
from pathlib import Path

LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


def tracked(root: Path) -> list[str]:
    """Files of the project: what git would put into a commit."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=root, check=True, capture_output=True, text=True).stdout.splitlines()
    return [name for name in listed if (root / name).is_file()]


def pages(root: Path) -> list[Path]:
    return [root / name for name in tracked(root) if name.endswith(".md")]


def anchor(heading: str) -> str:
    """The anchor GitHub and mkdocs give a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-")


def test_every_link_between_pages_leads_to_a_file_and_a_heading(root: Path) -> None:
    broken = []
    for page in pages(root):
        for target in LINK.findall(page.read_text()):
            if "://" in target:
                continue
            path, _, heading = target.partition("#")
            file = (page.parent / path).resolve() if path else page
            if not file.exists():
                broken.append(f"{page.name}: {target}")
            elif heading and heading not in map(anchor, HEADING.findall(file.read_text())):
                broken.append(f"{page.name}: no heading for {target}")
    assert broken == []


def test_every_page_under_docs_can_be_reached_from_the_readme(root: Path) -> None:
    """Method: follow links from the README; a link to a folder leads to the pages in it."""
    seen: set[Path] = set()
    waiting = [root / "README.md"]
    while waiting:
        page = waiting.pop()
        if page.is_dir():
            waiting += page.glob("*.md")
        if page in seen or page.suffix != ".md" or not page.exists():
            continue
        seen.add(page)
        waiting += [(page.parent / target.partition("#")[0]).resolve() for target in LINK.findall(page.read_text())]
    docs = {page for page in pages(root) if page.is_relative_to(root / "docs")}
    assert sorted(str(page.relative_to(root)) for page in docs - seen) == []


def test_every_invariant_is_numbered_in_order_and_names_tests_that_exist(root: Path) -> None:
    rows = re.findall(r"^\| (\d+) \| (.+?) \| (.+?) \|$", (root / "ARCHITECTURE.md").read_text(), re.MULTILINE)
    assert [int(number) for number, _, _ in rows] == list(range(1, len(rows) + 1))
    missing = []
    for number, _, tests in rows:
        named = re.findall(r"`([^`]+)::(\w+)`", tests)
        assert named, f"invariant {number} names no test"
        for file, function in named:
            path = root / file
            if not path.is_file() or not re.search(rf"\b(fn|def|it|test)\b.*\b{function}\b", path.read_text()):
                missing.append(f"{number}: {file}::{function}")
    assert missing == []


def test_the_site_is_built_without_a_warning(root: Path, tmp_path: Path) -> None:
    """Method: mkdocs in strict mode, where a link that leads nowhere is an error."""
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)]
    built = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    assert (tmp_path / "ARCHITECTURE.html").is_file()


def test_no_file_names_a_registry_or_a_path_of_the_machine_it_was_written_on(root: Path) -> None:
    # Put together here, so that this file does not find itself.
    forbidden = re.compile(
        "|".join(
            [
                r"pypi\.org|pypi\.python\.org|python" + r"hosted",
                r"registry\.npm" + r"js|npm" + r"mirror|registry\.yarn" + r"pkg",
                r"static\.crates" + r"\.io|index\.crates" + r"\.io",
                r"deb\.debian" + r"\.org|arti" + r"factory",
                r"(?<![\w./])/(?:work|root|farm)/(?!fresh)",
            ]
        )
    )
    found = []
    for name in tracked(root):
        try:
            text = (root / name).read_text()
        except UnicodeDecodeError:
            continue
        if name == "Cargo.lock":
            # Cargo itself writes the name of the default registry here, the same on every machine.
            text = text.replace('source = "registry+https://github.com/rust-lang/crates.io-index"', "")
        found += [f"{name}: {match[0]}" for match in forbidden.finditer(text)]
    assert found == []
