"""Which array library the maths runs on; the functions used are those numpy and torch share."""

from importlib import import_module
from types import ModuleType
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

Array = Any
"""An array of the chosen library: `numpy.ndarray` or `torch.Tensor`."""

Backend = Literal["numpy", "torch"]
Precision = Literal["float64", "float32"]


def namespace(backend: Backend) -> ModuleType:
    """Return the library's module.

    Raises:
        ValueError: If the name is unknown, or torch is asked for and not installed.
    """
    match backend:
        case "numpy":
            return np
        case "torch":
            try:
                return import_module("torch")
            except ModuleNotFoundError as err:
                raise ValueError(
                    "backend 'torch' needs torch, which is not installed: "
                    "pip install 'fedirl-ray[torch]'"
                ) from err
        case _:
            raise ValueError(f"backend must be 'numpy' or 'torch', got {backend!r}")


def asarray(xp: ModuleType, values: ArrayLike, dtype: Precision = "float64") -> Array:
    """Return `values` as an array of `xp`; on the GPU if torch sees one."""
    if xp is np:
        return np.asarray(values, dtype=dtype)
    device = "cuda" if xp.cuda.is_available() else "cpu"
    return xp.as_tensor(values, dtype=getattr(xp, dtype), device=device)


def asnumpy(values: Array) -> np.ndarray[Any, np.dtype[Any]]:
    """Return an array of either library as a numpy array."""
    return values if isinstance(values, np.ndarray) else np.asarray(values.cpu())


def like(reference: Array) -> dict[str, Any]:
    """Return the keywords that place a new array beside `reference` (torch: its device)."""
    return {} if isinstance(reference, np.ndarray) else {"device": reference.device}


def namespace_of(values: Array) -> ModuleType:
    """Return the module `values` belongs to."""
    return np if isinstance(values, np.ndarray) else namespace("torch")
