"""One root seed, and from it an independent stream for every name.

A stream belongs to what it is for (client 7 of seed 3, its layout), never to the process that
happens to draw from it, so moving work between processes cannot change a number.
"""

import zlib

import numpy as np


def stream(root: int, *name: str | int) -> np.random.Generator:
    """Open the random stream called `name` under the root seed.

    Args:
        root: Root seed, >= 0.
        *name: Path of the stream, e.g. `("seed", 3, "client", 7, "layout")`. Words are hashed
            with CRC-32, which is the same on every machine and Python version.

    Returns:
        A generator that no other name shares.
    """
    # A type tag keeps the word "7" and the number 7 apart.
    key = tuple(
        part
        for word in name
        for part in ((0, word) if isinstance(word, int) else (1, zlib.crc32(word.encode())))
    )
    return np.random.default_rng(np.random.SeedSequence(root, spawn_key=key))
