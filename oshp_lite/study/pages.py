"""An executed notebook as one HTML file that asks the network for nothing: no scripts, equations drawn beforehand."""

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
_REMOTE = re.compile(r"<script[^>]*\bsrc\s*=\s*[\"']https?:[^>]*>\s*</script>|<link[^>]*href=[\"']https?:[^>]*>")
_STYLE = """<style>
.jp-Notebook { max-width: 1000px; margin: 0 auto; }
img.math { display: inline; border: 0; box-shadow: none; margin: 0; padding: 0; }
p.math { text-align: center; margin: 14px 0; }
</style>"""


def write_page(notebook: Path, page: Path) -> None:
    """Write `notebook` (executed) as the HTML file `page`; needs nbconvert (extra "notebooks")."""
    import nbformat
    from nbconvert import HTMLExporter

    content = _with_drawn_math(load_notebook(notebook))
    exporter = HTMLExporter(
        template_name="lab",
        mathjax_url="",
        require_js_url="",
        jquery_url="",
        mermaid_js_url="",
        html_manager_semver_range="",
        widget_renderer_url="",
    )
    node = nbformat.reads(json.dumps(content), as_version=4)
    body, _ = exporter.from_notebook_node(node, resources={"metadata": {"name": page.stem}})
    body = _REMOTE.sub("", body)
    # what is left of scripts loads mathjax or mermaid from the (empty) addresses above
    body = re.sub(r"<script\b.*?</script>", "", body, flags=re.DOTALL)
    write_atomic(page, body.replace("</head>", _STYLE + "</head>", 1).encode("utf-8"))


def _with_drawn_math(notebook: dict[str, Any]) -> dict[str, Any]:
    copy: dict[str, Any] = json.loads(json.dumps(notebook))
    for cell in copy["cells"]:
        if cell["cell_type"] == "markdown":
            pieces = _FENCE.split(source_of(cell))
            pieces[::2] = [_MATH.sub(_draw, piece) for piece in pieces[::2]]
            cell["source"] = "".join(pieces)
    return copy


def _draw(found: re.Match[str]) -> str:
    """An equation as an inline picture; as its TeX source where Matplotlib cannot draw it."""
    shown = found.group(1) is not None
    source = " ".join((found.group(1) or found.group(2)).split())
    drawn = math_svg(source, 15 if shown else 13)
    if drawn is None:
        words = f"<code>{html.escape(source)}</code>"
    else:
        address, width, height, depth = drawn
        words = (
            f'<img class="math" alt="{html.escape(source, quote=True)}" src="{address}" '
            f'style="width:{width:.1f}px;height:{height:.1f}px;vertical-align:{-depth:.1f}px">'
        )
    return f'\n<p class="math">{words}</p>\n' if shown else words


_REWRITTEN = (
    (r"\\(?:tfrac|dfrac)\b", r"\\frac"),
    (r"\\(?:text|operatorname|mbox|textrm)\s*\{", r"\\mathrm{"),
    (r"\\(?:bm|boldsymbol)\s*\{", r"\\mathbf{"),
    (r"\\lVert|\\rVert|\\\|", r"\\Vert "),
    (r"\\lvert|\\rvert", r"\\vert "),
    (r"\\(?:bigl|bigr|Bigl|Bigr|big|Big|displaystyle|limits|nolimits)\b", ""),
    (r"\\(?:qquad)\b", r"\\quad\\quad "),
    (r"\\(?:le)\b", r"\\leq"),
    (r"\\(?:ge)\b", r"\\geq"),
    (r"\\(?:ne)\b", r"\\neq"),
    (r"\\(?:to)\b", r"\\rightarrow"),
    (r"\\(?:gets)\b", r"\\leftarrow"),
    (r"\\(?:tag)\s*\{([^}]*)\}", r"\\quad\\quad(\1)"),
    (r"\\mathbb\{1\}|\\mathbf\{1\}|\\mathbb 1", r"\\mathbf{1}"),
    (r"\\[!;,:]", r"\\,"),
)


@cache
def math_svg(source: str, size: float) -> tuple[str, float, float, float] | None:
    """Data address, width, height and depth (pixels) of an equation drawn by Matplotlib; None if it cannot."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure
    from matplotlib.font_manager import FontProperties
    from matplotlib.mathtext import MathTextParser

    for pattern, replacement in _REWRITTEN:
        source = re.sub(pattern, replacement, source)
    text, font = f"${source}$", FontProperties(size=size, math_fontfamily="cm")
    try:
        width, height, depth, _, _ = MathTextParser("path").parse(text, 72, font)
        figure = Figure(figsize=((width + 2) / 72, (height + 2) / 72))
        FigureCanvasSVG(figure)
        figure.patch.set_alpha(0)
        figure.text(1 / (width + 2), (depth + 1) / (height + 2), text, fontproperties=font)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    except (ValueError, RuntimeError):
        return None
    address = "data:image/svg+xml;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
    scale = 1.25
    return address, (width + 2) * scale, (height + 2) * scale, (depth + 1) * scale
