"""An executed notebook as one HTML file that fetches nothing: no scripts, equations drawn beforehand."""

from __future__ import annotations

import base64
import html
import io
import json
import re
from functools import cache
from pathlib import Path
from typing import Any

from oshp_lite.files import write_atomic
from oshp_lite.study.notebooks import load_notebook, source_of

_FENCE = re.compile(r"(```.*?```|`[^`\n]*`)", re.DOTALL)
_MATH = re.compile(r"\$\$(.+?)\$\$|(?<![\\$\w])\$(?!\s)([^$\n]+?)(?<!\s)\$(?![\w$])", re.DOTALL)
_REMOTE = re.compile(r"<script\b.*?</script>|<link[^>]*href=[\"']https?:[^>]*>", re.DOTALL)
_ADDRESSES = ("mathjax_url", "require_js_url", "jquery_url", "mermaid_js_url", "html_manager_semver_range")
_STYLE = """<style>
.jp-Notebook { max-width: 1000px; margin: 0 auto; }
img.math { display: inline; border: 0; box-shadow: none; margin: 0; padding: 0; }
p.math { text-align: center; margin: 14px 0; }
</style>"""


def write_page(notebook: Path, page: Path) -> None:
    """Write `notebook` (executed) as the HTML file `page`; needs nbconvert (extra "notebooks")."""
    import nbformat
    from nbconvert import HTMLExporter

    content = load_notebook(notebook)
    for cell in content["cells"]:
        if cell["cell_type"] == "markdown":
            pieces = _FENCE.split(source_of(cell))
            pieces[::2] = [_MATH.sub(_draw, piece) for piece in pieces[::2]]
            cell["source"] = "".join(pieces)
    nowhere: dict[str, Any] = dict.fromkeys((*_ADDRESSES, "widget_renderer_url"), "")
    exporter = HTMLExporter(template_name="lab", **nowhere)
    node = nbformat.reads(json.dumps(content), as_version=4)
    body, _ = exporter.from_notebook_node(node, resources={"metadata": {"name": page.stem}})
    write_atomic(page, _REMOTE.sub("", body).replace("</head>", _STYLE + "</head>", 1).encode("utf-8"))


def _draw(equation: re.Match[str]) -> str:
    """An equation as an inline picture; as its TeX source where Matplotlib cannot draw it."""
    display = equation.group(1) is not None
    source = " ".join((equation.group(1) or equation.group(2)).split())
    drawn = math_svg(source.replace(r"\frac{", r"\dfrac{"), 13.5) if display else math_svg(source, 12)
    if drawn is None:
        shown = f"<code>{html.escape(source)}</code>"
    else:
        address, depth = drawn
        shown = f'<img class="math" alt="{html.escape(source)}" src="{address}" style="vertical-align:{-depth:.1f}pt">'
    return f'\n<p class="math">{shown}</p>\n' if display else shown


@cache
def math_svg(source: str, size: float) -> tuple[str, float] | None:
    """Data address of an equation drawn by Matplotlib and its depth below the line (points); None if it cannot."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.mathtext import math_to_image

    # what mathtext lacks: delimiters of a given size, double bars by name, numbered equations
    source = re.sub(r"\\[bB]ig[lr]?(?![a-z])", "", re.sub(r"\\[lr]Vert\b", r"\\Vert ", source))
    source = re.sub(r"\\tag\s*\{([^}]*)\}", r"\\qquad(\1)", source)
    buffer = io.BytesIO()
    try:
        font = FontProperties(size=size, math_fontfamily="cm")
        depth = math_to_image(f"${source}$", buffer, prop=font, dpi=72, format="svg")
    except (ValueError, RuntimeError):
        return None
    return "data:image/svg+xml;base64," + base64.b64encode(buffer.getvalue()).decode("ascii"), depth
