"""Arrays from an .npz that somebody else made, and into one.

Nothing is unpickled, and nothing is allocated before every header has been read: what an archive
says of its sizes is checked against what lies in it, and bounded.
"""

import io
import math
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from fedirl_ray.atomic import write_atomically
from fedirl_ray.errors import ConfigError, DataError, in_short

MOST_BYTES = 2**30
"""Of all arrays wanted, once unpacked: a small archive may swell a thousandfold."""
MOST_MEMBERS = 10_000
"""Of an archive, most of which nobody asked for."""
_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


def read_arrays(path: Path, names: Sequence[str], what: str) -> dict[str, NDArray[Any]]:
    """Read some arrays of an archive.

    Args:
        path: The file.
        names: Which arrays; others are not looked at.
        what: The file as messages call it, such as `problem.demonstrations-file demos.npz`.

    Returns:
        All of them, by name.

    Raises:
        DataError: There is no such archive, it lacks an array, or one is damaged, too large, or
            holds Python objects; one line.
    """
    law = f"{what} must be a readable .npz of plain arrays"
    try:
        if not path.is_file():
            raise ValueError("no such file" if not path.exists() else "no file")
        if not zipfile.is_zipfile(path):
            raise ValueError("no archive")
        with zipfile.ZipFile(path) as archive:
            held = archive.infolist()
            if len(held) > MOST_MEMBERS:
                raise ValueError(f"{len(held)} arrays, more than {MOST_MEMBERS}")
            found = {one.filename.removesuffix(".npy"): one for one in held}
            missing = [name for name in names if name not in found]
            if missing:
                raise DataError(
                    f"{what} must hold {', '.join(names)}; missing {', '.join(missing)}"
                )
            wanted = {name: found[name] for name in names}
            total = 0
            for name, one in wanted.items():
                with archive.open(one) as file:
                    total += _declared(file, name, one.file_size)
            if total > MOST_BYTES:
                raise ValueError(f"{total:,} bytes unpacked, more than {MOST_BYTES:,}")
            return {name: _read(archive, one) for name, one in wanted.items()}
    except DataError:
        raise
    # Broken archives raise whatever zipfile, zlib and NumPy's header parser happen to meet.
    except Exception as err:
        reason = in_short(err) or type(err).__name__
        raise DataError(f"{law}, got: {reason}") from err


def _declared(file: IO[bytes], name: str, size: int) -> int:
    """Bytes of an array by its header, once that agrees with the bytes there are."""
    try:
        version = np.lib.format.read_magic(file)
        shape, _, dtype = _HEADERS[version](file)
    except Exception as err:  # literals are parsed, and may be anything
        raise ValueError(f"{name} has no header of an array ({type(err).__name__})") from err
    if dtype.hasobject or dtype.names is not None or dtype.subdtype is not None:
        raise ValueError(f"{name} holds {dtype}, no plain numbers")
    if any(not isinstance(n, int) or n < 0 for n in shape):
        raise ValueError(f"{name} has shape {shape}")
    needed = math.prod(shape) * dtype.itemsize
    there = size - file.tell()
    if needed != there:
        raise ValueError(f"{name} of {there} bytes should have {needed}, says its header")
    return needed


def _read(archive: zipfile.ZipFile, one: zipfile.ZipInfo) -> NDArray[Any]:
    with archive.open(one) as file:
        array: NDArray[Any] = np.lib.format.read_array(file, allow_pickle=False)
        if file.read(1):
            raise ValueError(f"{one.filename} goes on after its array")
    return array


def write_arrays(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write arrays such that the name never holds less than all of them, without pickle.

    Raises:
        ConfigError: The file cannot be written.
    """
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    try:
        write_atomically(path, buffer.getvalue())
    except OSError as err:
        raise ConfigError(f"{path} cannot be written: {err.strerror}") from err
