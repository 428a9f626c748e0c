"""What holds for every test."""

import signal
from pathlib import Path

import bnstudy.training

# Jobs that a shell starts in the background ignore Ctrl-C, and so would all that a test starts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Numba looks at a function's own file alone, and these call each other's functions.
_FOLDER = Path(bnstudy.training.__file__).parent
_CHANGED = max(path.stat().st_mtime for path in _FOLDER.glob("*.py") if "njit" in path.read_text())
for _compiled in _FOLDER.glob("__pycache__/*.nbi"):
    if _compiled.stat().st_mtime < _CHANGED:
        _compiled.unlink(missing_ok=True)
