"""What decides results: settings, the content that they point at, and the code.

An identity is written down when work begins, and stands inside every piece that is kept of it. Work
is gone on with only under the identity it was begun with; what differs is named.
"""

import hashlib
import importlib.metadata
import importlib.util
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, Self

import fedirl_ray
from fedirl_ray.cli import leaves, settings
from fedirl_ray.config import RunConfig, narrowed
from fedirl_ray.domain.kinds import domain_of
from fedirl_ray.errors import ConfigError, DataError, RunError

IDENTITY = "identity.json"
FREE = ("engine", "record")
"""Groups of settings that never change a result."""
SHOWING = ("api", "command", "report", "run.py", "testing.py")
"""Rooms of the package that nothing which computes imports."""


class Difference(NamedTuple):
    """A setting, and what it was in one identity and another."""

    name: str
    one: Any
    other: Any


@dataclass(frozen=True)
class Identity:
    """What decides some results."""

    settings: Mapping[str, Any]
    """By dotted name."""
    inputs: Mapping[str, str]
    """Digests of content, by the setting that points at it."""
    version: str
    """Of the package."""
    source: str
    """Digest of its code."""

    @classmethod
    def of(cls, tree: Mapping[str, Any], inputs: Mapping[str, str]) -> Self:
        """What this code makes of some settings.

        Args:
            tree: Settings that decide results, nested or by dotted name.
            inputs: Digests of the content that some of them point at, by dotted name.
        """
        # As JSON gives them back.
        plain = json.loads(json.dumps(dict(leaves(tree)), default=str))
        return cls(plain, dict(inputs), version(), source_digest())

    @property
    def code(self) -> str:
        """The code, in words."""
        return _in_words(self.version, self.source)

    def encode(self) -> bytes:
        """This identity as the bytes of a JSON file."""
        return (json.dumps(asdict(self), indent=1, sort_keys=True) + "\n").encode()

    @classmethod
    def decode(cls, data: bytes, where: Path) -> Self:
        """Read what `encode` made.

        Raises:
            DataError: It is something else.
        """
        try:
            tree = json.loads(data)
            return cls(
                {str(name): value for name, value in tree["settings"].items()},
                {str(name): str(value) for name, value in tree["inputs"].items()},
                str(tree["version"]),
                str(tree["source"]),
            )
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise DataError(
                f"{where} must hold the identity of a run, got something else"
            ) from None

    def differences(self, other: Self) -> Iterator[Difference]:
        """Every setting in which two identities differ; content that differs as its digest."""
        for one, two in ((self.settings, other.settings), (self.inputs, other.inputs)):
            for name in dict.fromkeys((*one, *two)):
                if one.get(name) != two.get(name):
                    yield Difference(name, one.get(name), two.get(name))

    def require(self, begun: Self, what: str, free: str) -> None:
        """Refuse to go on, under these settings and with this content, with what was begun.

        Args:
            begun: What it was begun with.
            what: What it is, such as "a run".
            free: Settings that may change, in words.

        Raises:
            ConfigError: Something differs; the first that does is named.
        """
        for name, before, now in begun.differences(self):
            if name in begun.inputs and begun.settings.get(name) == self.settings.get(name):
                raise ConfigError(
                    f"{name} {self.settings.get(name)} must hold what it did when {what} was "
                    f"begun, got other content (SHA-256 {now}, then {before})"
                )
            raise ConfigError(
                f"{name} must stay {before} when {what} is resumed, got {now}; only {free} may "
                "change"
            )

    def require_content(self, inputs: Mapping[str, str], what: str) -> None:
        """Stop before results of other content are kept beside earlier ones.

        Args:
            inputs: Digests of what the settings point at now.
            what: What is under way, such as "the run".

        Raises:
            RunError: Some content is not what it was.
        """
        for name, digest in inputs.items():
            before = self.inputs.get(name)
            if digest != before:
                raise RunError(
                    f"{name} must hold the same content until {what} has ended, got other content "
                    f"(SHA-256 {digest}, at first {before})"
                )

    @property
    def is_of_this_code(self) -> bool:
        """Whether the code that runs now is the same."""
        return self.code == code_in_words()


