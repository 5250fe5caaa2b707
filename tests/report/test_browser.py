"""The pages in a real browser, headless Chromium, at the width of a phone and of a desk: nothing in
the console, no request to anywhere, nothing wider than the page.

Needs `chromium` and `chromedriver` (Debian: apt-get install chromium chromium-driver); without them
these tests are skipped, with that reason. GDRO_PICTURES=FOLDER keeps a picture of each page.
"""

from __future__ import annotations

import base64
import json
import os
import shutil

import pytest
from fake_record import FakeRun, write

from gdro.report import write_report, write_side_by_side

webdriver = pytest.importorskip("selenium.webdriver", reason="pip install selenium")
CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(
    not (CHROMIUM and DRIVER), reason="apt-get install chromium chromium-driver"
)

WIDTHS = {"phone": 390, "desk": 1280}
PICTURES = os.environ.get("GDRO_PICTURES")
"""A folder to leave a picture of each page in, for a person to look at."""


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    profile = tmp_path_factory.mktemp("profile")
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"):
        options.add_argument(argument)
    options.add_argument(f"--user-data-dir={profile}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    one = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    yield one
    one.quit()


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """A report with and one without findings, and two runs side by side."""
    root = tmp_path_factory.mktemp("runs")
    long = FakeRun(30, informative=0)
    sound = write(root / "a-run-with-a-rather-long-name-001", FakeRun(30, seed=1))
    ill = write(root / "another-run-with-a-long-name-002", long)
    return {
        "report": write_report(sound),
        "findings": write_report(ill),
        "side-by-side": write_side_by_side([sound, ill]),
    }


def opened(driver, page, width):
    """Open a page at a width; a phone's viewport is narrower than any window."""
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    for name in ("browser", "performance"):
        driver.get_log(name)
    driver.get(page.as_uri())
    driver.execute_script("document.querySelectorAll('details').forEach(d => { d.open = true; })")


def picture(driver, name):
    if PICTURES:
        shot = driver.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True})
        os.makedirs(PICTURES, exist_ok=True)
        with open(f"{PICTURES}/{name}.png", "wb") as file:
            file.write(base64.b64decode(shot["data"]))


def requests(driver):
    """The addresses asked for since the log was last read, but for those of the browser's own start
    page, which may still be loading."""
    events = [json.loads(entry["message"])["message"] for entry in driver.get_log("performance")]
    asked = [e["params"] for e in events if e["method"] == "Network.requestWillBeSent"]
    return [one["request"]["url"] for one in asked if not one["documentURL"].startswith("chrome:")]


@pytest.mark.parametrize("width", WIDTHS.values(), ids=WIDTHS.keys())
@pytest.mark.parametrize("name", ["report", "findings", "side-by-side"])
def test_a_page_in_a_browser(driver, pages, name, width):
    opened(driver, pages[name], width)
    size = driver.execute_script(
        "const d = document.documentElement; return [innerWidth, d.scrollWidth, d.clientWidth];"
    )
    picture(driver, f"{name}-{width}")
    assert size[0] == width
    assert size[1] <= size[2], f"the page is {size[1]} wide, the screen {size[2]}"
    assert driver.get_log("browser") == []
    assert requests(driver) == [pages[name].as_uri()]


def test_pointing_at_a_figure_reads_its_values(driver, pages):
    opened(driver, pages["report"], WIDTHS["desk"])
    text = driver.execute_script(
        """
        const figure = document.querySelector("#chosen");
        const svg = figure.querySelector("svg[data-hover]"), box = svg.getBoundingClientRect();
        svg.dispatchEvent(new PointerEvent("pointermove", {
          clientX: box.x + box.width / 2, clientY: box.y + box.height / 2, bubbles: true}));
        return figure.querySelector(".readout").textContent;
        """
    )
    assert text.startswith("step")
    assert "observed" in text
    assert driver.get_log("browser") == []
