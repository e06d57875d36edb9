"""Folders of a made-up kind, for tests of the law that all folders follow.

As a program (`python things.py FOLDER STEP ENDS`) it overwrites one, and kills itself before one of
the steps it takes on disk.
"""

import contextlib
import os
import signal
import sys
from pathlib import Path
from unittest import mock

from fedirl_ray.engine.folder import Kind, claim, end

KIND = Kind(
    what="a thing",
    settings="settings.yaml",
    blank=frozenset(("diary.txt",)),
    made=frozenset(("table.txt", "pieces")),
)
STEPS = ((Path, ("mkdir", "rename", "write_text")), (os, ("rmdir", "unlink")))


def fill(folder, mark="old"):
    """A thing with some work done."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "diary.txt").write_text(mark)
    (folder / "settings.yaml").write_text(mark)
    (folder / "pieces").mkdir()
    (folder / "pieces" / "one").write_text(mark)


def content(folder):
    """Every file below a folder by its path."""
    return {str(p.relative_to(folder)): p.read_text() for p in folder.rglob("*") if p.is_file()}


def taking(folder, **more):
    return claim(folder, KIND, "run-dir", **{"hint": "so be it", **more})


def overwrite(folder, failure=None, *, work=True):
    """Replace a thing by a new one, with some work done or not, which then fails or ends."""
    with taking(folder, overwrite=True):
        if work:
            fill(folder, "new")
        else:
            (folder / "diary.txt").write_text("new")
            (folder / "settings.yaml").write_text("new")
            (folder / ".table.txt.part").write_text("half")
        if failure is not None:
            raise failure
        end(folder)


def main(folder, step, ends):
    done = 0

    def dying(act):
        def acting(*args, **more):
            nonlocal done
            done += 1
            if done == step:
                os.kill(os.getpid(), signal.SIGKILL)
            return act(*args, **more)

        return acting

    with contextlib.ExitStack() as stack:
        for owner, names in STEPS:
            for name in names:
                act = dying(getattr(owner, name))
                stack.enter_context(mock.patch.object(owner, name, act))
        stack.enter_context(contextlib.suppress(KeyboardInterrupt))
        overwrite(folder, None if ends else KeyboardInterrupt(), work=ends)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3] == "True")
