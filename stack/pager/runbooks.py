"""Runbooks as web pages.

Owns: which names may be asked for, and Markdown to HTML with raw HTML switched off. Refuses to know: what a
runbook says.
"""

from __future__ import annotations

from pathlib import Path

from markdown_it import MarkdownIt

from stack.pager.links import RUNBOOK_NAME

MAX_BYTES = 512 * 1024


def read_runbook(folder: Path, name: str) -> str | None:
    """The HTML of `<name>.md`; None when there is no such runbook, which a name that could leave the folder
    never has."""
    if not RUNBOOK_NAME.fullmatch(name):
        return None
    try:
        with (folder / f"{name}.md").open("rb") as file:
            text = file.read(MAX_BYTES).decode("utf-8", errors="replace")
    except OSError:
        return None
    markdown = MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"])
    return str(markdown.render(text))
