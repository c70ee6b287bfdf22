"""Hook of mkdocs: pages at the root of the repository (README, ARCHITECTURE, ...) become pages of the site.

Links are written so that they work where people read them first, in the repository. Here they are made to work in the
site: between pages by their place in it; a link to a source file becomes its name.
"""

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parent.parent
# Page at the root -> its place in the site.
ROOT_PAGES = {name: name for name in ("ARCHITECTURE.md", "CHANGELOG.md", "CONTRIBUTING.md")} | {"README.md": "index.md"}
LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)#\s]*)(#[^)\s]*)?\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    for name, place in ROOT_PAGES.items():
        if name == "README.md":
            # docs/README.md is the list of pages; in the site the menu does that.
            index = files.get_file_from_path("README.md")
            if index is not None:
                files.remove(index)
        files.append(File.generated(config, place, abs_src_path=str(ROOT / name)))
    return files


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    place = page.file.src_uri
    of_root = {place: name for name, place in ROOT_PAGES.items()}
    source = of_root.get(place, f"docs/{place}")

    def rewrite(match: re.Match[str]) -> str:
        image, text, target, anchor = match[1], match[2], match[3], match[4] or ""
        if not target or "://" in target:
            return match[0]
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
        in_site = ROOT_PAGES.get(path) or (path.removeprefix("docs/") if path.startswith("docs/") else None)
        if in_site == "README.md":
            in_site = "index.md"
        if in_site is None or (ROOT / path).is_dir():
            return text
        return f"{image}[{text}]({posixpath.relpath(in_site, posixpath.dirname(place) or '.')}{anchor})"

    return LINK.sub(rewrite, markdown)
