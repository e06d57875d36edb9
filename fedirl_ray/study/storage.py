"""Where Optuna keeps a study: a journal in the study's folder, or a database the folder knows.

journal.log      the study itself; or
database.yaml    url, without any password; name of the study there

A study is created once, with its folder. Afterwards it is looked for where it was, and nothing is
created in its stead: a study that is not found has no trials, and all would be run again.
"""

import hashlib
import platform
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path

import optuna
import yaml
from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from sqlalchemy import NullPool, create_engine, inspect, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from fedirl_ray.atomic import write_atomically
from fedirl_ray.engine.checkpoint import drop_torn_line
from fedirl_ray.errors import ConfigError, RunError, in_short
from fedirl_ray.laws import require
from fedirl_ray.study.space import Direction
from fedirl_ray.yaml_file import read_yaml

JOURNAL = "journal.log"
DATABASE = "database.yaml"
NAME = "study"
"""The study's name in its own journal."""
FOLDER = "folder"
"""Attribute of a study in a database: machine and path of its folder."""
SECRETS = ("password", "sslpassword")
"""Parameters of a URL that are never written down."""


@dataclass(frozen=True)
class Place:
    """A study in a database."""

    url: str
    """As SQLAlchemy reads it, without a password; a file's path is absolute."""
    name: str
    """The study's name there."""


def plain_url(url: str) -> str:
    """A database's URL as it may be shown and kept: the same from every folder, no password.

    Raises:
        ConfigError: It is no URL, or what it names is gone when the process ends.
    """
    parsed = _absolute(_parse(url))
    plain = URL.create(
        parsed.drivername, parsed.username, None, parsed.host, parsed.port, parsed.database,
        parsed.query,
    )  # fmt: skip
    return plain.difference_update_query(SECRETS).render_as_string(hide_password=False)


def has_password(url: str) -> bool:
    """Whether a database's URL holds what is not kept."""
    return plain_url(url) != _absolute(_parse(url)).render_as_string(hide_password=False)


def _parse(url: str) -> URL:
    # What is wrong is not shown: a password may be in it.
    if url.partition("?")[0].count("@") > 1:
        raise ConfigError(
            "storage must be a URL with one @, before the host; in a user or password write @ as "
            "%40, : as %3A, / as %2F and % as %25, got one with more"
        )
    try:
        return make_url(url)
    except ArgumentError:
        raise ConfigError(
            "storage must be a database's URL, such as postgresql://USER@HOST/DATABASE, got "
            "something else"
        ) from None


def _require_driver(parsed: URL) -> None:
    """Refuse PostgreSQL where nothing that speaks to it is installed.

    Raises:
        ConfigError: Says which extra brings it.
    """
    asked = parsed.drivername in ("postgresql", "postgresql+psycopg")
    law = "of a database whose driver is installed (pip install 'fedirl-ray[postgresql]')"
    missing = asked and find_spec("psycopg") is None
    require(not missing, "storage", law, f"{parsed.drivername} without psycopg")


def _is_file(parsed: URL) -> bool:
    return parsed.get_backend_name() == "sqlite"


def _absolute(parsed: URL) -> URL:
    """The URL of a database in a file, wherever it will be read."""
    if not _is_file(parsed):
        return parsed
    database = parsed.database or ""
    if database in ("", ":memory:") or database.startswith("file:"):
        raise ConfigError(
            "storage must be a database in a file, such as sqlite:///studies.db, got "
            f"{parsed.render_as_string()}"
        )
    return parsed.set(database=str(Path(database).absolute()))


def known_place(folder: Path) -> Place | None:
    """The database a study's folder knows; None: none, it has a journal.

    Raises:
        ConfigError: The folder has neither, or what it says cannot be used.
    """
    path = folder / DATABASE
    if not path.is_file():
        if not (folder / JOURNAL).is_file():
            raise ConfigError(
                f"{folder} must hold the {JOURNAL} or the {DATABASE} of its study, got neither"
            )
        return None
    said = read_yaml(path)
    if not (isinstance(said, dict) and all(isinstance(said.get(k), str) for k in ("url", "name"))):
        raise ConfigError(f"{path} must hold url and name of a study, got something else")
    place = Place(said["url"], said["name"])
    if plain_url(place.url) != place.url:
        raise ConfigError(f"{path} must hold the absolute path of a file, got {place.url}")
    return place


@contextmanager
def create_storage(
    folder: Path, url: str | None, directions: Sequence[Direction]
) -> Iterator[optuna.Study]:
    """Create a study, and have its folder know where it is.

    Args:
        folder: The study's, without a study so far.
        url: Of a database; None: a journal in the folder.
        directions: Of the objectives.

    Yields:
        The study, without trials.

    Raises:
        ConfigError: The database cannot be opened.
        RunError: It went away while it was used.
    """
    if url is None:
        journal = JournalStorage(JournalFileBackend(str(folder / JOURNAL)))
        yield optuna.create_study(study_name=NAME, storage=journal, directions=list(directions))
        return
    place = Place(plain_url(url), f"{folder.resolve().name}-{uuid.uuid4().hex[:8]}")
    with _database(place, url, new=True) as storage:
        made = optuna.create_study(
            study_name=place.name, storage=storage, directions=list(directions)
        )
        _remember(folder, place)
        yield made


