"""The built page, served beside the API it lives on.

`console/` at the top of the repository holds the page's source; `make console` builds it into `dist` here, which wheels
carry, so its users need no Node. The page is an ordinary client of the public API: `mount_console` adds files only.
"""

from tidebook.console.pages import mount_console

__all__ = ["mount_console"]
