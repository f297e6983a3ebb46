"""Python code in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping

from ..errors import ControlNetError


def run_python(code: str, doing: str, environment: Mapping[str, str] | None = None) -> str:
    """Run code in a new process.

    Parameters
    ----------
    code : str
        The code.
    doing : str
        What it does, for the error.
    environment : mapping of str, optional
        Variables that it finds beside those of this process.

    Returns
    -------
    str
        What it printed.

    Raises
    ------
    ControlNetError
        If it fails.
    """
    command, variables = [sys.executable, "-c", code], os.environ | dict(environment or {})
    process = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
    if process.returncode:
        reason = process.stderr.strip().splitlines()[-1:] or [f"exit code {process.returncode}"]
        raise ControlNetError(f"{doing}: the process failed: {reason[0]}")
    return process.stdout
