"""Pages of the simple API for Python packages, in JSON or the older HTML: which file is where."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from urllib.parse import unquote, urljoin, urlsplit


def json_links(page: bytes) -> dict[str, str]:
    """File name and URL of every file on a page in JSON form; empty when it is not one."""
    try:
        return {str(file["filename"]): str(file["url"]) for file in json.loads(page)["files"]}
    except (ValueError, KeyError, TypeError):
        return {}


def html_links(page: bytes) -> dict[str, str]:
    """File name and URL of every file on a page in HTML form; empty when it is not one."""
    parser = _Links()
    parser.feed(page.decode(errors="replace"))
    return {unquote(urlsplit(href).path).rpartition("/")[2]: urljoin(parser.base, href) for href in parser.hrefs}


class _Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.base = ""
        self.hrefs: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep what an anchor points at, and the page's own base."""
        href = dict(attrs).get("href")
        if tag == "a" and href:
            self.hrefs.append(href)
        elif tag == "base" and href:
            self.base = href
