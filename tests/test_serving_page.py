"""The page in Chromium: upload, microphone, live sound, downloads, keyboard, accessibility, three window types."""

import csv
import json
import os
import re
import shutil
import subprocess
import time
from pathlib import Path

import httpx2 as httpx
import numpy as np
import pytest
import soundfile
import voice_server
from voices import LABELS, PITCHES, RATE, babble, hush

webdriver = pytest.importorskip("selenium.webdriver")
from selenium.webdriver.common.by import By  # noqa: E402 - after the skip
from selenium.webdriver.common.keys import Keys  # noqa: E402
from selenium.webdriver.support.ui import WebDriverWait  # noqa: E402

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="chromium and its driver are not installed")
TALK = np.concatenate([part for pitch in PITCHES for part in (hush(1.0), babble(2.0, pitch))] + [hush(1.0)])
SERIOUS = ("serious", "critical")


@pytest.fixture(scope="module")
def server():
    with voice_server.running() as server:
        yield server


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    soundfile.write(folder / "talk, by three.wav", TALK, RATE)
    return folder


@pytest.fixture(scope="module")
def axe(tmp_path_factory):
    """Return the source of axe-core: the file GENSER_AXE, else installed by npm."""
    if named := os.environ.get("GENSER_AXE"):
        return Path(named).read_text("utf-8")
    if not shutil.which("npm"):
        pytest.skip("needs GENSER_AXE or npm")
    place = tmp_path_factory.mktemp("axe")
    subprocess.run(["npm", "install", "--silent", "--prefix", place, "axe-core@4"], check=True, timeout=120)
    return (place / "node_modules/axe-core/axe.min.js").read_text("utf-8")


@pytest.fixture(
    params=[("1100,900", "light"), ("1100,900", "dark"), ("390,844", "light")], ids=["wide", "dark", "phone"]
)
def page(request, server, folder):
    """Open the page; at the end check its console and its requests."""
    size, scheme = request.param
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in (
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--disable-background-networking",
        "--autoplay-policy=no-user-gesture-required",
        "--use-fake-ui-for-media-stream",
        "--use-fake-device-for-media-stream",
        f"--use-file-for-fake-audio-capture={folder / 'talk, by three.wav'}",
        f"--window-size={size}",
    ):
        options.add_argument(argument)
    options.add_experimental_option("prefs", {"download.default_directory": str(folder / "saved")})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    width, height = map(int, size.split(","))
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    colors = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", colors)
    try:
        browser.get(server.url)
        yield browser
        check_console(browser)
        check_requests(browser, server)
    finally:
        browser.quit()


