"""A real browser for the tests of the page: Chromium of the system, and axe-core of npm.

Where there is none the tests are skipped and say so; in CI, where the variable CI is set, they fail instead.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
CHROMIUM = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def lacking(what: str, how: str) -> None:
    """Fail in CI, skip elsewhere, and say what to do."""
    message = f"The page was NOT tested: {what} is missing. {how}"
    pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)


@contextmanager
def opened() -> Iterator[Any]:
    """Yield a headless Chromium that playwright drives."""
    path = next(filter(None, map(shutil.which, CHROMIUM)), None)
    if path is None:
        lacking("Chromium", "On Debian: apt-get install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        # A container's root may not use the sandbox; the only page that it opens is ours.
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


def axe() -> str:
    """Return the source of axe-core: of the folder that AXE_CORE names, or of `npm install axe-core` here."""
    folder = Path(os.environ.get("AXE_CORE") or ROOT / "node_modules" / "axe-core")
    if not (folder / "axe.min.js").exists():
        lacking("axe-core", "In the checkout: npm install --no-save axe-core; or set AXE_CORE to its folder")
    return (folder / "axe.min.js").read_text(encoding="utf-8")