def read_identity(folder: Path) -> Identity | None:
    """What a folder's work was begun with; None: earlier versions did not write it down.

    Raises:
        DataError: The file that says so is damaged.
    """
    path = folder / IDENTITY
    return Identity.decode(path.read_bytes(), path) if path.is_file() else None


def identify(config: RunConfig) -> Identity:
    """What decides a run's results.

    Raises:
        ConfigError: A file or module that a setting names cannot be read.
    """
    inputs = {}
    if ":" in config.problem.name:
        inputs["problem.name"] = module_digest(config.problem.name, "problem.name")
    inputs |= modules_digest("problem.features", [config.problem.features])
    inputs |= modules_digest("fusion.rules", config.fusion.rules)
    inputs |= modules_digest("fusion.candidates", config.fusion.candidates)
    inputs |= modules_digest("evaluation.metrics", config.evaluation.metrics)
    if not isinstance(config.federation.weights, str):
        name = "federation.weights"
        inputs[name] = file_digest(config.federation.weights, name)
    if config.problem.demonstrations_file is not None:
        inputs["problem.demonstrations-file"] = digest_of(domain_of(config).recorded())
    return Identity.of(decisive(config), inputs)


def modules_digest(setting: str, names: Iterable[str]) -> dict[str, str]:
    """Digest of the modules of the user's own among some names, by the setting; empty if none are.

    Raises:
        ConfigError: There is no such module.
    """
    digests = [module_digest(name, setting).encode() for name in names if ":" in name]
    return {setting: digest_of(digests)} if digests else {}


def decisive(config: RunConfig) -> dict[str, Any]:
    """Settings of a run that decide its results."""
    tree = settings(narrowed(config, RunConfig))
    found = {name: value for name, value in tree.items() if name not in FREE}
    if config.engine.device != "cpu":
        found["engine.device"] = config.engine.device  # equal to rounding, not to the byte
    return found


def name_of(config: RunConfig) -> str:
    """Name a run after its decisive settings, so that no other's upload is taken for its own."""
    return digest_of([json.dumps(decisive(config), default=str).encode()])


def version() -> str:
    """Of the package."""
    return importlib.metadata.version("fedirl-ray")


def code_in_words() -> str:
    """Which code this is."""
    return _in_words(version(), source_digest())


def _in_words(version: str, source: str) -> str:
    return f"fedirl_ray {version} (source {source})"


@cache
def source_digest() -> str:
    """Digest of all code of the package that results can depend on, as it was when first asked."""
    root = Path(fedirl_ray.__file__).parent
    return _digest_of_files(
        root,
        (path for path in root.rglob("*.py") if path.relative_to(root).parts[0] not in SHOWING),
    )


def module_digest(name: str, setting: str) -> str:
    """Digest of a user's code: its module's file, or every file of the package that is in.

    Args:
        name: `module:function`, or a module.
        setting: As the user types it, for messages.

    Raises:
        ConfigError: There is no such module.
    """
    top = name.partition(":")[0].partition(".")[0]
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        spec = None
    if spec is None:
        raise ConfigError(f"{setting} must be module:function that can be imported, got {name!r}")
    if spec.submodule_search_locations is not None:
        roots = [Path(place) for place in spec.submodule_search_locations]
        return digest_of(_digest_of_files(r, r.rglob("*.py")).encode() for r in roots)
    origin = Path(spec.origin or "")
    return file_digest(origin, setting) if origin.is_file() else top


def file_digest(path: Path, setting: str) -> str:
    """Digest of a file's content.

    Raises:
        ConfigError: It cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()[:16]
    except OSError as err:
        raise ConfigError(
            f"{setting} must be a readable file, got {path}: {err.strerror}"
        ) from None


def digest_of(parts: Iterable[bytes]) -> str:
    """Digest of some bytes, each part apart from the next."""
    whole = hashlib.sha256()
    for part in parts:
        whole.update(len(part).to_bytes(8, "little"))
        whole.update(part)
    return whole.hexdigest()[:16]


def _digest_of_files(root: Path, paths: Iterable[Path]) -> str:
    """Digest of files by their places below a folder."""
    named = sorted((path.relative_to(root).as_posix(), path) for path in paths)
    return digest_of(part for name, path in named for part in (name.encode(), path.read_bytes()))
