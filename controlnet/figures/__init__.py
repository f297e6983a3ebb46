"""The toy figures of Meulemans et al. 2021 (arXiv 2106.07887), computed anew: pictures, and their data as CSV."""

from .registry import FIGURES, draw

__all__ = ["FIGURES", "draw"]
