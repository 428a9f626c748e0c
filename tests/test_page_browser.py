"""The page in a real browser: nothing is loaded or logged, everything leads somewhere and can be used by
everyone. Set SCREENSHOTS to a folder to look at it."""

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import browser
import pytest
from handmade import by_rate, like_the_paper, write

from bnstudy.books.places import Place
from bnstudy.claims import Claim, at_best, contains, equal_within, largest_workable, ratio_at_least
from bnstudy.design import Ablation
from bnstudy.reporting import freshness, page, report
from bnstudy.reporting.report import Report

HOSTILE = "<script>window.hacked = 1</script><img src=x onerror='window.hacked = 2'>&amp;"
WIDTHS = (360, 768, 1280)


def ablations() -> list[Ablation]:
    """Return a sweep that answers an exercise, one with hostile words, and one that has not run."""
    claims = (
        Claim(
            "BN allows rates 5 times as large.",
            factor="network",
            outcome=largest_workable("lr"),
            effect=ratio_at_least(5),
            refs=("C13",),
        ),
        Claim(
            "At the best rate both are equal.",
            factor="network",
            outcome=at_best("lr"),
            effect=equal_within(0.05),
        ),
    )
    sweep = replace(by_rate(*claims), name="sweep", source="d2l-en 8.5 exercise 2; claim C13")
    published = Claim(f"It was typical {HOSTILE}.", factor="network", effect=contains({"bn": 0.88}, 0.0005))
    hostile = replace(
        by_rate(published, rates=(0.1, 1.0)),
        name="hostile",
        question=f"Is this safe? {HOSTILE}",
        source=HOSTILE,
        figure="arms",
        file=f'"""Safe?\n\nExpected: {HOSTILE}\n"""\n',
    )
    return [sweep, hostile, replace(by_rate(*claims), name="empty", source="d2l-en 8.5 exercise 3")]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return Place(tmp_path_factory.mktemp("results"), "paper", pytest.fail)


@pytest.fixture(scope="module")
def made(place: Place) -> Report:
    for ablation in ablations()[:2]:
        write(place.folder, ablation, like_the_paper)
    return report.gather(ablations(), place)


