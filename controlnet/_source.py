"""A tag of all source text that a compiled loop is made of, so that no edit leaves stale machine code."""

from __future__ import annotations

import ast
import hashlib
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

FOREIGN = frozenset({"numpy", "scipy", "numba", "llvmlite", "control", "matplotlib"}) | sys.stdlib_module_names


def source_tag(functions: Iterable[Callable[..., Any]]) -> str:
    """Give a hash of the modules of some functions and of every module that these import, directly or not.

    Parameters
    ----------
    functions : iterable of callable
        The functions that are bound together.

    Returns
    -------
    str
        Changes whenever any of these files does.
    """
    digest = hashlib.sha256()
    for path, text in sorted(_reachable_text({function.__module__ for function in functions}).items()):
        digest.update(str(path).encode() + b"\0" + text + b"\0")
    return digest.hexdigest()


def _reachable_text(names: set[str]) -> dict[Path, bytes]:
    """Give the source of the named modules and of all that they import, the foreign libraries apart."""
    texts: dict[Path, bytes] = {}
    waiting = [sys.modules[name] for name in names]
    while waiting:
        module = waiting.pop()
        path = Path(getattr(module, "__file__", None) or "")
        if path.suffix == ".py" and path not in texts:
            texts[path] = path.read_bytes()
            waiting += _imported_modules(module, texts[path])
    return texts


def _imported_modules(module: ModuleType, text: bytes) -> list[ModuleType]:
    """Give the modules that a source imports when it is loaded itself; kernels see no others."""
    package = (module.__package__ or "").split(".")
    names: set[str] = set()
    for node in _statements(ast.parse(text).body):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            names |= {base, *(f"{base}.{alias.name}" for alias in node.names)}
    return [sys.modules[name] for name in names if name in sys.modules and name.split(".")[0] not in FOREIGN]


def _statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Give the statements that run when a module is loaded, those for type checkers apart."""
    for node in body:
        yield node
        if isinstance(node, ast.If) and "TYPE_CHECKING" not in ast.unparse(node.test):
            yield from _statements([*node.body, *node.orelse])
        elif isinstance(node, ast.Try):
            handlers = [statement for handler in node.handlers for statement in handler.body]
            yield from _statements([*node.body, *handlers, *node.orelse, *node.finalbody])
