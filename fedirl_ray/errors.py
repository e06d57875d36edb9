"""Every error this package raises on purpose.

FedirlError
├── ConfigError (ValueError)             a configuration cannot describe a run
│   └── UserCodeError (ConfigError)      a user's own world or rule raised something
├── DataError (ValueError)               a file or an array handed in cannot be used
├── NotConvergedError (ArithmeticError)  a solver stopped before its tolerance
└── RunError (RuntimeError)              a run had to stop; what it had finished is kept
"""


class FedirlError(Exception):
    """Base of every error raised on purpose by this package."""


class ConfigError(FedirlError, ValueError):
    """A configuration cannot describe a run."""


class UserCodeError(ConfigError):
    """A user's own code raised something; the message says what, and where."""


class DataError(FedirlError, ValueError):
    """A file or an array handed in cannot be used."""


class NotConvergedError(FedirlError, ArithmeticError):
    """A solver ran out of iterations before reaching its tolerance."""


class RunError(FedirlError, RuntimeError):
    """A run had to stop: too few uploads, or no answer; what it had finished is kept."""


def reason(error: Exception) -> str:
    """Why something failed, and with which file where the system's error names one."""
    if not isinstance(error, OSError):
        return str(error) or "out of memory"  # Python's own MemoryError says nothing
    where = f": {error.filename}" if error.filename else ""
    return f"{error.strerror or error}{where}"


MOST = 2_000
"""Characters of a message that are shown."""


def one_line(error: object) -> str:
    """A message as one line that a terminal shows and does not obey, cut where it is too long.

    Names in it (of files, of settings) may hold line breaks and codes that move the cursor.
    """
    text = str(error)
    text = text if len(text) <= MOST else f"{text[:MOST]}..."
    return "".join(each if each.isprintable() else repr(each)[1:-1] for each in text)


def in_short(said: object, most: int = 200) -> str:
    """What somebody else says, for a message of ours: its words on one line, cut after `most`."""
    text = " ".join(str(said).split())
    return text if len(text) <= most else f"{text[:most]}..."