@pytest.fixture(scope="module")
def file(place: Place, made: Report) -> Path:
    path = place.results / "report.html"
    path.write_text(page.render(made, freshness.inputs(ablations(), place)), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with browser.opened() as found:
        yield found


class Seen:
    """A tab with the page open, and all that it logged and asked for."""

    def __init__(self, chromium: Any, file: Path, **options: Any) -> None:
        self.context = chromium.new_context(**{"viewport": {"width": 1280, "height": 900}} | options)
        self.tab = self.context.new_page()
        self.logged: list[str] = []
        self.asked: list[str] = []
        self.tab.on("console", lambda message: self.logged.append(message.text))
        self.tab.on("pageerror", lambda error: self.logged.append(str(error)))
        self.tab.on("request", lambda request: self.asked.append(request.url))
        self.tab.goto(file.as_uri())

    def close(self) -> None:
        self.context.close()


@pytest.fixture
def seen(chromium: Any, file: Path) -> Iterator[Seen]:
    held = Seen(chromium, file)
    yield held
    held.close()


def test_the_page_logs_nothing_and_asks_for_itself_alone(seen: Seen, file: Path) -> None:
    assert seen.logged == []
    assert seen.asked == [file.as_uri()]


def test_hostile_words_are_shown_and_never_run(seen: Seen) -> None:
    assert seen.tab.evaluate("window.hacked") is None
    assert seen.tab.locator("img").count() == 0
    assert seen.tab.locator("#hostile h3").inner_text().startswith(f"Is this safe? {HOSTILE}")


def test_every_link_inside_of_the_page_leads_to_one_place(seen: Seen) -> None:
    targets = seen.tab.eval_on_selector_all("a[href^='#']", "links => links.map(a => a.hash.slice(1))")
    ids = seen.tab.eval_on_selector_all("[id]", "nodes => nodes.map(n => n.id)")
    assert len(targets) > 40 and set(targets) <= set(ids)
    assert len(ids) == len(set(ids))
    uses = seen.tab.eval_on_selector_all("use", "all => all.map(u => u.getAttribute('href').slice(1))")
    assert len(uses) > 20 and set(uses) <= set(ids)


@pytest.mark.parametrize(("width", "scheme"), [(360, "dark"), (1280, "light")])
def test_axe_finds_nothing_serious(chromium: Any, file: Path, width: int, scheme: str) -> None:
    held = Seen(chromium, file, viewport={"width": width, "height": 900}, color_scheme=scheme)
    held.tab.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    held.tab.evaluate(browser.axe())
    found = held.tab.evaluate("axe.run({resultTypes: ['violations']})")
    held.close()
    assert len(found["passes"]) > 20
    bad = [each for each in found["violations"] if each["impact"] in ("serious", "critical")]
    assert {each["id"]: [node["html"][:200] for node in each["nodes"][:3]] for each in bad} == {}


@pytest.mark.parametrize("width", WIDTHS)
def test_the_page_fits_its_window_and_nothing_moves_while_it_loads(
    chromium: Any, file: Path, width: int
) -> None:
    held = Seen(chromium, file, viewport={"width": width, "height": 900})
    wide = held.tab.evaluate("document.documentElement.scrollWidth")
    shift = held.tab.evaluate(
        """() => new Promise(done => {
            let sum = 0;
            new PerformanceObserver(list => list.getEntries().forEach(e => { sum += e.value; }))
                .observe({type: "layout-shift", buffered: true});
            setTimeout(() => done(sum), 100);
        })"""
    )
    if folder := os.environ.get("SCREENSHOTS"):
        held.tab.screenshot(path=f"{folder}/page-{width}.png", full_page=True)
    held.close()
    assert (wide, shift) == (width, 0)


def test_a_table_sorts_by_a_click_or_a_key_and_says_so(seen: Seen) -> None:
    head = seen.tab.locator("#sweep th", has_text="test accuracy").first
    cell = "rows => rows.map(r => Number(r.cells[2].dataset.sort))"
    before = seen.tab.eval_on_selector_all("#sweep table.sortable tbody tr", cell)
    head.get_by_role("button").click()
    assert head.get_attribute("aria-sort") == "ascending"
    up = seen.tab.eval_on_selector_all("#sweep table.sortable tbody tr", cell)
    head.get_by_role("button").press("Enter")
    assert head.get_attribute("aria-sort") == "descending"
    down = seen.tab.eval_on_selector_all("#sweep table.sortable tbody tr", cell)
    assert up == sorted(before) != before and down == up[::-1]


def test_without_scripts_the_page_says_the_same(chromium: Any, file: Path, seen: Seen) -> None:
    bare = Seen(chromium, file, java_script_enabled=False)
    text, count = bare.tab.locator("main").text_content(), bare.tab.locator("th button").count()
    bare.close()
    assert text == seen.tab.locator("main").text_content() and count == 0


def test_the_first_key_leads_past_the_contents(seen: Seen) -> None:
    seen.tab.keyboard.press("Tab")
    assert seen.tab.evaluate("document.activeElement.className") == "skip"
    box = seen.tab.locator(".skip").bounding_box()
    assert box is not None and box["y"] >= 0
    seen.tab.keyboard.press("Enter")
    assert seen.tab.evaluate("document.activeElement.id") == "content"


def test_figures_have_words_a_size_and_the_colors_of_the_page(seen: Seen, made: Report) -> None:
    [sweep] = seen.tab.locator("#sweep svg.drawing").all()
    assert sweep.get_attribute("role") == "img"
    assert sweep.get_attribute("aria-label") == made.section("sweep").figure.alt  # type: ignore[union-attr]
    ink = "getComputedStyle(document.querySelector('#sweep svg.drawing text')).fill"
    light = seen.tab.evaluate(ink)
    seen.tab.emulate_media(color_scheme="dark")
    assert light == "rgb(91, 99, 109)" != seen.tab.evaluate(ink)
    seen.tab.emulate_media(media="print", color_scheme="dark")
    assert seen.tab.evaluate(ink) == light


def test_on_paper_everything_is_unfolded_and_no_page_is_cut(seen: Seen, tmp_path: Path) -> None:
    seen.tab.pdf(path=tmp_path / "page.pdf", format="A4")
    assert seen.tab.locator("details:not([open])").count() == 0
    seen.tab.set_viewport_size({"width": 670, "height": 900})  # A4 without its margins
    seen.tab.emulate_media(media="print")
    assert seen.tab.evaluate("document.documentElement.scrollWidth") <= 670
