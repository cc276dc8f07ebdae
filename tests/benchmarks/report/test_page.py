"""The page of a real run, opened from disk in Debian's chromium with the network off."""

import shutil

import pytest

from tests.conftest import gatito

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium to open the page with: apt-get install chromium"),
    pytest.mark.xdist_group("browser"),  # one run for all of these tests
]

COMMAND = [
    "suite=classic",
    "tasks=[cartpole,mountaincar]",
    "name=r",
    "tracking=none",
    "model.layers=1",
    "model.width=32",
    "model.feedforward=64",
    "controls.clone.width=32",
    "record.env_steps=1500",
    "record.random_env_steps=200",
    "distill.updates=60",
    "distill.batch_size=8",
    "evaluate.episodes=10",
    "experts.selection_episodes=5",
    "experts.gate_episodes=5",
    "clips.seconds=1",
    "suite.tasks.classic-cartpole.expert.env_steps=12000",
    "suite.tasks.classic-cartpole.reference=null",
    "suite.tasks.classic-mountaincar.expert.env_steps=1000",
]


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    done = gatito(*COMMAND, cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder / "results" / "runs" / "r" / "index.html"


@pytest.fixture
def open_page(report):
    """Opens the page with settings of a browser context; the console must stay empty."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="no playwright: pip install playwright")
    said = []
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])

        def opened(**settings):
            page = browser.new_context(offline=True, **settings).new_page()
            page.on("console", lambda message: said.append(f"{message.type}: {message.text}"))
            page.on("pageerror", lambda error: said.append(str(error)))
            page.on("request", lambda request: said.append(request.url) if request.url.startswith("http") else None)
            page.goto(report.as_uri())
            page.wait_for_selector("#chart-fractions svg")
            return page

        yield opened
        browser.close()
    assert said == []


def tasks_shown(page):
    return page.eval_on_selector_all("#scores tbody tr:not([hidden])", "rows => rows.map(row => row.dataset.task)")


def test_the_table_sorts_and_filters(open_page):
    page = open_page()
    assert tasks_shown(page) == ["classic/cartpole", "classic/mountaincar"]
    head = page.locator("#scores thead button").first
    head.click()
    head.click()
    assert tasks_shown(page) == ["classic/mountaincar", "classic/cartpole"]
    assert page.locator("#scores th[aria-sort=descending]").inner_text().startswith("task")
    generalist = page.locator("#scores thead button", has_text="generalist")
    generalist.click()  # unscored tasks stay at the bottom in both directions
    assert tasks_shown(page)[-1] == "classic/mountaincar"
    generalist.click()
    assert tasks_shown(page)[-1] == "classic/mountaincar"
    page.fill("#filter", "cart")
    assert tasks_shown(page) == ["classic/cartpole"]
    assert page.locator("#count").inner_text() == "1 of 2 tasks"
    page.fill("#filter", "")
    page.select_option("#shown", "raw")
    assert page.locator("[data-task='classic/mountaincar'] td").first.inner_text().startswith("-200.0")


def test_a_bar_shows_its_numbers_on_hover(open_page):
    page = open_page()
    bar = page.locator("#chart-fractions svg path[aria-roledescription=bar]").first
    bar.scroll_into_view_if_needed()
    box = bar.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    tip = page.locator("#vg-tooltip-element.visible")
    tip.wait_for()
    assert "classic/cartpole" in tip.inner_text() and "clone" in tip.inner_text()


def test_another_learning_curve_can_be_chosen(open_page):
    page = open_page()
    curve = "#chart-learning svg path[aria-roledescription='line mark']"
    page.wait_for_selector(curve, state="attached")
    before = page.locator(curve).first.get_attribute("d")
    page.locator("#chart-learning select").select_option("expert classic/mountaincar")
    page.wait_for_function(f"before => document.querySelector(\"{curve}\").getAttribute('d') !== before", arg=before)


def test_a_clip_plays(open_page):
    page = open_page()
    assert page.locator("video").count() == 2
    page.evaluate("document.querySelector('video').play()")
    page.wait_for_function("document.querySelector('video').currentTime > 0.2")
    assert "expert" in page.locator("figcaption").first.inner_text()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_contrast_and_a_phone_needs_no_horizontal_scrolling(open_page, scheme):
    page = open_page(viewport={"width": 390, "height": 800}, color_scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    weak = page.evaluate(
        """() => {
          const light = colour => {
            const [r, g, b] = colour.match(/[\\d.]+/g).map(v => v / 255)
              .map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
            return 0.2126 * r + 0.7152 * g + 0.0722 * b;
          };
          const ground = element => {
            const own = getComputedStyle(element).backgroundColor;
            return /rgba\\(.*, 0\\)/.test(own) ? ground(element.parentElement) : own;
          };
          return [...document.querySelectorAll("p, li, th, td, a, figcaption, caption, summary, h1, h2, .interval")]
            .filter(element => element.innerText && getComputedStyle(element).position !== "absolute")
            .filter(element => {
              const [a, b] = [light(getComputedStyle(element).color), light(ground(element))].sort((x, y) => y - x);
              return (a + 0.05) / (b + 0.05) < 4.5;
            }).map(element => element.outerHTML.slice(0, 80));
        }"""
    )
    assert weak == []


def test_every_element_has_a_name_for_screen_readers(open_page):
    page = open_page()
    assert page.locator("html").get_attribute("lang") == "en"
    assert page.locator("h1").count() == 1
    for unnamed in (
        "section:not([aria-labelledby])",
        ".chart:not([aria-label])",
        "video:not([aria-label])",
        "[role=region]:not([aria-label])",
        "table:not(:has(caption))",
        "th:not([scope])",
        "#scores th:not(:has(button)):not([scope=row])",
        "input:not(label input)",
    ):
        assert page.locator(f"main {unnamed}").count() == 0, unnamed
