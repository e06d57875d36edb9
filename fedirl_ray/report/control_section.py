"""What the page says of a control study: its own results.md, as HTML."""

import base64
import re
from pathlib import Path
from typing import Any

from markdown_it import MarkdownIt
from markupsafe import Markup

from fedirl_ray.cli import typed
from fedirl_ray.errors import DataError
from fedirl_ray.report.folder import PNG
from fedirl_ray.report.wording import printable

SETTINGS, PAGE, PICTURE = "control.yaml", "results.md", "curves.png"


def control_section(path: Path, prefix: str) -> dict[str, Any]:
    """What the template of a control study is filled with.

    Args:
        path: Its folder.
        prefix: Starts every id of the section, which are unique in a page.

    Raises:
        DataError: The study has not ended, or a file cannot be read.
    """
    page, picture = path / PAGE, path / PICTURE
    if not page.is_file():
        raise DataError(
            f"{path} must be a control study that has ended, got one without {PAGE}; "
            f"go on with: {typed('control', '--resume', path)}"
        )
    try:
        text, png = page.read_text("utf-8"), picture.read_bytes() if picture.is_file() else None
    except (OSError, ValueError) as err:
        raise DataError(f"{path} must hold a readable {PAGE} and {PICTURE}: {err}") from None
    title = re.match(r"# (.+)\n", text)
    if title is None:
        raise DataError(f"{page} must begin with a title, got something else")
    if png is not None and not png.startswith(PNG):
        raise DataError(f"{picture} must be a PNG, got something else")
    body = re.sub(r"^!\[.*\]\(.*\)$", "", text[title.end() :], flags=re.MULTILINE)
    return {
        "template": "control.html",
        "id": prefix,
        "title": f"{title[1]}, {path.resolve().name}",
        "facts": [],
        "told": _as_html(printable(body)),
        "picture": png and base64.b64encode(png).decode(),
        "commands": [
            ("Go on with it", typed("control", "--resume", path)),
            ("This page", typed("report", path)),
        ],
    }


def _as_html(text: str) -> Markup:
    """Markdown as HTML; HTML in it, links and pictures stay text."""
    reader = MarkdownIt("commonmark", {"html": False}).enable("table")
    reader.disable(["image", "link", "autolink", "html_block", "html_inline"])
    html = reader.render(text)
    # Every tag here is the reader's own, which escapes the texts it is given.
    html = html.replace("<table>", '<div class="scroll"><table class="returns">')
    return Markup(html.replace("</table>", "</table></div>"))
