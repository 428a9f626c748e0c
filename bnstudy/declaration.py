"""What an ablation's file says beside its data: what to expect, and the reasons for margins and seeds."""

import ast
import inspect
import io
import tokenize
from collections.abc import Iterator, Mapping

HOLDS = ", here and below"
"""In the reason for a margin: that of the claims below as well."""


def expected(text: str) -> str:
    """Return what the literature leads one to expect: the docstring below its first line; each paragraph
    is one line, and they are parted by blank ones."""
    docstring = ast.get_docstring(_tree(text)) or ""
    paragraphs = inspect.cleandoc(docstring.partition("\n")[2]).split("\n\n")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


def margins(text: str) -> dict[str, str]:
    """Return by a claim's text the comment above it, which says why its margin is what it is; one that says
    ", here and below" holds until the next."""
    comments, found, shared = _comments(text), dict[str, str](), ""
    calls = (call for call in _calls(text, "Claim") if call.args and isinstance(call.args[0], ast.Constant))
    for call in sorted(calls, key=lambda call: call.lineno):
        own = _above(comments, call.lineno)
        shared = (own if HOLDS in own else "") if own else shared
        found[str(ast.literal_eval(call.args[0]))] = (own or shared).replace(HOLDS, "")
    return found


def seeds(text: str) -> str:
    """Return the comment beside the seeds, which says why so many; nothing where there is none."""
    lines = [
        key.value.lineno for call in _calls(text, "Ablation") for key in call.keywords if key.arg == "seeds"
    ]
    return _comments(text).get(lines[0], ("", False))[0] if lines else ""


def _tree(text: str) -> ast.Module:
    """Return the syntax of a file; an empty one for an ablation that was made without a file."""
    return ast.parse(text)


def _calls(text: str, name: str) -> Iterator[ast.Call]:
    for node in ast.walk(_tree(text)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == name:
            yield node


def _comments(text: str) -> dict[int, tuple[str, bool]]:
    """Return the comment of each line, and whether the line has nothing else."""
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    return {
        token.start[0]: (token.string.lstrip("# ").rstrip(), not token.line[: token.start[1]].strip())
        for token in tokens
        if token.type == tokenize.COMMENT
    }


def _above(comments: Mapping[int, tuple[str, bool]], line: int) -> str:
    """Return the comment that ends right above a line."""
    found: list[str] = []
    while (held := comments.get(line - 1 - len(found))) and held[1]:
        found.insert(0, held[0])
    return " ".join(found)
