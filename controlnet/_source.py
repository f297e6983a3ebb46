"""A tag of all source text that a compiled loop is made of, so that no edit leaves stale machine code."""

from __future__ import annotations

import ast
import hashlib
import sys
from collections.abc import Callable, Iterable
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

PACKAGE = Path(__file__).parent
FOREIGN = frozenset({"numpy", "scipy", "numba", "llvmlite", "control", "matplotlib"}) | sys.stdlib_module_names


def source_tag(functions: Iterable[Callable[..., Any]]) -> str:
    """Give a hash of the package's source and of every module that the functions reach by imports.

    Parameters
    ----------
    functions : iterable of callable
        The functions that are bound together.

    Returns
    -------
    str
        Changes whenever any of these files does.
    """
    modules = {sys.modules[name] for name in {function.__module__ for function in functions}}
    outside = {path for path in _reachable_files(modules) if not path.is_relative_to(PACKAGE)}
    digest = hashlib.sha256(_package_digest())
    for path in sorted(outside):
        digest.update(str(path).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


@lru_cache(maxsize=1)
def _package_digest() -> bytes:
    digest = hashlib.sha256()
    for path in sorted(PACKAGE.rglob("*.py")):
        digest.update(str(path.relative_to(PACKAGE)).encode() + b"\0" + path.read_bytes())
    return digest.digest()


def _reachable_files(modules: set[ModuleType]) -> set[Path]:
    files: set[Path] = set()
    waiting = list(modules)
    while waiting:
        module = waiting.pop()
        path = Path(getattr(module, "__file__", None) or "")
        if path.suffix != ".py" or path in files:
            continue
        files.add(path)
        if not path.is_relative_to(PACKAGE):
            waiting += _imported_modules(module, path)
    return files


def _imported_modules(module: ModuleType, path: Path) -> list[ModuleType]:
    package = module.__package__ or ""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*parents, *([node.module] if node.module else [])])
            names |= {base, *(f"{base}.{alias.name}" for alias in node.names)}
    return [sys.modules[n] for n in names if n in sys.modules and n.split(".")[0] not in FOREIGN]
