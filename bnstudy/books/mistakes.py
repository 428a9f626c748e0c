"""What is wrong with a file that somebody wrote, and where: file, line and field, in one sentence."""

import ast
import re
import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from bnstudy.errors import BnstudyError, unknown

# What an error of the library says of a name: "No level of factor 'lr' named '2'", "field = 3 is not".
_NAMED = (re.compile(r"named '([^']+)'"), re.compile(r"(?:^|: )(\w+) = "), re.compile(r"'([^']+)'"))
_CLAIM = re.compile(r"[Cc]laim (?:'([^']+)'|\"([^\"]+)\")")
_UNEXPECTED = re.compile(r"(\w+)(?:\.__init__)?\(\) got an unexpected keyword argument '(\w+)'")
_MISSING = re.compile(r"(\w+)(?:\.__init__)?\(\) missing \d+ required [\w\- ]*arguments?: (.+)")
_POSITIONAL = re.compile(r"(\w+)(?:\.__init__)?\(\) takes .*positional arguments?")


def told(path: Path, error: BaseException, names: Mapping[str, Any]) -> str:
    """Return what keeps a file from loading; `names` are those that it had defined by then."""
    what = _what(error, names)
    if isinstance(error, SyntaxError):
        return f"{error.filename or path}{f', line {error.lineno}' if error.lineno else ''}: {what}"
    frames = traceback.extract_tb(error.__traceback__)
    line = next((frame.lineno for frame in reversed(frames) if frame.filename == str(path)), None)
    return f"{_place(path, line, what)}: {what}"


def undeclared(path: Path, names: Mapping[str, Any], kind: type) -> str:
    """Return what a file without `ablation` lacks, and what it may have meant."""
    meant = next((name for name, value in names.items() if isinstance(value, kind)), None)
    told = f"{path} declares no `ablation = {kind.__name__}(...)`"
    if meant is None:
        return f"{told}."
    lines = [node.lineno for node in ast.walk(_tree(path)) if isinstance(node, ast.Name) and node.id == meant]
    return f"{told}; rename {meant!r}{f' of line {lines[0]}' if lines else ''} to `ablation`."


def _what(error: BaseException, names: Mapping[str, Any]) -> str:
    """Return what is wrong, as one line."""
    if isinstance(error, BnstudyError):
        return str(error)
    if isinstance(error, SyntaxError):
        return f"not valid Python: {error.msg}"
    if isinstance(error, TypeError) and (found := _call(str(error), names)):
        return found
    return " ".join(f"{type(error).__name__}: {error}".split())


def _call(text: str, names: Mapping[str, Any]) -> str:
    """Return what is wrong with the arguments of a call, or nothing for another error."""
    if found := _UNEXPECTED.search(text):
        owner, field = found.groups()
        return str(unknown(f"field of {owner}", field, _fields(names.get(owner)))) if owner in names else ""
    if found := _MISSING.search(text):
        fields = re.findall(r"'(\w+)'", found[2])
        return f"{found[1]} needs {' and '.join(f'{field}=...' for field in fields)}."
    if found := _POSITIONAL.search(text):
        known = ", ".join(f"{name}=..." for name in _fields(names.get(found[1]))[:4])
        return f"{found[1]} takes its fields by name{f': {known}' if known else ''}."
    return ""


def _fields(declared: object) -> list[str]:
    import inspect  # a fortieth of the time of `bnstudy list`, which rarely needs it

    if not callable(declared):
        return []
    return [
        name for name in inspect.signature(declared).parameters if name not in ("_", "changes", "options")
    ]


def _place(path: Path, line: int | None, what: str) -> str:
    """Return the file with the line that is wrong, and the field, where the sentence leads there."""
    tree = _tree(path)
    claim, calls = _claim_of(tree, what), [call for call in _calls(tree) if call.lineno == line]
    span = claim or (calls[0] if calls else tree)
    line, field = claim.lineno if claim else line, ""
    for name in _searched(what):
        places = sorted(set(_held(span, name)))
        # A wrong name is wrong wherever it stands; a level may be right for another factor.
        if len(places) == 1 or (places and not what.startswith("No level")):
            line, field = places[0]
            break
    return f"{path}{f', line {line}' if line else ''}{f', {field}' if field else ''}"


def _claim_of(tree: ast.AST, what: str) -> ast.Call | None:
    """Return the call that makes the claim which a sentence is about."""
    texts = {text for found in _CLAIM.findall(what) for text in found if text}
    made = (call for call in _calls(tree) if call.args and isinstance(call.args[0], ast.Constant))
    return next((call for call in made if call.args[0].value in texts), None)  # type: ignore[attr-defined]


def _searched(what: str) -> Iterator[str]:
    """Yield the names that a sentence says are wrong, the likeliest first."""
    for pattern in _NAMED:
        yield from pattern.findall(_CLAIM.sub("", what))[:1]


def _held(node: ast.AST, name: str, field: str = "") -> Iterator[tuple[int, str]]:
    """Yield the line and the field of each place below a node where a name stands."""
    for child in ast.iter_child_nodes(node):
        inner = child.arg or field if isinstance(child, ast.keyword) else field
        if isinstance(child, ast.keyword) and child.arg == name:
            yield child.lineno, name
        elif isinstance(child, ast.Constant) and child.value == name:
            yield child.lineno, inner
        else:
            yield from _held(child, name, inner)


def _calls(tree: ast.AST) -> Iterator[ast.Call]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.Call))


def _tree(path: Path) -> ast.Module:
    """Return the syntax tree of a file, or an empty one."""
    try:
        return ast.parse(path.read_text())
    except (OSError, ValueError, SyntaxError):
        return ast.Module([], [])
