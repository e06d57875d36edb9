"""Which array library the maths runs on, and where its arrays lie.

The functions used are those numpy and torch share. What is quickest differs between a CPU's caches
and a GPU's launches: that is a table of choices, not a second implementation.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

Array = Any
"""An array of the chosen library: `numpy.ndarray` or `torch.Tensor`."""

Backend = Literal["numpy", "torch"]
Precision = Literal["float64", "float32"]


@dataclass(frozen=True)
class Choices:
    """What is quickest with an array library, by measurement (docs/benchmarks.md)."""

    merge_up_to: int
    """Axes are merged while their product has at most so many points: one product of matrices
    instead of two."""
    together: int | None
    """Clients are stepped together while their vectors hold at most so many numbers: fewer calls,
    until the vectors no longer fit the cache; `None`: all of them."""
    cached: int | None
    """Numbers worked on at once where several passes over them follow each other; `None`: all."""
    block: int
    """Bytes of a point cloud's kernel that are made, or read, at once for all clients."""
    stored: int
    """A point cloud's kernel is stored up to so many bytes, and made again for every product beyond
    them: a fixed number, so that what a run takes does not depend on the machine."""
    every: int | None
    """Steps between two looks at the error, which bring numbers to the host; `None`: a look costs
    little and is taken where the last ones foresee the end."""


CHOICES: dict[Backend, Choices] = {
    "numpy": Choices(
        merge_up_to=32, together=2**17, cached=2**15, block=2**21, stored=2**28, every=None
    ),
    # Those of a GPU. On a CPU they are not quick, and there so that tests reach them.
    "torch": Choices(
        merge_up_to=256, together=None, cached=None, block=2**28, stored=2**33, every=10
    ),
}


@dataclass(frozen=True)
class Place:
    """An array library, and the device that its arrays lie on."""

    backend: Backend = "numpy"
    device: str | None = None
    """Of torch: `"cpu"`, `"cuda"` or `"cuda:1"`."""

    @property
    def xp(self) -> ModuleType:
        """The library's module."""
        return namespace(self.backend)

    @property
    def choices(self) -> Choices:
        """What is quickest here."""
        return CHOICES[self.backend]

    @property
    def on_gpu(self) -> bool:
        """Whether the arrays lie on a GPU."""
        return self.device is not None and self.device.startswith("cuda")

    def asarray(self, values: ArrayLike | Array, dtype: Precision = "float64") -> Array:
        """Return `values` as an array here; the same one where that is possible."""
        if self.backend == "numpy":
            return np.asarray(values, dtype=dtype)
        xp = self.xp
        return xp.as_tensor(values, dtype=getattr(xp, dtype), device=self.device)

    @contextmanager
    def multiplying(self, *, tf32: bool) -> Iterator[None]:
        """Take products of float32 matrices on a GPU in TF32, or in float32 whatever is set."""
        if not self.on_gpu:
            yield
            return
        xp = self.xp
        before = xp.get_float32_matmul_precision()
        xp.set_float32_matmul_precision("high" if tf32 else "highest")
        try:
            yield
        finally:
            xp.set_float32_matmul_precision(before)


NUMPY = Place()


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


def located(measures: Any, backend: Backend, device: str | None) -> Place:
    """Return where to compute: on `device`, else where tensors lie, else on the CPU.

    Raises:
        ValueError: If the backend or the device is unknown or not there, or tensors lie on several.
    """
    xp = namespace(backend)
    if xp is np:
        if device not in (None, "cpu"):
            raise ValueError(f"device must be 'cpu' with backend 'numpy', got {device!r}")
        return NUMPY
    several = measures if isinstance(measures, list | tuple) else [measures]
    held = [str(one.device) if isinstance(one, xp.Tensor) else "cpu" for one in several]
    for i, one in enumerate(held):
        if one != held[0]:
            raise ValueError(
                f"measures must lie on one device, got measures[0] on {held[0]} and "
                f"measures[{i}] on {one}"
            )
    return Place(backend, _checked_device(xp, device or (held[0] if held else "cpu")))


def _checked_device(xp: ModuleType, device: str) -> str:
    kind, _, number = device.partition(":")
    if kind not in ("cpu", "cuda") or not (number.isdigit() or ":" not in device):
        raise ValueError(f"device must be 'cpu', 'cuda' or 'cuda:NUMBER', got {device!r}")
    count = xp.cuda.device_count() if kind == "cuda" else 1
    if int(number or 0) >= count:
        raise ValueError(f"device must be one of the {count} GPUs that torch sees, got {device!r}")
    return device


def asnumpy(values: Array) -> np.ndarray[Any, np.dtype[Any]]:
    """Return an array of either library as a numpy array."""
    return values if isinstance(values, np.ndarray) else np.asarray(values.detach().cpu().numpy())


def beside(reference: Array, values: ArrayLike | Array) -> Array:
    """Return `values` as an array of the library, the type and the device of `reference`."""
    if isinstance(reference, np.ndarray):
        return np.asarray(values, dtype=reference.dtype)
    xp = namespace("torch")
    return xp.as_tensor(values, dtype=reference.dtype, device=reference.device)


def like(reference: Array) -> dict[str, Any]:
    """Return the keywords that place a new array beside `reference` (torch: its device)."""
    return {} if isinstance(reference, np.ndarray) else {"device": reference.device}


def namespace_of(values: Array) -> ModuleType:
    """Return the module `values` belongs to."""
    return np if isinstance(values, np.ndarray) else namespace("torch")


def multiply(left: Array, right: Array, out: Array) -> None:
    """Write to `out` `[s, a, c]` the products of `left` and `right`, one of them a single matrix.

    Each of the `s` is a product of its own, so that its bytes do not depend on the others; torch's
    `matmul` would fold them into one.
    """
    if isinstance(out, np.ndarray):
        np.matmul(left, right, out=out)
    else:
        s = len(out)
        namespace("torch").bmm(
            left.expand(s, *left.shape[-2:]), right.expand(s, *right.shape[-2:]), out=out
        )


def solve_linear(matrix: Array, right: Array) -> Array:
    """Return `x` with `matrix @ x = right`; torch does not stop to see whether there is one."""
    if isinstance(matrix, np.ndarray):
        return np.linalg.solve(matrix, right)
    return namespace("torch").linalg.solve_ex(matrix, right)[0]
