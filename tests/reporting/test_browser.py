"""The report as one sees it: in headless Chromium, at the width of a desk and of a telephone."""

from __future__ import annotations

import zipfile

import pytest

from reporting.browser import Browser, find
from reporting.runfolder import finished_run
from stnuclei.reporting import write_report

pytestmark = pytest.mark.skipif(find() is None, reason="no Chromium: apt-get install chromium")
LOADED = """Promise.all([...document.images].filter(i => i.offsetParent).map(i => {
    i.loading = 'eager'; return i.decode().then(() => 0, () => i.alt); })).then(all => all.filter(x => x))"""
BROKEN = "[...document.images].filter(i => i.offsetParent && !(i.naturalWidth > 0)).map(i => i.alt)"
TOO_WIDE = """document.documentElement.scrollWidth <= innerWidth ? [] : [...document.querySelectorAll('main *')]
    .filter(e => e.getBoundingClientRect().right > innerWidth + 1 && !e.closest('.scroll, .zoom'))
    .map(e => e.outerHTML.slice(0, 120))"""
SHOWN = "[...document.querySelectorAll('.page')].filter(p => p.offsetParent).map(p => p.id)"


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    run = finished_run(folder)
    write_report(run, folder / "report.html", folder / "report.zip")
    with zipfile.ZipFile(folder / "report.zip") as archive:
        archive.extractall(folder)
    return folder


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with Browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


def check(browser, page: str) -> None:
    assert browser.run(LOADED) == [], page
    assert browser.run(BROKEN) == [], page
    assert browser.run(TOO_WIDE) == [], page
    assert browser.complaints() == [], page
    assert all(url.startswith("file://") for url in browser.requests()), page


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (390, False), (390, True)])
def test_every_page_of_the_one_file(report, browser, width, dark):
    address = f"file://{report}/report.html"
    browser.open(address, width, dark=dark)
    anchors = browser.run("[...document.querySelectorAll('.page')].map(p => p.id)")
    assert len(anchors) == 8
    for anchor in anchors:
        browser.open(f"{address}#{anchor}", width, dark=dark)
        assert browser.run(SHOWN) == [anchor]
        check(browser, anchor)
        browser.run("document.querySelectorAll('details.folded').forEach(d => d.open = true)")
        check(browser, f"{anchor}, all opened")


@pytest.mark.parametrize("width", [1280, 390])
def test_every_page_of_the_zip(report, browser, width):
    for path in sorted((report / "report").rglob("*.html")):
        browser.open(f"file://{path}", width)
        assert len(browser.run(SHOWN)) == 1
        check(browser, path.name)


def test_links_lead_to_the_page_they_name(report, browser):
    browser.open(f"file://{report}/report.html")
    for name, anchor in (("colon", "samples--colon"), ("st-seed1", "models--st-seed1"), ("stnuclei", "index")):
        browser.run(f"[...document.querySelectorAll('a')].find(a => a.textContent == '{name}').click()")
        assert browser.run(SHOWN) == [anchor]
    browser.open(f"file://{report}/report/index.html")
    browser.open(browser.run("[...document.querySelectorAll('main a')].find(a => a.textContent == 'colon').href"))
    assert browser.run("document.querySelector('h1').textContent") == "colon"


def test_a_click_enlarges_a_picture(report, browser):
    browser.open(f"file://{report}/report.html#samples--colon", 390)
    browser.run(LOADED)
    width = "document.querySelector('#samples--colon .zoom img').getBoundingClientRect().width"
    small = browser.run(width)
    browser.run("document.querySelector('#samples--colon .zoom img').click()")
    assert browser.run(width) == 640 > small
    assert browser.run(TOO_WIDE) == []