def check_console(browser):
    assert [entry for entry in browser.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")] == []


def check_requests(browser, server):
    urls = []
    for entry in browser.get_log("performance"):
        message = json.loads(entry["message"])["message"]
        if message["method"] == "Network.requestWillBeSent":
            urls.append(message["params"]["request"]["url"])
        elif message["method"] == "Network.webSocketCreated":
            urls.append(message["params"]["url"])
    own = (server.url, server.url.replace("http", "ws"), "blob:", "data:")
    assert any(url.startswith(server.url) for url in urls)
    assert [url for url in urls if not url.startswith(own)] == []


def wait(browser, condition, seconds=20):
    return WebDriverWait(browser, seconds).until(lambda _: condition())


def find(browser, selector):
    return browser.find_element(By.CSS_SELECTOR, selector)


def upload(browser, folder):
    find(browser, "#file").send_keys(str(folder / "talk, by three.wav"))
    wait(browser, lambda: len(rows(browser)) == 3)


def rows(browser):
    return browser.find_elements(By.CSS_SELECTOR, "#segments tr")


def saved(folder, name):
    path = folder / "saved" / name
    deadline = time.monotonic() + 10
    while not path.exists():
        assert time.monotonic() < deadline, f"{name} was not saved"
        time.sleep(0.1)
    text = path.read_text("utf-8")
    path.unlink()
    return text


def test_a_recording_is_shown_played_and_saved(page, server, folder):
    upload(page, folder)
    assert find(page, "#status").text == "3 segments in 10.0 s."
    assert find(page, "#result-title").text == "Timeline of talk, by three.wav"
    assert not find(page, "#out-of-domain").is_displayed()
    assert [label in row.text for row, label in zip(rows(page), LABELS, strict=True)] == [True] * 3
    drawn = "const c = document.getElementById('timeline'); const d = c.getContext('2d').getImageData(0, 0, c.width,"
    drawn += " c.height).data; return new Set(d).size"
    assert page.execute_script(drawn) > 10
    find(page, "#segments tr:nth-child(2) button").click()
    wait(page, lambda: 4.0 < page.execute_script("return document.getElementById('player').currentTime") < 6.5)
    wait(page, lambda: page.execute_script("return document.getElementById('player').paused"))
    assert "chosen" in rows(page)[1].get_attribute("class")
    check_saved(page, server, folder)


def check_saved(page, server, folder):
    path = folder / "talk, by three.wav"
    files = {"file": (path.name, path.read_bytes())}
    expected = httpx.post(f"{server.url}/v1/segments", files=files).json()
    find(page, "#save-json").click()
    content = json.loads(saved(folder, "talk, by three.json"))
    assert content["segments"] == expected["segments"]
    find(page, "#save-csv").click()
    mine = list(csv.DictReader(saved(folder, "talk, by three.csv").splitlines()))
    theirs = httpx.post(f"{server.url}/v1/segments?format=csv", files=files).text
    for one, two in zip(mine, csv.DictReader(theirs.splitlines()), strict=True):
        assert one.keys() == two.keys()
        assert one["path"] == two["path"] == path.name
        assert {k: float(one[k]) for k in ("start", "end", *LABELS)} == {
            k: float(two[k]) for k in ("start", "end", *LABELS)
        }


def test_a_click_on_the_timeline_chooses_the_segment_under_it(page, folder):
    upload(page, folder)
    click = (
        "const c = document.getElementById('timeline'), b = c.getBoundingClientRect(); c.dispatchEvent(new MouseEvent("
    )
    click += "'click', {clientX: b.left + b.width * 0.8, clientY: b.top + 20, bubbles: true}))"
    page.execute_script(click)
    wait(page, lambda: "chosen" in rows(page)[2].get_attribute("class"))


def test_the_transport_moves_step_by_step_to_the_class(page, folder):
    upload(page, folder)
    page.find_elements(By.CSS_SELECTOR, "#segments tr:nth-child(3) button")[1].click()
    shown = r"Step 4 of 4: the estimate is \d+ % high\."
    wait(page, lambda: re.fullmatch(shown, find(page, "#step-text").text))
    way = page.find_element(By.CSS_SELECTOR, "#plane polyline").get_attribute("points").split()
    assert len(way) == 5
    assert way[0] == "0,0"  # speech resembles no class
    assert len(page.find_elements(By.CSS_SELECTOR, "#shares li")) == len(LABELS)
    slider = find(page, "#step")
    slider.send_keys(Keys.HOME)
    assert find(page, "#step-text").text.startswith("Step 0 of 4")
    slider.send_keys(Keys.ARROW_RIGHT)
    assert slider.get_attribute("aria-valuetext").startswith("step 1 of 4")


def test_a_recording_from_the_microphone_is_recognised(page):
    wait(page, lambda: find(page, "#record").is_enabled())
    find(page, "#record").click()
    wait(page, lambda: find(page, "#record").text == "Stop")
    assert not find(page, "#live").is_enabled()
    time.sleep(4.5)
    find(page, "#record").click()
    wait(page, lambda: len(rows(page)) >= 1)
    assert any(label in rows(page)[0].text for label in LABELS)


def test_live_sound_gives_segments_while_it_goes_on(page):
    find(page, "#live").click()
    wait(page, lambda: find(page, "#status").text.startswith("Listening"))
    wait(page, lambda: len(rows(page)) >= 2, seconds=25)
    find(page, "#live").click()
    wait(page, lambda: find(page, "#status").text.endswith(" s."))
    assert find(page, "#live").text == "Listen live"
    assert find(page, "#record").is_enabled()


def test_a_failed_upload_shows_its_error_and_no_earlier_result(page, folder):
    upload(page, folder)
    assert find(page, "#result").is_displayed()
    (folder / "notes.txt").write_text("no sound at all")
    find(page, "#file").send_keys(str(folder / "notes.txt"))
    wait(page, lambda: "notes.txt is not audio" in find(page, "#problem").text)
    assert not find(page, "#result").is_displayed()
    # Chromium logs every answer above 399 by itself.
    logged = page.get_log("browser")
    assert all("422" in entry["message"] for entry in logged if entry["level"] == "SEVERE")


def test_the_remark_on_a_file_is_shown(page, folder):
    upload(page, folder)
    assert not find(page, "#remark").is_displayed()
    sound = (folder / "talk, by three.wav").read_bytes()
    (folder / "cut.wav").write_bytes(sound[: len(sound) // 2])
    find(page, "#file").send_keys(str(folder / "cut.wav"))
    wait(page, lambda: "cut off" in find(page, "#remark").text)
    assert "in 10.0 s" in find(page, "#status").text


def test_an_out_of_domain_recording_gets_a_warning_and_a_model_without_transport_no_button(page, server, folder):
    with voice_server.running("voice_server:plain_app") as other:
        page.get(other.url)
        upload(page, folder)
        assert "Expect more errors" in find(page, "#out-of-domain").text
        assert "genser adapt RECORDINGS -o profile.json" in find(page, "#adapt-hint").text
        assert [button.text for button in page.find_elements(By.CSS_SELECTOR, "#segments button")] == ["Play"] * 3
        assert not find(page, "#transport").is_displayed()
        check_console(page)
        page.get_log("performance")  # its requests are not those that the fixture checks
    page.get(server.url)


def test_only_the_classes_that_can_occur_are_answered(page, folder):
    find(page, "summary").click()
    find(page, "#classes").send_keys("low, middle")
    upload(page, folder)
    assert find(page, "#legend").text.split() == ["low", "middle"]
    page.find_elements(By.CSS_SELECTOR, "#segments tr:nth-child(3) button")[1].click()
    wait(page, lambda: find(page, "#step-text").text.startswith("Step 4"))
    assert len(page.find_elements(By.CSS_SELECTOR, "#shares li")) == 2


def test_everything_is_reached_by_keyboard(page, folder):
    upload(page, folder)
    page.execute_script("document.activeElement.blur(); scrollTo(0, 0)")
    reached = set()
    for _ in range(40):
        webdriver.ActionChains(page).send_keys(Keys.TAB).perform()
        reached.add(
            page.execute_script("const a = document.activeElement; return a.id || a.getAttribute('aria-label')")
        )
    assert {"file", "record", "live", "player", "save-json", "save-csv"} <= reached
    assert any(name and name.startswith("Play ") for name in reached)
    assert any(name and name.startswith("Show the transport") for name in reached)


def test_nothing_is_wider_than_the_window(page, folder):
    upload(page, folder)
    page.find_elements(By.CSS_SELECTOR, "#segments tr:nth-child(1) button")[1].click()
    wait(page, lambda: find(page, "#transport").is_displayed())
    assert page.execute_script("return document.documentElement.scrollWidth <= innerWidth")


def test_axe_finds_no_serious_accessibility_problem(page, folder, axe):
    page.execute_script(axe)
    run = "const done = arguments[arguments.length - 1]; axe.run().then((r) => done(r.violations))"
    empty = page.execute_async_script(run)
    upload(page, folder)
    page.find_elements(By.CSS_SELECTOR, "#segments tr:nth-child(1) button")[1].click()
    wait(page, lambda: find(page, "#step-text").text.startswith("Step 4"))
    find(page, "summary").click()
    full = page.execute_async_script(run)
    faults = [(one["id"], one["nodes"][0]["html"]) for one in empty + full if one["impact"] in SERIOUS]
    assert faults == []
