"""The errors a user can meet: one class, one sentence that says what to do next. And a worker's last one."""

import difflib
from collections.abc import Iterable


class BnstudyError(Exception):
    """A user's mistake or a missing thing, told in one sentence; the door prints it and exits 1."""


class DeviceLost(Exception):
    """The device under a training failed: whatever its process does there from now on fails, too."""


def unknown(kind: str, name: str, known: Iterable[str], advice: str = "") -> BnstudyError:
    """Return the error for a name that does not exist, with the nearest one that does."""
    names = sorted(known)
    nearest = difflib.get_close_matches(name, names, n=1)
    hint = f" Did you mean {nearest[0]!r}?" if nearest else f" Known: {', '.join(names) or 'none'}."
    return BnstudyError(f"No {kind} named {name!r}.{hint}{' ' + advice if advice else ''}")
