"""Looking at processes that come and go while one looks, and beginning them without a wait."""

import multiprocessing
import os
import sys
import time
from pathlib import Path

import psutil

AHEAD = multiprocessing.get_context("forkserver")
AHEAD.set_forkserver_preload(
    ["fedirl_ray.command.federate", "fedirl_ray.command.sweep", "fedirl_ray.domain.tabular"]
)


def descendants(pid=None):
    """Every process below one (default: this one); none if it is gone."""
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def called(word, pid=None):
    """Process numbers below one whose command line holds a word; the dead and zombies have none."""
    found = set()
    for one in descendants(pid):
        try:
            if word in " ".join(one.cmdline()):
                found.add(one.pid)
        except psutil.NoSuchProcess:  # zombies too
            continue
    return found


def begin(*words, before=None, said=None):
    """Begin a command line in a process whose imports are done: to start it takes no second.

    Args:
        words: The command line.
        before: Called in that process first; can be pickled.
        said: File for its standard error; None: nobody reads it.
    """
    here = Path.cwd(), dict(os.environ), os.devnull if said is None else str(said)
    process = AHEAD.Process(target=_command, args=([*map(str, words)], *here, before))
    process.start()
    return process


def _command(words, folder, environment, said, before):
    from fedirl_ray.run import main

    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    for number, path in ((1, os.devnull), (2, said)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), number)
    if before is not None:
        before()
    sys.exit(main(words))


def wait_for(process, sign):
    """Wait until there is a sign of a process that `begin` has begun.

    Returns:
        Whether there is: not where it has ended without.
    """
    while not (there := sign()) and process.is_alive():
        time.sleep(0.01)
    return bool(there)
