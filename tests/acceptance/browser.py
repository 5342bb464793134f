"""A real browser: Chromium without a window, and what is asked of every page that it shows."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, Page, ViewportSize, expect, sync_playwright

from tests.conftest import missing_backend

NAMES = ("chromium", "chromium-browser", "google-chrome")
# A test's browser talks to this machine only, and its sandbox needs rights that a container does not give.
FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]
PATIENCE_MS = 90_000  # a browser is slow to start on a machine that is busy with the rest of the stack
DESKTOP: ViewportSize = {"width": 1280, "height": 900}
PHONE: ViewportSize = {"width": 375, "height": 812}

# Text whose contrast with what lies behind it is below 4.5 (WCAG 2.2, 1.4.3), with the contrast.
FAINT = """() => {
  const channel = (value) => (value /= 255) <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
  const numbers = (color) => color.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
  const behind = (one) => {
    for (; one; one = one.parentElement) {
      const color = numbers(getComputedStyle(one).backgroundColor);
      if (color.length === 3 || color[3] > 0) return color;
    }
    return [255, 255, 255];
  };
  const found = [];
  for (const one of document.querySelectorAll("body *")) {
    const own = [...one.childNodes].some((node) => node.nodeType === 3 && node.nodeValue.trim());
    if (!own || !one.checkVisibility()) continue;
    const [a, b] = [light(numbers(getComputedStyle(one).color)), light(behind(one))];
    const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (contrast < 4.5) found.push(`${one.tagName} ${one.textContent.trim().slice(0, 30)}: ${contrast.toFixed(2)}`);
  }
  return found;
}"""

# What has no name that a screen reader could say, ids that are there twice, a page without exactly one first heading.
NAMELESS = """() => {
  const text = (one) => one?.textContent.trim();
  const named = (one) => one.getAttribute("aria-label") || text(one) || text(one.labels?.[0]);
  const found = [...document.querySelectorAll("a, button, input, summary, nav, [role=img]")]
    .filter((one) => !named(one)).map((one) => one.outerHTML.slice(0, 80));
  const ids = [...document.querySelectorAll("[id]")].map((one) => one.id);
  found.push(...ids.filter((id, place) => ids.indexOf(id) !== place).map((id) => `two of #${id}`));
  const heads = document.querySelectorAll("h1").length;
  if (heads !== 1) found.push(`${heads} first headings`);
  if (!document.documentElement.lang) found.push("no language");
  return found;
}"""


def find_chromium() -> str:
    """SIGNALBOX_CHROMIUM, or a Chromium on PATH; without one the test is skipped, or fails under CI."""
    found = os.environ.get("SIGNALBOX_CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    if not found:
        missing_backend(f"none of {', '.join(NAMES)} is on PATH; install one or name it in SIGNALBOX_CHROMIUM")
    assert found
    return found


@contextmanager
def launch() -> Iterator[Browser]:
    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=FLAGS, timeout=PATIENCE_MS)
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def opened(browser: Browser, viewport: ViewportSize = DESKTOP, *, dark: bool = False) -> Iterator[Page]:
    """A page in a profile of its own. Whatever went wrong in it, said on the console or not, fails the test."""
    context = browser.new_context(viewport=viewport, color_scheme="dark" if dark else "light", reduced_motion="reduce")
    context.set_default_timeout(PATIENCE_MS)
    page = context.new_page()
    wrong: list[str] = []
    page.on("console", lambda message: wrong.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("response", lambda answer: wrong.append(f"{answer.status} {answer.url}") if answer.status >= 400 else None)
    try:
        yield page
    finally:
        context.close()
    assert not wrong, wrong


def overflow(page: Page) -> int:
    """By how many pixels a page is wider than its window."""
    return int(page.evaluate("() => document.documentElement.scrollWidth - document.documentElement.clientWidth"))


def tab_to(page: Page, wanted: str, most: int = 60) -> list[str]:
    """Presses Tab until what has the focus matches a selector. Returns every stop on the way; each shows its focus."""
    page.wait_for_load_state()  # before its styles are there nothing shows anything
    stops = []
    for _ in range(most):
        page.keyboard.press("Tab")
        name, visible, arrived = page.evaluate(
            """(wanted) => {
              const one = document.activeElement, style = getComputedStyle(one);
              const shown = style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2;
              return [one.textContent.trim().slice(0, 40), shown, one.matches(wanted)];
            }""",
            wanted,
        )
        assert visible, f"nobody sees that {name!r} has the focus"
        stops.append(str(name))
        if arrived:
            return stops
    raise AssertionError(f"{most} times Tab do not lead to {wanted}: {stops}")
