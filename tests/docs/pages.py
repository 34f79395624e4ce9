"""Reads the pages: their examples, code spans, links and headings."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
DOCS = ROOT / "docs"
PAGES = (README, *sorted(DOCS.glob("*.md")))

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_EXAMPLE = re.compile(
    r"(?:^<!-- (?P<how>file|from): (?P<file>\S+) -->\n)?^```python\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL
)


class Example(NamedTuple):
    """A block of Python, and the file that it is a piece of: one that the page makes, or one of ours that it quotes."""

    file: str
    code: str
    quoted: bool


def name_of(page: Path) -> str:
    """A page as tests call it."""
    return str(page.relative_to(ROOT))


def examples(page: Path) -> list[Example]:
    """All blocks of Python in a page; ``file`` is empty where none is named."""
    found = _EXAMPLE.finditer(page.read_text(encoding="utf-8"))
    return [Example(each["file"] or "", each["code"], each["how"] == "from") for each in found]


def files(page: Path) -> dict[str, str]:
    """The files that a page's examples make, whole."""
    whole: dict[str, str] = {}
    for each in examples(page):
        if each.quoted:
            continue
        before = whole.get(each.file)
        whole[each.file] = each.code if before is None else f"{before}\n\n{each.code}"
    return whole


def fences(page: Path, *languages: str) -> list[str]:
    """Blocks of code in one of these languages."""
    found = _FENCE.finditer(page.read_text(encoding="utf-8"))
    return [each[2] for each in found if each[1] in languages]


def prose(page: Path) -> str:
    """A page without its blocks of code and comments."""
    text = _FENCE.sub("", page.read_text(encoding="utf-8"))
    return re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)


def spans(page: Path) -> list[str]:
    """What stands between backticks in the text."""
    return re.findall(r"`([^`\n]+)`", prose(page))


def commands(page: Path) -> list[str]:
    """Lines of shell, in blocks and between backticks."""
    lines = [line for block in fences(page, "sh", "") for line in block.splitlines()]
    return lines + spans(page)


def links(page: Path) -> Iterator[tuple[str, str]]:
    """Targets of links within the repository: path (may be empty) and anchor (may be empty)."""
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if "://" not in target:
            path, _, anchor = target.partition("#")
            yield path, anchor


def anchors(page: Path) -> set[str]:
    """What links may point at, as the usual renderers of Markdown make it of headings."""
    headings = re.findall(r"^#+ (.+)$", _FENCE.sub("", page.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
