"""A comparison as Markdown for a pull request: GitHub's flavour, long parts folded, no longer than a comment may be.

All that comes from files or from a person stands in code, where nothing is markup, names nobody and links to nothing.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Iterator, Sequence

from builder.cli import rows as shown
from builder.cli.text import printable
from builder.data.comparison import Comparison, News

LIMIT = 60_000  # characters; GitHub takes 65,536 and the person may want to add a word
FOLD = 12  # rows from which on a table is folded


def markdown(comparison: Comparison) -> str:
    """The whole text."""
    page = _Page()
    profile = comparison.new.profile
    page.add(f"### {code(profile)} {code(comparison.new.architecture)}: {summary(comparison)}", "")
    page.table(shown.SIDES, shown.side_rows(comparison))
    page.add("")
    for note in comparison.notes:
        page.add(f"- {note.what} ({code(note.where)}): {code(note.why)}")
    for what, title in shown.MOVED:
        page.section(title, shown.MOVE, shown.moved_rows(comparison.moved, what))
    for field, title in shown.CHANGED:
        page.section(title, shown.CHANGE, shown.changed_rows(getattr(comparison, field)))
    page.section("size by owner", shown.SIZES, shown.size_rows(comparison.sizes))
    twice = "large files that are there twice now"
    page.section(twice, shown.DUPLICATES, shown.duplicate_rows(comparison))
    page.changelogs(comparison.news)
    return page.text()


def summary(comparison: Comparison) -> str:
    """``packages moved: 2, tools added: 1`` and the like, or ``no difference``."""
    if comparison.same:
        return "no difference"
    words = []
    for what, title in shown.MOVED:
        for kind in ("added", "removed", "moved", "changed"):
            count = sum(item.what == what and item.kind == kind for item in comparison.moved)
            if count:
                words.append(f"{title} {kind}: {count}")
    counts = [(title, len(getattr(comparison, field))) for field, title in shown.CHANGED if field != "facts"]
    words += [f"{title} differ" for title, count in counts if count]
    return ", ".join(words) or "no package moved"


def code(text: str) -> str:
    """``text`` as inline code; empty for nothing."""
    line = _one_line(text)
    if not line.strip():
        return ""
    fence = "`" * (_longest_run(line) + 1)
    # A blank is taken off both ends when both have one, so that code may begin or end with a grave accent.
    edge = " " if line[0] in "` " or line[-1] in "` " else ""
    return f"{fence}{edge}{line}{edge}{fence}"


def _cells(headers: Sequence[str], row: Sequence[str]) -> Iterator[str]:
    for header, cell in zip(headers, row, strict=True):
        # A row is cut into its cells before code is looked for.
        yield cell if header in shown.PLAIN else code(cell).replace("|", "\\|")


def block(lines: Iterable[str]) -> str:
    """Lines as a block of code."""
    text = "\n".join(_one_line(line) for line in lines)
    fence = "`" * max(3, _longest_run(text) + 1)
    return f"{fence}text\n{text}\n{fence}"


def _one_line(text: str) -> str:
    return printable(text).replace("\n", " ").replace("\t", " ")


def _longest_run(text: str) -> int:
    return max((len(run) for run in re.findall("`+", text)), default=0)


class _Page:
    """Markdown under way, which takes nothing any more once it is full."""

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._room = LIMIT

    def text(self) -> str:
        """All of it, without a newline at the end."""
        return "\n".join(self._parts).rstrip("\n")

    def add(self, *lines: str) -> bool:
        """Add lines, all or none; False when they do not fit."""
        needed = sum(len(line) + 1 for line in lines)
        if needed > self._room:
            return False
        self._room -= needed
        self._parts += lines
        return True

    def section(self, title: str, headers: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """A table under its title, folded when it is long; nothing when it has no rows."""
        if rows:
            self.table(headers, rows, f"{title[0].upper()}{title[1:]}")

    def table(self, headers: Sequence[str], rows: Sequence[Sequence[str]], title: str = "") -> None:
        """A table; one with a title may be folded."""
        folded = bool(title) and len(rows) > FOLD
        opening = ["", f"<details><summary>{title} ({len(rows)})</summary>" if folded else f"#### {title}", ""]
        head = [f"| {' | '.join(headers)} |", f"|{'---|' * len(headers)}"]
        lines = [f"| {' | '.join(_cells(headers, row))} |" for row in rows]
        self._put([*(opening if title else []), *head], lines, ("", "</details>") if folded else (), "rows")

    def changelogs(self, told: Sequence[News]) -> None:
        """What changelogs tell, folded one by one."""
        parts = []
        for item in told:
            lines = list(shown.news_lines(item))
            body = code(lines[0]) if item.absent else block(lines)
            # Code also here, where a version could otherwise name somebody.
            title = html.escape(_one_line(shown.news_title(item)))
            parts.append(f"<details><summary><code>{title}</code></summary>\n\n{body}\n\n</details>\n")
        if parts:
            self._put(("", "#### Changelogs", ""), parts, ("",), "changelogs")

    def _put(self, opening: Sequence[str], lines: Sequence[str], closing: Sequence[str], noun: str) -> None:
        left = len(lines)
        if not self.add(*opening):
            return
        for line in lines:
            if not self.add(line):
                break
            left -= 1
        # The few words of an end always fit: the limit leaves more room than all of them take.
        self._parts += [*([f"\n{left} more {noun} do not fit: run `lichen diff`"] if left else []), *closing]
