import shutil

from playwright.sync_api import Error

__all__ = ("BrowserError", "launch_browser")

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


class BrowserError(Exception):
    """No browser starts."""


def launch_browser(playwright):
    """
    Start the machine's Chromium, or else Playwright's own.

    Args:
        playwright: The object that sync_playwright() yields.

    Returns:
        Playwright's Browser.

    Raises:
        BrowserError: Neither starts.
    """
    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    try:
        return playwright.chromium.launch(executable_path=path, args=FLAGS)
    except Error:
        raise BrowserError(
            "No Chromium starts: install one (Debian's package chromium), or run playwright install chromium."
        ) from None
