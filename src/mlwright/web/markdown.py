"""Markdown that people wrote, as HTML that cannot harm: parsed by markdown-it, cleaned by nh3."""

import re
from functools import cache
from typing import TYPE_CHECKING

from markupsafe import Markup

if TYPE_CHECKING:
    from markdown_it import MarkdownIt

#: Longer texts are cut before parsing: a page must not take seconds because of one note.
MAX_CHARACTERS = 200_000
_LINE_CHARACTERS = 2_000
#: Headings, quotes and list items at the start; emphasis, code, and links, of which the text stays.
_MARKS = re.compile(r"^[\s#>*+-]+(?=\s)|\*\*|__|`|!?\[([^\]\n]*)\]\([^)\n]*\)")
_TAGS = {
    "a", "blockquote", "br", "code", "del", "em", "h1", "h2", "h3", "h4", "h5", "h6", "hr", "img", "li", "ol", "p",
    "pre", "s", "strong", "table", "tbody", "td", "th", "thead", "tr", "ul",
}  # fmt: skip
_ATTRIBUTES = {"a": {"href", "title"}, "img": {"src", "alt", "title"}, "code": {"class"}, "ol": {"start"}}


def _kept(tag: str, attribute: str, value: str) -> str | None:
    """Pictures only from absolute addresses: a relative one would ask this server for something that is not there."""
    if (tag, attribute) == ("img", "src") and not value.startswith(("http://", "https://", "/")):
        return None
    return value


@cache
def _parser() -> "MarkdownIt":
    from markdown_it import MarkdownIt  # only pages with notes need it

    return MarkdownIt("commonmark", {"html": False, "linkify": False}).enable(["table", "strikethrough"])


def plain(text: str) -> str:
    """The first line of a Markdown text for where there is room for no more, without the commonest marks."""
    first = next((line for line in text[:_LINE_CHARACTERS].splitlines() if line.strip()), "")
    return _MARKS.sub(r"\1", first).strip()


def render(text: str) -> Markup:
    """The HTML of `text`. Raw HTML in it is shown as text; links leave with rel="noopener noreferrer"."""
    import nh3

    html = _parser().render(text[:MAX_CHARACTERS])
    clean = nh3.clean(
        html,
        tags=_TAGS,
        attributes=_ATTRIBUTES,
        attribute_filter=_kept,
        url_schemes={"http", "https", "mailto"},
        link_rel="noopener noreferrer nofollow",
    )
    return Markup(clean)  # noqa: S704 - nh3 has just cleaned it
