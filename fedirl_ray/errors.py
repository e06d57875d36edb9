"""Every error this package raises on purpose.

FedirlError
├── ConfigError (ValueError)             a configuration cannot describe a run
├── DataError (ValueError)               a file or an array handed in cannot be used
├── NotConvergedError (ArithmeticError)  a solver stopped before its tolerance
└── RunError (RuntimeError)              a run had to stop; what it had finished is kept
"""


class FedirlError(Exception):
    """Base of every error raised on purpose by this package."""


class ConfigError(FedirlError, ValueError):
    """A configuration cannot describe a run."""


class DataError(FedirlError, ValueError):
    """A file or an array handed in cannot be used."""


class NotConvergedError(FedirlError, ArithmeticError):
    """A solver ran out of iterations before reaching its tolerance."""


class RunError(FedirlError, RuntimeError):
    """A run had to stop: too few uploads, or no answer; what it had finished is kept."""
