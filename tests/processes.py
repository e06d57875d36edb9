"""Looking at processes that come and go while one looks."""

import psutil


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
