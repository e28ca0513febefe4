"""The text for a pull request: read like code, and nothing in it becomes markup, whatever files are called."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from builder.cli.pullrequest import LIMIT, block, code, markdown
from builder.cli.text import printable
from builder.data.comparison import Changed, Comparison, Moved, News, Note, Resized, Side
from builder.data.duplicates import Duplicate

GOLDEN = Path(__file__).with_name("golden.md")
REFRESH = "LICHEN_REFRESH_GOLDEN"
OLD = Side(
    given="main:profiles/locks/small.amd64.json",
    kind="lock",
    profile="small",
    architecture="amd64",
    lock="1" * 64,
    packages=300,
    package_bytes=300 << 20,
    wheels=0,
    wheel_bytes=0,
)
NEW = OLD.model_copy(update={"given": "small", "lock": "2" * 64, "packages": 301, "file_bytes": 3 << 30})
WHOLE = Comparison(
    old=OLD,
    new=NEW,
    facts=(Changed(name="hostname", old="small", new="tall"),),
    moved=(
        *(
            Moved(kind="added", what="deb", name=f"lib{number}", old=None, new=f"1.{number}~rc1")
            for number in range(13)
        ),
        Moved(kind="moved", what="wheel", name="pages", old="1.2", new="1.3"),
        Moved(kind="removed", what="tool", name="zstd", old="1:1.5-1", new=None),
    ),
    news=(
        News(
            source="apt",
            packages=("apt", "libapt"),
            old="1",
            new="2",
            lines=("2", "  * Closes: #1, thanks to @nobody"),
            more=3,
            cves=tuple(f"CVE-2026-{number:04}" for number in range(10)),
        ),
        News(source="nano", packages=("nano",), old="2", new="1", older=True, absent="the package has no changelog"),
    ),
    kernel_options=(Changed(name="CONFIG_HZ", old="250", new="1000"),),
    services=(Changed(name="getty@tty1.service", old=None, new="enabled"),),
    privileged=(Changed(name="/odd|`name`<b>", old=None, new="4755 0:0 deb:odd"),),
    ports=(Changed(name="tcp 0.0.0.0:80", old="nginx", new=None),),
    sizes=(Resized(owner="deb:big", old=2 << 30, new=1 << 20),),
    duplicates=(Duplicate(name="libcuda.so.1", identical=False, owners=("deb:a", "wheel:b"), paths=(), saved=5 << 20),),
    notes=(Note(what="another profile", where="small", why="small is compared with other"),),
)


def test_golden() -> None:
    text = markdown(WHOLE) + "\n"
    if os.environ.get(REFRESH):
        GOLDEN.write_text(text)
    assert text == GOLDEN.read_text(), "if this is meant: pytest tests/diff --refresh-golden"


SECTIONS = ("facts", "moved", "kernel_options", "services", "privileged", "ports", "sizes")


@pytest.mark.parametrize("field", SECTIONS)
def test_each_section_is_a_difference(field: str) -> None:
    comparison = Comparison(old=OLD, new=NEW)
    assert comparison.same
    assert not comparison.model_copy(update={field: getattr(WHOLE, field)}).same


@pytest.mark.parametrize(
    ("text", "made"),
    [
        ("", ""),
        (" ", ""),
        ("nano", "`nano`"),
        ("a*b_c <i>@x #1", "`a*b_c <i>@x #1`"),
        ("a`b", "``a`b``"),
        ("a``b`", "``` a``b` ```"),
        (" a ", "`  a  `"),
        ("a\nb\tc", "`a b c`"),
        ("a\x1bb", "`a\\x1bb`"),
    ],
)
def test_code(text: str, made: str) -> None:
    assert code(text) == made


@given(
    st.lists(st.text(st.characters(exclude_categories=["Cs", "Zs"], exclude_characters="\n\t")), min_size=2, max_size=2)
)
@example(["a|b", "`|`"])
@example(["\\|", "|\\"])
@example(["a\\", "b"])
def test_any_name_is_a_cell_of_its_own(names: list[str]) -> None:
    change = Changed(name=names[0], old=names[1], new="end")
    page = markdown(WHOLE.model_copy(update={"ports": (change,)}))
    _, _, rest = page.partition("#### Open ports\n")
    tokens = MarkdownIt("commonmark").enable("table").parse(rest.partition("\n#### ")[0])
    cells = [token.children or [] for token in tokens if token.type == "inline"][3:]
    assert [[child.type for child in cell] for cell in cells[:2]] == [["code_inline"] if n else [] for n in names]
    assert [cell[0].content for cell in cells if cell] == [printable(n) for n in (*names, "end") if n]


def test_block_ends_where_it_should() -> None:
    assert block(["a", "```", "</details>", "b\n```"]) == "````text\na\n```\n</details>\nb ```\n````"


def test_no_title_ends_its_fold_early() -> None:
    news = News(source="</summary>\n\n# x @y", packages=("a",), old="1", new="2", absent="none")
    text = markdown(WHOLE.model_copy(update={"news": (news,)}))
    assert "<details><summary><code>&lt;/summary&gt;  # x @y 1 → 2 (a)</code></summary>\n" in text


def test_what_is_too_long_for_a_comment_is_cut_and_said() -> None:
    options = tuple(Changed(name=f"CONFIG_{number}", old="n", new="y") for number in range(1000))
    lines = tuple("x" * 100 for _ in range(12))
    news = tuple(News(source=f"s{n}", packages=(f"p{n}",), old="1", new="2", lines=lines) for n in range(100))
    text = markdown(WHOLE.model_copy(update={"kernel_options": options, "news": news}))
    assert LIMIT - 2000 < len(text) < 65_536
    assert text.count("CONFIG_") == 1000
    assert text.endswith(" more changelogs do not fit: run `lichen diff`")
    assert text.count("<details>") == text.count("</details>")

    text = markdown(WHOLE.model_copy(update={"kernel_options": options * 3}))
    assert len(text) < 65_536
    assert " more rows do not fit: run `lichen diff`\n\n</details>" in text
    assert text.count("<details>") == text.count("</details>")
