"""Where Optuna keeps a study: a journal in the study's folder, or a database the folder knows.

journal.log      the study itself; or
database.yaml    url, without any password; name of the study there
"""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import optuna
import yaml
from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from fedirl_ray.engine.checkpoint import write_atomically
from fedirl_ray.errors import ConfigError, RunError

JOURNAL = "journal.log"
DATABASE = "database.yaml"
NAME = "study"
"""The study's name in its own journal."""
SECRETS = ("password", "sslpassword")
"""Parameters of a URL that are never written down."""


@dataclass(frozen=True)
class Place:
    """A study in a database."""

    url: str
    """As SQLAlchemy reads it."""
    name: str
    """The study's name there."""


def remember(folder: Path, url: str) -> bool:
    """Write down which database a study is kept in, but not the password.

    Args:
        folder: The study's. A study that has a place already keeps its name.
        url: The database's.

    Returns:
        Whether the URL held a password.

    Raises:
        ConfigError: It is no URL, or the study is kept in a journal.
    """
    if (folder / JOURNAL).is_file():
        raise ConfigError(
            f"storage must be left out for a study kept in its folder's {JOURNAL}, got "
            f"{without_password(url)}"
        )
    known = _place(folder)
    name = f"{folder.resolve().name}-{uuid.uuid4().hex[:8]}" if known is None else known.name
    plain = without_password(url)
    data = yaml.safe_dump(asdict(Place(plain, name)), sort_keys=False).encode()
    write_atomically(folder / DATABASE, data)
    return plain != _parse(url).render_as_string(hide_password=False)


def without_password(url: str) -> str:
    """A database's URL as it may be shown and kept.

    Raises:
        ConfigError: It is no URL.
    """
    parsed = _parse(url)
    plain = URL.create(
        parsed.drivername, parsed.username, None, parsed.host, parsed.port, parsed.database,
        parsed.query,
    )  # fmt: skip
    return plain.difference_update_query(SECRETS).render_as_string(hide_password=False)


def _parse(url: str) -> URL:
    try:
        return make_url(url)
    except ArgumentError:
        # What cannot be parsed is not shown: a password may be in it.
        raise ConfigError(
            "storage must be a database's URL, such as postgresql://USER@HOST/DATABASE, got "
            "something else"
        ) from None


def _place(folder: Path) -> Place | None:
    """Where the database is; None: in no database."""
    path = folder / DATABASE
    if not path.is_file():
        return None
    try:
        said = yaml.safe_load(path.read_text())
        return Place(str(said["url"]), str(said["name"]))
    except (ValueError, KeyError, TypeError, yaml.YAMLError) as err:
        raise ConfigError(f"{path} must hold url and name of a study: {err!r}") from None


@contextmanager
def open_storage(folder: Path, url: str | None = None) -> Iterator[tuple[BaseStorage, str]]:
    """Open where a study is kept.

    Args:
        folder: The study's.
        url: Its database's with the password; None: as the folder knows it, the password as the
            database's own driver finds it (for PostgreSQL in PGPASSWORD or ~/.pgpass).

    Yields:
        The storage, and the study's name in it.

    Raises:
        ConfigError: The database cannot be opened.
        RunError: It went away while it was used.
    """
    place = _place(folder)
    if place is None:
        yield JournalStorage(JournalFileBackend(str(folder / JOURNAL))), NAME
        return
    try:
        storage = RDBStorage(url or place.url)
    except Exception as err:  # SQLAlchemy's drivers raise classes of their own
        hint = "" if url else "; a password is read from PGPASSWORD, ~/.pgpass or --storage"
        raise ConfigError(
            f"storage must be a database that can be opened, got {place.url}: "
            f"{_in_short(err)}{hint}"
        ) from None
    try:
        yield storage, place.name
    except (SQLAlchemyError, StorageInternalError) as err:
        raise RunError(f"the database {place.url} no longer answers: {_in_short(err)}") from None
    finally:
        storage.remove_session()
        storage.engine.dispose()


def _in_short(err: Exception) -> str:
    return " ".join(str(err).split())[:200]


def mend_journal(folder: Path) -> None:
    """Cut a journal back to its last whole line; what came after was never done.

    Call it with the folder held: a lock of the journal's own is a dead process's then.
    """
    path = folder / JOURNAL
    (folder / f"{JOURNAL}.lock").unlink(missing_ok=True)
    if not path.is_file():
        return
    data = path.read_bytes()
    whole = data.rfind(b"\n") + 1
    if whole < len(data):
        with path.open("r+b") as file:
            file.truncate(whole)


def load(folder: Path) -> optuna.Study:
    """Read a study, to look at it only.

    Raises:
        ConfigError: Its database cannot be opened.
        KeyError, ValueError: There is no such study.
    """
    with open_storage(folder) as (storage, name):
        if isinstance(storage, JournalStorage):
            return optuna.load_study(study_name=None, storage=storage)
        # What is read later must not need the connection.
        kept = optuna.storages.InMemoryStorage()
        optuna.copy_study(
            from_study_name=name, from_storage=storage, to_storage=kept, to_study_name=name
        )
        return optuna.load_study(study_name=name, storage=kept)