@contextmanager
def open_storage(folder: Path, url: str | None = None) -> Iterator[tuple[BaseStorage, str | None]]:
    """Open where a study is kept.

    Args:
        folder: The study's.
        url: Its database's, with the password or where it has moved to; None: as the folder knows
            it, the password as the database's own driver finds it (for PostgreSQL in PGPASSWORD or
            ~/.pgpass).

    Yields:
        The storage, and the study's name in it; None: it is the only one.

    Raises:
        ConfigError: The database cannot be opened, or the study is not in it.
        RunError: It went away while it was used.
    """
    place = known_place(folder)
    if place is None:
        if url is not None:
            raise ConfigError(
                f"storage must be left out for a study kept in its folder's {JOURNAL}, got "
                f"{plain_url(url)}"
            )
        yield _journal(folder / JOURNAL), None
        return
    here = place if url is None else Place(plain_url(url), place.name)
    with _database(here, url or place.url, new=False) as storage:
        try:
            storage.get_study_id_from_name(here.name)
        except KeyError:
            raise ConfigError(
                f"the study of {folder} must be in its database {here.url}, which holds no "
                f"{here.name}"
            ) from None
        if here != place:
            _remember(folder, here)
        yield storage, here.name


def _remember(folder: Path, place: Place) -> None:
    write_atomically(folder / DATABASE, yaml.safe_dump(asdict(place), sort_keys=False).encode())


def _journal(path: Path) -> JournalStorage:
    try:
        storage = JournalStorage(JournalFileBackend(str(path)))
        count = len(storage.get_all_studies())
    # Not lines of JSON, or others'.
    except (ValueError, KeyError, TypeError, AttributeError) as err:
        raise ConfigError(f"{path} must be the journal of a study: {in_short(err)}") from None
    if count != 1:
        raise ConfigError(f"{path} must be the journal of one study, got {count}")
    return storage


@contextmanager
def _database(place: Place, url: str, *, new: bool) -> Iterator[RDBStorage]:
    """A database; nothing is created in it unless the study is new."""
    parsed = _absolute(_parse(url))
    _require_driver(parsed)
    if not new and _is_file(parsed) and not Path(str(parsed.database)).is_file():
        raise ConfigError(f"a study's database must be there, got {place.url}, which is not")
    try:
        # First without Optuna, which leaves its connection open where it fails.
        with create_engine(parsed, poolclass=NullPool).connect() as connection:
            known = new or inspect(connection).has_table("studies")
        require(known, "storage", "a database with studies of Optuna's", place.url)
        full = parsed.render_as_string(hide_password=False)
        storage = RDBStorage(full, skip_table_creation=not new)
    except ConfigError:
        raise
    except Exception as err:  # SQLAlchemy's drivers raise classes of their own
        hint = "; a password is read from PGPASSWORD, ~/.pgpass or --storage"
        raise ConfigError(
            f"storage must be a database that can be opened, got {place.url}: "
            f"{in_short(err)}{'' if _is_file(parsed) or has_password(url) else hint}"
        ) from None
    try:
        yield storage
    except (SQLAlchemyError, StorageInternalError) as err:
        raise RunError(f"the database {place.url} no longer answers: {in_short(err)}") from None
    finally:
        storage.remove_session()
        storage.engine.dispose()


@contextmanager
def alone(found: optuna.Study, folder: Path, url: str | None) -> Iterator[None]:
    """Keep a study in a database to one folder, and thereby to one driver.

    A folder that was moved is known by the old one being gone; on another machine, by no driver
    being at work (a lock that PostgreSQL lets go of with its connection).

    Args:
        found: The study, open.
        folder: Held by this process.
        url: See `open_storage`.

    Raises:
        ConfigError: The study is another folder's.
    """
    place = known_place(folder)
    if place is None:
        yield
        return
    mine = [platform.node(), str(folder.resolve())]
    theirs = found.user_attrs.get(FOLDER, mine)
    if theirs[0] == mine[0] and theirs[1] != mine[1] and _knows(Path(theirs[1]), place):
        raise ConfigError(
            f"a study must be in one folder, got {folder}; {place.name} is that of {theirs[1]}: "
            "go on there, or remove that"
        )
    with _lock(place, url or place.url) as got:
        if not got:
            raise ConfigError(
                f"a study must have one driver, got {folder}; another process is at {place.name} "
                f"in {place.url}"
            )
        if theirs != mine or FOLDER not in found.user_attrs:
            found.set_user_attr(FOLDER, mine)
        yield


def _knows(folder: Path, place: Place) -> bool:
    """Whether a folder is one of this study's."""
    try:
        known = known_place(folder)
    except ConfigError:
        return False
    return known is not None and known.name == place.name


@contextmanager
def _lock(place: Place, url: str) -> Iterator[bool]:
    """Hold a study in a server that knows locks; yields whether it could be had."""
    parsed = _parse(url)
    if parsed.get_backend_name() != "postgresql":
        yield True
        return
    key = int.from_bytes(hashlib.sha256(place.name.encode()).digest()[:8], "big", signed=True)
    engine = create_engine(parsed, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    connection = engine.connect()
    try:
        ask = text("select pg_try_advisory_lock(:key)")
        yield bool(connection.execute(ask, {"key": key}).scalar())
    finally:
        connection.invalidate()  # closed without a word more, which may be one too many
        connection.close()


def mend_journal(folder: Path) -> None:
    """Cut a journal back to its last whole line; what came after was never done.

    Call it with the folder held: a lock of the journal's own is a dead process's then.
    """
    (folder / f"{JOURNAL}.lock").unlink(missing_ok=True)
    drop_torn_line(folder / JOURNAL)


def load(folder: Path) -> optuna.Study:
    """Read a study, to look at it only.

    Raises:
        ConfigError: It cannot be opened, or is not where it was.
        RunError: Its database went away.
    """
    with open_storage(folder) as (storage, name):
        if isinstance(storage, JournalStorage):
            return optuna.load_study(study_name=None, storage=storage)
        # What is read later must not need the connection.
        kept = optuna.storages.InMemoryStorage()
        optuna.copy_study(
            from_study_name=str(name), from_storage=storage, to_storage=kept, to_study_name=name
        )
        return optuna.load_study(study_name=name, storage=kept)
