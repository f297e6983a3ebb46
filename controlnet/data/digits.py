"""The 1,797 handwritten digits that come with the package, so that a first run needs no download.

E. Alpaydin, C. Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning Repository, 1998,
https://doi.org/10.24432/C50P49, licensed CC BY 4.0. See ``DIGITS_LICENSE.md`` beside this file.
"""

from __future__ import annotations

from importlib.resources import files

import numpy as np

from .dataset import Dataset, Seed, Split, generator, stratified_indices

FRACTIONS = (0.70, 0.15, 0.15)
LARGEST_PIXEL = 16.0


def load_digits(seed: Seed) -> Dataset:
    """Load the embedded 8x8 digits.

    Pixels 0..16 are scaled to [0, 1] and then standardised by one mean and one standard deviation, two
    scalars taken over all pixels of the training split: a pixel that is always blank has no deviation of its
    own to divide by.

    Parameters
    ----------
    seed : int or SeedSequence
        Decides which sample goes to which split.

    Returns
    -------
    Dataset
        About 70 % training, 15 % validation and 15 % test samples of 64 features, each with the same mix of
        the 10 classes.
    """
    with (files("controlnet.data") / "digits.npz").open("rb") as stream:
        archive = np.load(stream, allow_pickle=False)
        images, labels = archive["images"] / LARGEST_PIXEL, archive["labels"].astype(np.int64)
    train, validation, test = stratified_indices(labels, FRACTIONS, generator(seed))
    inputs = (images - images[train].mean()) / images[train].std()
    parts = [Split(inputs[part], labels[part]) for part in (train, validation, test)]
    return Dataset("digits", parts[0], parts[1], parts[2], outputs=10)
