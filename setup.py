"""Metadata and entry point; the tools are configured in pyproject.toml."""

from pathlib import Path

from setuptools import find_packages, setup

TEST = [
    "distributed>=2025.1",
    "hypothesis>=6.100",
    "import-linter>=2.1",
    "mypy>=1.14",
    "numpydoc>=1.8",
    "optuna>=4.0",
    "pytest>=8.3",
    "pytest-benchmark>=5.1",
    "pytest-xdist>=3.6",
    "ruff>=0.9",
]

setup(
    name="controlnet",
    version="0.1.0",
    description="Learning as control: deep networks as plants, feedback controllers, adaptation laws",
    long_description=Path(__file__).with_name("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    author="The controlnet developers",
    license="MIT",
    license_files=["LICENSE", "controlnet/data/DIGITS_LICENSE.md"],
    python_requires=">=3.11",
    packages=find_packages(include=["controlnet", "controlnet.*"]),
    package_data={
        "controlnet": ["py.typed", "data/*.npz", "data/*.md", "experiments/catalogue/**/*.toml", "reproduction/*.toml"]
    },
    install_requires=[
        "click>=8.1",
        "control>=0.10.1",
        "filelock>=4.0",
        "h5py>=3.12",
        "matplotlib>=3.9",
        "msgspec>=0.19",
        "numba>=0.61",
        "numpy>=2.0",
        "platformdirs>=4.2",
        "pooch>=1.8",
        "rich>=13.9",
        "scipy>=1.14",
        "threadpoolctl>=3.5",
        "tomli-w>=1.0",
    ],
    extras_require={"cluster": ["distributed>=2025.1"], "test": TEST, "tune": ["optuna>=4.0"]},
    entry_points={"console_scripts": ["controlnet=controlnet.cli:main"]},
    classifiers=[
        "Development Status :: 3 - Alpha",
        "Intended Audience :: Science/Research",
        "Programming Language :: Python :: 3",
        "Topic :: Scientific/Engineering",
        "Typing :: Typed",
    ],
)
