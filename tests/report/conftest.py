"""A real browser, for those tests that look at pages; they are skipped where Chromium is missing."""

from __future__ import annotations

import os
import shutil

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
SOFTWARE_GL = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]


@pytest.fixture(scope="module")
def browser():
    """A headless Chromium that draws WebGL without a graphics card.

    It ends with its module: playwright runs an event loop as long as it lives, beside which AiiDA's cannot run.
    """
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed")
    api = pytest.importorskip("playwright.sync_api")
    environment = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
    with api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=SOFTWARE_GL, env=environment)
        yield started
        started.close()


def wait_until(page, expression):
    """Wait until an expression holds; a hang is ended by the time-out of the test.

    Playwright's own waiting evaluates texts in the page, which the policy of our pages forbids.
    """
    while not page.evaluate(expression):
        page.wait_for_timeout(50)


@pytest.fixture
def opened(browser, tmp_path):
    """A function that opens a page from disk, and the complaints and requests of the browser so far."""
    contexts, complaints, requests = [], [], []

    def open_page(html, width=1280, height=900):
        path = tmp_path / "report.html"
        path.write_text(html, encoding="utf-8")
        context = browser.new_context(viewport={"width": width, "height": height}, accept_downloads=True)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: requests.append(request.url))
        page.goto(path.as_uri())
        page.evaluate("typeof drawAll === 'function' && drawAll()")
        return page

    yield open_page, complaints, requests
    for context in contexts:
        context.close()
