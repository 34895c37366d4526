"""The reference: every public name of the package with its signature and docstring, as Markdown pages for Sphinx.

The source is read, not imported: a page needs neither torch nor seconds, and shows annotations as they are written.
"""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

_SPECIAL = re.compile(r"([\\*_\[\]<>$|#~^{}])")
_ROW = re.compile(r"(\S(?:.*?\S)?)\s{2,}(\S.*)")
Function = ast.FunctionDef | ast.AsyncFunctionDef


def reference_pages(package: Path) -> dict[str, str]:
    """Return name -> Markdown of one page for each room of the package, subpackages apart, in the rooms' order."""
    rooms: dict[str, list[Path]] = {}
    for path in sorted(package.rglob("*.py")):
        folder = path.parent.relative_to(package.parent)
        if path.name != "__main__.py" and not {"__pycache__", "cli"} & {*path.parts}:  # commands have a page
            rooms.setdefault(".".join(folder.parts), []).append(path)
    return {room: _page(room, paths, package.parent) for room, paths in rooms.items()}


class _Whole(ast.NodeTransformer):
    """Write the package's own types in annotations with their module, so that each links to one place."""

    def __init__(self, tree: ast.Module, module: str) -> None:
        self.homes = {node.name: module for node in tree.body if isinstance(node, ast.ClassDef)}
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and str(node.module).startswith("oshp_lite"):
                self.homes |= {alias.asname or alias.name: str(node.module) for alias in node.names}

    def visit_Name(self, node: ast.Name) -> ast.AST:
        """One name of an annotation."""
        home = self.homes.get(node.id)
        return node if home is None else ast.Name(f"{home}.{node.id}", node.ctx)

    def annotate(self, tree: ast.Module) -> None:
        """Change the annotations of every function and class of the module."""
        for node in ast.walk(tree):
            match node:
                case ast.arg(annotation=ast.expr() as kind) | ast.AnnAssign(annotation=kind):
                    node.annotation = self.visit(kind)
                case ast.FunctionDef(returns=ast.expr() as kind) | ast.AsyncFunctionDef(returns=ast.expr() as kind):
                    node.returns = self.visit(kind)


def _page(room: str, paths: list[Path], root: Path) -> str:
    parts = [f"# {_escape(room)}", ""]
    for path in sorted(paths, key=lambda path: path.name != "__init__.py"):
        module = ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__")
        tree = ast.parse(path.read_text(encoding="utf-8"))
        _Whole(tree, module).annotate(tree)
        members = list(_members(tree.body, 5))
        described = markdown(ast.get_docstring(tree))
        if module == room:
            parts += [f":::{{py:module}} {module}\n:::", "", described, "", *members]
        elif members:
            parts += [f"## {_escape(module.rpartition('.')[2])}", "", f":::{{py:module}} {module}\n:::", ""]
            parts += [described, "", *members]
    return "\n".join(parts) + "\n"


def _members(body: list[ast.stmt], fence: int) -> Iterator[str]:
    """The directives of the public names of a module's (or class's) body."""
    inside = fence < 5
    for index, node in enumerate(body):
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() if not node.name.startswith("_"):
                if not _decorators(node) & {"setter", "deleter", "overload"}:
                    yield _function(node, fence, inside)
            case ast.ClassDef() if not node.name.startswith("_"):
                yield _class(node, fence)
            case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
                text = _text_below(body, index)
                if text and not name.startswith("_"):
                    yield _directive("attribute" if inside else "data", name, markdown(text), fence)


def _text_below(body: list[ast.stmt], index: int) -> str:
    match body[index + 1 : index + 2]:
        case [ast.Expr(value=ast.Constant(value=str(text)))]:
            return inspect.cleandoc(text)
    return ""


def _decorators(node: Function | ast.ClassDef) -> set[str]:
    return {ast.unparse(decorator).partition("(")[0].rpartition(".")[2] for decorator in node.decorator_list}


def _function(node: Function, fence: int, inside: bool) -> str:
    decorated, text = _decorators(node), markdown(ast.get_docstring(node))
    if inside and decorated & {"property", "cached_property"}:
        options = [f":type: {ast.unparse(node.returns)}"] if node.returns else []
        return _directive("property", node.name, text, fence, options)
    arguments = node.args
    if inside and "staticmethod" not in decorated:
        (arguments.posonlyargs or arguments.args)[:1] = []
    returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    options = [f":{kind}:" for kind in ("classmethod", "staticmethod") if kind in decorated]
    signature = f"{node.name}({ast.unparse(arguments)}){returns}"
    return _directive("method" if inside else "function", signature, text, fence, options)


def _class(node: ast.ClassDef, fence: int) -> str:
    initialiser = next((one for one in node.body if isinstance(one, Function) and one.name == "__init__"), None)
    signature = ""
    if "dataclass" in _decorators(node):
        fields = [one for one in node.body if isinstance(one, ast.AnnAssign) and "ClassVar" not in ast.unparse(one)]
        signature = f"({', '.join(map(ast.unparse, fields))})"
    elif initialiser is not None:
        initialiser.args.args[:1] = []
        signature = f"({ast.unparse(initialiser.args)})"
    text = "\n\n".join([markdown(ast.get_docstring(node)), *_members(node.body, fence - 1)])
    return _directive("class", node.name + signature, text, fence)


def _directive(kind: str, signature: str, text: str, fence: int, options: list[str] | None = None) -> str:
    colons = ":" * fence
    head = [f"{colons}{{py:{kind}}} {' '.join(signature.split())}", *(options or []), ""]
    return "\n".join([*head, text, colons, ""])


def _escape(text: str) -> str:
    return _SPECIAL.sub(r"\\\1", text)


def spans(text: str) -> str:
    """A text as one line of Markdown: spans in backticks stay code, every other sign means itself."""
    parts = re.split(r"(``[^`]+``|`[^`]+`)", " ".join(text.split()))
    return "".join(part if part.startswith("`") and index % 2 else _escape(part) for index, part in enumerate(parts))


def markdown(text: str | None) -> str:
    """A docstring as Markdown: paragraphs, the rows "name  meaning" as a list, indented blocks as code."""
    shown = []
    for paragraph in re.split(r"\n[ \t]*\n", inspect.cleandoc(text or "")):
        lines = paragraph.splitlines()
        if lines and all(line.startswith("    ") for line in lines):
            shown.append("\n".join(["```text", *(line[4:] for line in lines), "```"]))
        else:
            shown += _paragraph(lines)
    return "\n\n".join(shown)


def _paragraph(lines: list[str]) -> Iterator[str]:
    prose: list[str] = []
    rows: list[str] = []
    for line in lines:
        row = _ROW.fullmatch(line)
        listed = line.startswith(("- ", "* "))
        if (row or listed) and not line.startswith(" "):
            name = f"**{spans(row[1])}** — " if row and not listed else ""
            rows.append(f"- {name}{spans(row[2] if name and row else line[2:])}")
        elif rows and line.startswith(" "):
            rows[-1] += f" {spans(line)}"
        elif rows:
            yield from ("\n".join(rows),)
            prose, rows = [line], []
        else:
            prose.append(line)
        if rows and prose:
            yield spans(" ".join(prose))
            prose = []
    yield from ["\n".join(rows)] if rows else [spans(" ".join(prose))] if prose else []
