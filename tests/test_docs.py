"""Every public name has a docstring, and every argument stands in it."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import warnings
from collections.abc import Callable, Iterator
from types import FunctionType, ModuleType
from typing import Any

import pytest
from numpydoc.docscrape import NumpyDocString

import controlnet

NOT_PARAMETERS = {"self", "cls"}


def public_modules() -> Iterator[ModuleType]:
    """Give the package and its modules, those with a leading underscore left out."""
    yield controlnet
    for info in pkgutil.walk_packages(controlnet.__path__, "controlnet."):
        if not any(part.startswith("_") for part in info.name.split(".")):
            yield importlib.import_module(info.name)


def members(module: ModuleType) -> Iterator[tuple[str, Any]]:
    """Give the public functions and classes that a module defines itself."""
    for name, member in vars(module).items():
        if name.startswith("_") or getattr(member, "__module__", None) != module.__name__:
            continue
        if inspect.isclass(member) or isinstance(member, FunctionType):
            yield f"{module.__name__}.{name}", member


def methods(name: str, cls: type) -> Iterator[tuple[str, Callable[..., Any]]]:
    """Give the public methods of a class that no base documents; kernels bound as static methods stand elsewhere."""
    for attribute, value in vars(cls).items():
        function = value.__func__ if isinstance(value, classmethod) else value
        inherited = any(getattr(getattr(base, attribute, None), "__doc__", None) for base in cls.__mro__[1:])
        if not attribute.startswith("_") and isinstance(function, FunctionType) and not inherited:
            yield f"{name}.{attribute}", function


def properties(name: str, cls: type) -> Iterator[tuple[str, property]]:
    for attribute, value in vars(cls).items():
        inherited = any(getattr(getattr(base, attribute, None), "__doc__", None) for base in cls.__mro__[1:])
        if not attribute.startswith("_") and isinstance(value, property) and not inherited:
            yield f"{name}.{attribute}", value


def documented(*objects: Any) -> set[str]:
    """Give the names under Parameters in the docstrings."""
    names: set[str] = set()
    for documented_object in objects:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            sections = NumpyDocString(inspect.getdoc(documented_object) or "")
        for parameter in (*sections["Parameters"], *sections["Attributes"]):
            names |= {name.strip().lstrip("*") for name in parameter.name.split(",")}
    return names


def arguments(function: Callable[..., Any]) -> set[str]:
    return set(inspect.signature(function).parameters) - NOT_PARAMETERS


def gaps_of_class(name: str, cls: type) -> Iterator[str]:
    is_tuple = issubclass(cls, tuple)
    if not is_tuple and not inspect.isabstract(cls) and isinstance(cls.__init__, FunctionType):
        bases = [base for base in cls.__mro__ if base.__module__.startswith("controlnet")]
        for argument in sorted(arguments(cls) - documented(*bases) - {"args", "kwargs"}):
            yield f"{name}: argument {argument}"
    for label, function in methods(name, cls):
        yield from gaps_of_function(label, function)
    for label, value in properties(name, cls):
        if not value.__doc__:
            yield f"{label}: docstring"


def gaps_of_function(name: str, function: Callable[..., Any]) -> Iterator[str]:
    if not function.__doc__:
        yield f"{name}: docstring"
    for argument in sorted(arguments(function) - documented(function)):
        yield f"{name}: argument {argument}"


@pytest.mark.parametrize("module", tuple(public_modules()), ids=lambda module: module.__name__)
def test_every_argument_is_documented(module: ModuleType) -> None:
    gaps = [] if module.__doc__ else [f"{module.__name__}: docstring"]
    for name, member in members(module):
        if not member.__doc__ or member.__doc__.startswith(f"{member.__name__}("):
            gaps.append(f"{name}: docstring")
        elif inspect.isclass(member):
            gaps += gaps_of_class(name, member)
        else:
            gaps += gaps_of_function(name, member)
    assert not gaps, "not documented:\n" + "\n".join(gaps)


def test_a_gap_is_found() -> None:
    def half(documented: float, forgotten: float) -> None:
        """Do nothing.

        Parameters
        ----------
        documented : float
            A number.
        """

    assert list(gaps_of_function("half", half)) == ["half: argument forgotten"]


def test_public_names_exist() -> None:
    for name in controlnet.__all__:
        assert getattr(controlnet, name) is not None
    assert set(controlnet.__all__) <= set(dir(controlnet))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = controlnet.nothing
