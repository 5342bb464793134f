"""Runbooks as web pages.

Owns: which names may be asked for, and Markdown to HTML with raw HTML switched off. Refuses to know: what a
runbook says.
"""

from __future__ import annotations

from collections.abc import MutableMapping, Sequence
from pathlib import Path
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.common.utils import escapeHtml
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from markdown_it.utils import OptionsDict

from stack.pager.links import RUNBOOK_NAME
from stack.pager.queries import build_query_link

MAX_BYTES = 512 * 1024


def read_runbook(folder: Path, name: str, base: str = "") -> str | None:
    """The HTML of `<name>.md`, with a link below each PromQL query that asks it now; None when there is no such
    runbook, which a name that could leave the folder never has. `base` goes before the pager's own paths."""
    if not RUNBOOK_NAME.fullmatch(name):
        return None
    try:
        with (folder / f"{name}.md").open("rb") as file:
            text = file.read(MAX_BYTES).decode("utf-8", errors="replace")
    except OSError:
        return None
    markdown = MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"])
    markdown.add_render_rule("fence", _with_link)
    return str(markdown.render(text, {"base": base}))


def _with_link(
    renderer: RendererHTML, tokens: Sequence[Token], index: int, options: OptionsDict, env: MutableMapping[str, Any]
) -> str:
    block = renderer.fence(tokens, index, options, env)
    if tokens[index].info.strip() != "promql":
        return block
    link = escapeHtml(build_query_link(env["base"], tokens[index].content))
    return f'{block}<p><a href="{link}">Ask Prometheus now</a></p>\n'
