"""alpha: how much each client counts when rewards are fused.

Letters: `k` clients, `m` uploads let in.
"""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fedirl_ray.config import RunConfig
from fedirl_ray.engine.upload import Floats, Upload
from fedirl_ray.errors import ConfigError, in_short
from fedirl_ray.laws import require

SETTING = "federation.weights"
SHOWN = 40  # characters of a refused line that are shown


def read_weights(path: Path, clients: int) -> Floats:
    """Read how much each client counts.

    Args:
        path: A text file, one number a client, each on a line of its own, in the clients' order;
            lines that begin with # and empty ones are passed over.
        clients: How many there must be.

    Returns:
        Weights as they stand there, `[k]`; no sum is asked of them.

    Raises:
        ConfigError: It cannot be read, or holds something else.
    """
    law = f"{SETTING} must be equal, demonstrations or a file of one number a client"
    try:
        lines = path.read_text("utf-8").splitlines()
    except OSError as err:
        raise ConfigError(f"{law}, got {path}: {err.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{law}, got {path}, which is no text in UTF-8") from None
    found = []
    for number, line in enumerate(lines, 1):
        word = line.partition("#")[0].strip()
        if not word:
            continue
        try:
            value = float(word)
        except ValueError:
            value = math.nan
        positive = math.isfinite(value) and value > 0.0
        name = f"{SETTING} {path} line {number}"
        require(positive, name, "a number > 0 and finite", repr(in_short(word, SHOWN)))
        found.append(value)
    require(
        len(found) == clients, f"{SETTING} {path}", f"{clients} numbers, one a client", len(found)
    )
    return np.array(found)


def given_weights(config: RunConfig) -> Floats | None:
    """What a file says that each client counts, `[k]`; None: no file is asked.

    Raises:
        ConfigError: See `read_weights`.
    """
    asked = config.federation.weights
    return None if isinstance(asked, str) else read_weights(asked, config.clients)


def alpha(config: RunConfig, uploads: Sequence[Upload], given: Floats | None) -> Floats:
    """How much each upload that was let in counts: `[m]`, positive, sums to one.

    Args:
        config: `federation.weights`.
        uploads: At least one.
        given: What a file says of all clients, `[k]`.
    """
    if given is not None:
        counts = given[[upload.key.client for upload in uploads]]
    elif config.federation.weights == "demonstrations":
        counts = np.array([upload.episodes for upload in uploads], dtype=np.float64)
    else:
        return np.full(len(uploads), 1.0 / len(uploads))
    counts = counts / counts.max()  # whose sum cannot overflow
    weights: Floats = counts / counts.sum()
    return weights
