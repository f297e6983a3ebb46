"""What turns a plain function into one the compiled loop may call.

A kernel stays an ordinary Python function: it can be read, tested and debugged without a compiler, and is compiled
together with the loop that calls it (`bound`).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import cache
from threading import Lock
from typing import Any, TypeVar

import numba
from numba.extending import register_jitable

from ._compiler import KernelCompiler
from ._source import source_tag

Function = TypeVar("Function", bound=Callable[..., Any])

_BINDING = Lock()


def kernel(function: Function) -> Function:
    """Mark a plain function as callable from the compiled loop.

    Parameters
    ----------
    function : callable
        Calls only NumPy, :mod:`math` and other kernels; writes its last argument in place.

    Returns
    -------
    callable
        The same, still plain, function.
    """
    return register_jitable(no_cfunc_wrapper=True, pipeline_class=KernelCompiler)(function)  # type: ignore[no-any-return]


def machine_code(function: Function, tag: str) -> Function:
    """Give a function as machine code that is kept on the disk.

    Numba's disk cache does not see edits in other files, so the function must close over a tag of the sources of all
    that it calls (`controlnet._source`), which enters the cache key.  It enters the file's name too: an old file may
    hold types that are gone, and cannot even be opened.

    Parameters
    ----------
    function : callable
        Calls kernels.
    tag : str
        The tag.

    Returns
    -------
    callable
        The same, compiled at its first call for each combination of types.
    """
    # No reassociation and no "no NaN": rounding in tanh and the check for divergence depend on it.
    function.__qualname__ += f".{tag[:16]}"
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": {"contract"}}
    try:
        return numba.njit(cache=True, **options)(function)  # type: ignore[no-any-return]
    except RuntimeError:
        warnings.warn(
            "no folder for compiled loops is writable, so each process compiles: set NUMBA_CACHE_DIR", stacklevel=3
        )
        return numba.njit(**options)(function)  # type: ignore[no-any-return]


@cache
def _bound(build: Callable[..., Function], kernels: tuple[Callable[..., Any], ...]) -> Function:
    tag = source_tag((*kernels, build))
    return machine_code(build(tag, *kernels), tag)


def bound(build: Callable[..., Function], *kernels: Callable[..., Any]) -> Function:
    """Give machine code of a function that is built around kernels.

    One thread at a time does so: reading sources in several at once breaks Python's parser (cpython #106905).

    Parameters
    ----------
    build : callable
        ``build(tag, *kernels)`` gives a function that calls the kernels and mentions the tag.
    *kernels : callable
        The kernels.

    Returns
    -------
    callable
        The same one for the same kernels.
    """
    with _BINDING:
        return _bound(build, kernels)
