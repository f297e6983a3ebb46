"""Options that commands share."""

from __future__ import annotations

from pathlib import Path

import click

DATA_DIR = click.option(
    "--data-dir",
    type=click.Path(path_type=Path),
    envvar="CONTROLNET_DATA",
    show_envvar=True,
    metavar="DIR",
    help="Folder with the dataset's files.",
)
JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
