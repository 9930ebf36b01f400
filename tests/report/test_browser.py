"""The report in a real browser: it draws, answers to mouse and keyboard, and asks for nothing."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from mulligan import doctor, reporting
from report.conftest import collapse, logged, vitals

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Locator, Page

PROGRAM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)
HOSTILE = "<script>document.title = 'broken'</script><img src=x onerror=\"document.title = 'broken'\">"

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="no Chromium: apt-get install chromium")


@pytest.fixture(scope="module")
def report(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page with everything on it: verdicts, vital signs, and a hostile name."""
    copy = shutil.copytree(run, tmp_path_factory.mktemp("runs") / "<b>run")
    logged(copy, *map(vitals, range(0, 513, 64)), {"images": 512, "vitals": {HOSTILE: 1.0}})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(doctor, "diagnose", collapse)
        return reporting.report(copy)


@pytest.fixture(scope="module")
def context() -> Iterator[BrowserContext]:
    """A browser that nobody has used before, with a window of 1200 pixels."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as profile:
        browser = playwright.chromium.launch_persistent_context(
            profile,
            executable_path=PROGRAM,
            args=list(FLAGS),
            viewport={"width": 1200, "height": 900},
            has_touch=True,
        )
        browser.set_default_timeout(10_000)
        yield browser
        browser.close()


class Watched:
    """A page, what it complained of, and what it asked for."""

    def __init__(self, context: BrowserContext, path: Path) -> None:
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.page: Page = context.new_page()
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(path.as_uri())
        self.page.wait_for_selector(".chart .key")

    def chart(self, title: str) -> Locator:
        return self.page.locator(".chart").filter(
            has=self.page.locator(f'figcaption > span:text-is("{title}")')
        )

    def measure(self, script: str) -> Any:
        return self.page.evaluate(script)


@pytest.fixture
def shown(context: BrowserContext, report: Path) -> Iterator[Watched]:
    """The page, in a fresh tab; it never complains and never asks for anything but itself."""
    watched = Watched(context, report)
    yield watched
    assert watched.complaints == []
    assert [url for url in watched.requests if not url.startswith("data:image/")] == [report.as_uri()]
    watched.page.close()


def test_it_draws_every_curve(shown: Watched) -> None:
    assert shown.page.title() != "broken"
    assert shown.page.locator("h1").inner_text() == "mlp-relu on digits"
    data = json.loads(str(shown.measure("document.getElementById('data').textContent")))
    assert shown.page.locator(".chart").count() == len(data["panels"]) > 8
    losses = shown.chart("Losses")
    assert losses.locator("path.curve").count() == 2
    assert str(losses.locator("path.curve").first.get_attribute("d")).count("L") == 15
    assert shown.chart("Fréchet distance").locator("path.band").count() == 1
    assert shown.chart("Fréchet distance").locator("path.floor").count() == 1
    assert losses.locator(".mark.critical path").count() == 1
    assert losses.locator(".mark.critical text").text_content() == "Mode collapse"
    assert shown.measure("[...document.images].every(i => i.complete && i.naturalWidth > 0)")


def test_pointing_shows_the_values_there_in_every_figure(shown: Watched) -> None:
    losses, answers = shown.chart("Losses"), shown.chart("D's mean answers")
    losses.locator("svg[role=slider]").scroll_into_view_if_needed()
    box = losses.locator("svg[role=slider]").bounding_box()
    assert box
    last = losses.locator(".value").first.inner_text()
    shown.page.mouse.move(box["x"] + box["width"] * 0.3, box["y"] + 80)
    assert losses.locator(".at").inner_text() == answers.locator(".at").inner_text() != ""
    assert losses.locator(".pointer circle").count() == 2
    first = losses.locator(".value").first.inner_text()
    shown.page.mouse.move(box["x"] + box["width"] * 0.8, box["y"] + 80)
    assert losses.locator(".value").first.inner_text() != first
    shown.page.mouse.move(0, 0)
    assert losses.locator(".at").inner_text() == ""
    assert losses.locator(".value").first.inner_text() == last


def test_a_touch_shows_values_too(shown: Watched) -> None:
    svg = shown.chart("Losses").locator("svg[role=slider]")
    svg.tap(position={"x": 150, "y": 90})
    assert shown.chart("Losses").locator(".at").inner_text().startswith("at ")


def test_the_keyboard_reads_curves(shown: Watched) -> None:
    svg = shown.chart("Losses").locator("svg[role=slider]")
    svg.focus()
    shown.page.keyboard.press("Home")
    assert svg.get_attribute("aria-valuenow") == "32"
    shown.page.keyboard.press("ArrowRight")
    assert str(svg.get_attribute("aria-valuetext")).startswith("64 images seen: D ")
    shown.page.keyboard.press("End")
    assert svg.get_attribute("aria-valuenow") == "512"


def test_the_legend_hides_and_shows_curves(shown: Watched) -> None:
    losses = shown.chart("Losses")
    key = losses.get_by_role("button", name="D").first
    key.click()
    assert key.get_attribute("aria-pressed") == "false"
    assert losses.locator("path.curve").count() == 1
    key.focus()
    shown.page.keyboard.press("Enter")
    assert losses.locator("path.curve").count() == 2


def test_the_scale_can_be_logarithmic(shown: Watched) -> None:
    losses = shown.chart("Losses")
    before = losses.locator("path.curve").first.get_attribute("d")
    losses.get_by_role("button", name="log").click()
    assert losses.locator("path.curve").first.get_attribute("d") != before


def test_the_slider_turns_through_the_samples(shown: Watched) -> None:
    slider = shown.page.get_by_role("slider", name="Images seen", exact=True)
    picture = shown.page.locator(".slider img")
    last = picture.get_attribute("src")
    slider.focus()
    shown.page.keyboard.press("ArrowLeft")
    before = picture.get_attribute("src")
    assert before != last
    frames = json.loads(str(shown.measure("document.getElementById('data').textContent")))["frames"][0]
    assert picture.get_attribute("alt") == f"Samples after {frames[-2]['images']} images"
    box = slider.bounding_box()
    assert box
    shown.page.mouse.click(box["x"] + 3, box["y"] + box["height"] / 2)
    assert picture.get_attribute("src") not in (before, last)
    assert shown.page.locator(".slider output").inner_text() == str(frames[0]["images"])


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_phone(scheme: Any, shown: Watched) -> None:
    shown.page.emulate_media(color_scheme=scheme)
    shown.page.set_viewport_size({"width": 400, "height": 800})
    shown.page.wait_for_selector(".chart > svg[viewBox^='0 0 3']")  # drawn anew
    assert shown.measure("document.documentElement.scrollWidth") <= 400
    wide = "[...document.querySelectorAll('main *')].filter(e => !e.closest('.wide, svg')"
    wide += " && e.getBoundingClientRect().right > 400).map(e => e.outerHTML.slice(0, 80))"
    assert shown.measure(wide) == []


CONTRAST = """() => {
  const channel = (v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
  const light = (c) => 0.2126 * channel(c[0]) + 0.7152 * channel(c[1]) + 0.0722 * channel(c[2]);
  const numbers = (c) => c.match(/[\\d.]+/g).map(Number);
  const behind = (e) => {
    for (; e; e = e.parentElement) {
      const found = numbers(getComputedStyle(e).backgroundColor);
      if (found.length === 3 || found[3] > 0) return found;
    }
    return [255, 255, 255];
  };
  const faint = [];
  for (const e of document.querySelectorAll("main *:not(title, noscript)")) {
    if (![...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim())) continue;
    const style = getComputedStyle(e);
    const ink = numbers(e instanceof SVGElement ? style.fill : style.color);
    const [a, b] = [light(ink), light(behind(e))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) faint.push([e.className, e.textContent.slice(0, 40), ratio]);
  }
  return faint;
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_can_be_read(scheme: Any, shown: Watched) -> None:
    shown.page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    dark = shown.measure("getComputedStyle(document.body).backgroundColor")
    assert (dark == "rgb(23, 22, 20)") == (scheme == "dark")
    assert shown.measure(CONTRAST) == []


def test_two_runs_are_drawn_over_one_another(
    run: Path, report: Path, context: BrowserContext, tmp_path: Path
) -> None:
    out = reporting.compare(run, report.parent, tmp_path / "pair.html")
    watched = Watched(context, out)
    assert watched.chart("Losses").locator("path.curve").count() == 4
    left, right = (watched.page.get_by_role("slider", name="Images seen", exact=True).nth(i) for i in (0, 1))
    pictures = watched.page.locator(".slider img")
    before = [pictures.nth(i).get_attribute("alt") for i in (0, 1)]
    left.focus()
    watched.page.keyboard.press("Home")
    after = [pictures.nth(i).get_attribute("alt") for i in (0, 1)]
    assert after[0] != before[0]
    assert after[1] == before[1]
    assert right.input_value() == str(right.get_attribute("max"))
    watched.page.set_viewport_size({"width": 400, "height": 800})
    assert watched.measure("document.documentElement.scrollWidth") <= 400
    assert watched.complaints == []
    watched.page.close()
