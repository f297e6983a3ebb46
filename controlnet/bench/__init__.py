"""Speed of the package on this machine, against the matrix products alone: `controlnet bench`."""
