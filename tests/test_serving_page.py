"""The pages in Chromium: one browser, for wide and narrow windows, light and dark."""

import csv
import json
import os
import re
import shutil
import time
from importlib.util import find_spec
from pathlib import Path

import httpx2 as httpx
import numpy as np
import pytest
import soundfile
import voice_server
from voices import LABELS, PITCHES, RATE, babble, hush

from genser.inference.profile import Profile

webdriver = pytest.importorskip("selenium.webdriver")
from selenium.webdriver.common.by import By  # noqa: E402 - after the skip
from selenium.webdriver.common.keys import Keys  # noqa: E402
from selenium.webdriver.support.ui import WebDriverWait  # noqa: E402

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="chromium and its driver are not installed")
TALK = np.concatenate([part for pitch in PITCHES for part in (hush(1.0), babble(2.0, pitch))] + [hush(1.0)])
NAME = "talk, by three.wav"
RIGHT_TO_LEFT = "مكالمة.wav"
WINDOWS = {"wide": (1100, 900, "light"), "dark": (1100, 900, "dark"), "phone": (360, 780, "light")}


@pytest.fixture(scope="module")
def server():
    with voice_server.running("voice_server:unfamiliar_app") as server:
        yield server


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    soundfile.write(folder / NAME, TALK, RATE)
    soundfile.write(folder / RIGHT_TO_LEFT, TALK[: 4 * RATE], RATE)
    other = np.concatenate([hush(2.0), babble(3.0, PITCHES[2]), hush(5.0)])
    soundfile.write(folder / "call.wav", np.stack([TALK, other], axis=1), RATE)
    (folder / "notes.txt").write_text("no sound at all")
    return folder


@pytest.fixture(scope="module")
def axe():
    """Return the source of axe-core: the file GENSER_AXE, else that of the package axe-core-python."""
    package = find_spec("axe_core_python")
    if not (named := os.environ.get("GENSER_AXE")) and not (package and package.origin):
        pytest.skip("needs the package axe-core-python, or GENSER_AXE")
    return Path(named or Path(package.origin).with_name("axe.min.js")).read_text("utf-8")


@pytest.fixture(scope="module")
def browser(folder):
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
        f"--use-file-for-fake-audio-capture={folder / NAME}",
    ):
        options.add_argument(argument)
    options.add_experimental_option("prefs", {"download.default_directory": str(folder / "saved")})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    yield browser
    browser.quit()


@pytest.fixture
def page(browser, server):
    """Open the page in a wide window; at the end check its console and its requests."""
    show(browser, "wide")
    browser.get(server.url)
    wait(browser, lambda: find(browser, "#file"))
    yield browser
    check_console(browser)
    check_requests(browser, server)


def show(browser, window):
    width, height, scheme = WINDOWS[window]
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    colors = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", colors)


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
    return WebDriverWait(browser, seconds, poll_frequency=0.1).until(lambda _: condition())


def find(browser, selector):
    return browser.find_element(By.CSS_SELECTOR, selector)


def texts(browser, selector):
    """The visible texts of all elements; None for drawings."""
    return browser.execute_script(f"return [...document.querySelectorAll({selector!r})].map((one) => one.innerText)")


def upload(browser, folder, *names):
    """Choose files, and wait until all are done; the first is shown."""
    before = len(texts(browser, ".state"))
    find(browser, "#file").send_keys("\n".join(str(folder / name) for name in names or (NAME,)))
    finish(browser, before + len(names or (NAME,)))


def finish(browser, count):
    """Wait until so many recordings are analysed and the table is filled."""

    def is_finished():
        states = texts(browser, ".state")
        return len(states) == count and not any(word in ("waiting", "analysing …") for word in states)

    wait(browser, is_finished)
    wait(browser, lambda: rows(browser) or not find(browser, "#result").is_displayed())


def rows(browser):
    return texts(browser, "#segments tr")


def click(browser, selector):
    browser.execute_script("arguments[0].click()", find(browser, selector))


def explain(browser, row):
    """Press the second button of a row, which explains the label."""
    click(browser, f"#segments tr:nth-child({row}) button:nth-of-type(2)")
    wait(browser, lambda: find(browser, "#step-text").text.startswith("Step 4"))


def saved(folder, name):
    """What the browser has saved; it makes an empty file first, and one with a further ending while it writes."""
    path = folder / "saved" / name
    deadline = time.monotonic() + 10
    while not path.exists() or not path.stat().st_size or list(path.parent.glob("*.crdownload")):
        assert time.monotonic() < deadline, f"{name} was not saved"
        time.sleep(0.05)
    content = path.read_bytes()
    path.unlink()
    return content


def test_a_recording_is_shown_and_played(page, folder):
    upload(page, folder)
    assert find(page, "#status").text == "3 segments in 10.0 s."
    assert find(page, "#result-title").text == f"Emotions in {NAME}"
    assert re.fullmatch(r"10\.0 s, 3 segments, mostly [a-z]+, unfamiliar", *texts(page, ".state"))
    assert find(page, "#familiar-share").text == "10 %"
    assert "Expect more errors" in find(page, "#familiar-low").text
    assert not find(page, "#familiar-high").is_displayed()
    assert [label in row for row, label in zip(rows(page), LABELS, strict=True)] == [True] * 3
    assert colors(page, "#timeline") > 10
    find(page, "#segments tr:nth-child(2) button").click()
    wait(page, lambda: 4.0 < page.execute_script("return document.getElementById('player').currentTime") < 6.5)
    wait(page, lambda: page.execute_script("return document.getElementById('player').paused"))
    assert "chosen" in find(page, "#segments tr:nth-child(2)").get_attribute("class")


def colors(browser, canvas):
    """How many different values the pixels of a canvas have."""
    return browser.execute_script(
        f"const c = document.querySelector('{canvas}');"
        "return new Set(c.getContext('2d').getImageData(0, 0, c.width, c.height).data).size"
    )


def test_each_channel_is_shown_and_saved_as_the_server_writes_it(page, server, folder):
    name = "call.wav"
    click(page, "summary")
    find(page, "#channel").send_keys("each")
    upload(page, folder, name)
    assert [word for row in rows(page) for word in re.findall(r"channel \d", row)].count("channel 2") == 1
    assert [text.partition(":")[0] for text in texts(page, "#summary caption")] == ["Channel 1", "Channel 2"]
    url, files = f"{server.url}/v1/segments?channel=each", {"file": (name, (folder / name).read_bytes())}
    expected = httpx.post(url, files=files).json()
    find(page, "#save-json").click()
    content = json.loads(saved(folder, "call.json"))
    assert content["segments"] == expected["segments"]
    find(page, "#save-csv").click()
    theirs = httpx.post(f"{url}&format=csv", files=files).text
    mine = saved(folder, "call.csv").decode()
    for one, two in zip(csv.DictReader(mine.splitlines()), csv.DictReader(theirs.splitlines()), strict=True):
        assert one.keys() == two.keys()
        assert one["path"] == two["path"] == name
        numbers = ("start", "end", "channel", *LABELS)
        assert {key: float(one[key]) for key in numbers} == {key: float(two[key]) for key in numbers}
    for format, ending in (("srt", "srt"), ("textgrid", "TextGrid")):
        find(page, f"#save-{format}").click()
        assert saved(folder, f"call.{ending}").decode() == httpx.post(f"{url}&format={format}", files=files).text
    find(page, "#save-png").click()
    picture = saved(folder, "call.png")
    assert picture.startswith(b"\x89PNG")
    assert int.from_bytes(picture[16:20]) == 3200  # pixels wide


def test_a_call_whose_sides_were_mixed_is_analysed_again_by_channel(page, folder):
    upload(page, folder, "call.wav")
    assert find(page, "#remark").text == "2 different channels were mixed to one."
    button = find(page, "#each-channel")
    assert button.accessible_name == "Analyse each channel"
    button.send_keys(Keys.ENTER)
    finish(page, 1)
    wait(page, lambda: "channel 2" in "".join(rows(page)))
    assert find(page, "#channel").get_attribute("value") == "each"
    assert not find(page, "#remark").is_displayed()
    assert not button.is_displayed()
    assert "pick" in page.switch_to.active_element.get_attribute("class")
    upload(page, folder)
    click(page, "#recordings li:last-child .pick")
    assert not button.is_displayed()


def test_the_kind_of_recording_decides_how_it_is_cut(page, folder):
    parts = [babble(0.15, PITCHES[0]) if at % 2 else hush(0.4) for at in range(9)]
    soundfile.write(folder / "answers.wav", np.concatenate([*parts, babble(2.0, PITCHES[0]), hush(1.0)]), RATE)
    upload(page, folder, "answers.wav")
    talk = rows(page)
    click(page, "summary")
    chosen = find(page, "#cut")
    assert chosen.accessible_name == "Kind of recording"
    assert (
        "not for live sound"
        in page.execute_script(
            "return document.getElementById(arguments[0].getAttribute('aria-describedby')).innerText", chosen
        ).lower()
    )
    chosen.send_keys("call")
    assert chosen.get_attribute("value") == "calls"
    find(page, "#settings button").click()
    finish(page, 1)
    assert rows(page) != talk


def test_several_recordings_are_analysed_in_turn_and_nothing_stale_is_shown(page, folder):
    upload(page, folder, NAME, "notes.txt", RIGHT_TO_LEFT)
    assert texts(page, "#recordings bdi") == [NAME, "notes.txt", RIGHT_TO_LEFT]
    assert texts(page, ".state")[1] == "failed"
    assert "1 segment, mostly low" in texts(page, ".state")[2]
    click(page, "#recordings li:nth-child(3) .pick")
    assert find(page, "#file-name").text == RIGHT_TO_LEFT
    wait(page, lambda: len(rows(page)) == 1)
    explain(page, 1)
    click(page, "#recordings li:nth-child(2) .pick")
    assert "notes.txt is not audio" in find(page, "#problem").text
    for part in ("#result", "#transport"):
        assert not find(page, part).is_displayed()
    click(page, "#recordings li:nth-child(2) button:last-child")
    assert texts(page, "#recordings bdi") == [NAME, RIGHT_TO_LEFT]
    assert not find(page, "#problem").is_displayed()
    assert find(page, "#file-name").text == RIGHT_TO_LEFT  # the one in its place
    # Chromium logs every answer above 399 by itself.
    logged = page.get_log("browser")
    assert all("422" in entry["message"] for entry in logged if entry["level"] == "SEVERE")


def test_a_part_is_zoomed_and_moved_by_buttons_and_the_strip(page, folder):
    upload(page, folder)
    assert find(page, "#range").text == "All of 10.0 s"
    assert not find(page, "#overview").is_displayed()
    assert not find(page, "#zoom-out").is_enabled()
    find(page, "#zoom-in").click()
    find(page, "#zoom-in").click()
    assert find(page, "#range").text == "0:03.8 – 0:06.3 of 0:10"
    wait(page, lambda: len(rows(page)) == 1)
    assert find(page, "#segments-note").text.startswith("1 of 3 segments")
    find(page, "#later").send_keys(Keys.ENTER)
    assert find(page, "#range").text == "0:05.6 – 0:08.1 of 0:10"
    assert colors(page, "#overview") > 10
    webdriver.ActionChains(page).move_to_element_with_offset(find(page, "#overview"), -400, 0).click().perform()
    assert find(page, "#range").text.startswith("0:00.0 –")
    wheel = "document.querySelector('#timeline').dispatchEvent(new WheelEvent('wheel', {deltaY: -700, ctrlKey: true}))"
    page.execute_script(wheel)
    assert find(page, "#range").text == "0:00.0 – 0:01.0 of 0:10"
    find(page, "#zoom-all").click()
    webdriver.ActionChains(page).move_to_element_with_offset(find(page, "#timeline"), 310, 0).click().perform()
    wait(page, lambda: len(rows(page)) == 3)
    assert "chosen" in find(page, "#segments tr:nth-child(3)").get_attribute("class")


def test_the_lanes_of_three_hours_are_drawn_where_segments_are_narrower_than_a_pixel(page):
    script = """
        const done = arguments[arguments.length - 1];
        import("/static/paint.js").then(({ paint, heightOf }) => {
          const times = Array.from({ length: 2400 }, (_, at) => 4.5 * at);
          const segments = times.map((start) => (
            { start, end: start + 2, label: "a", confident: true, scores: { a: 0.9, b: 0.1 } }));
          const answer = { labels: ["a", "b"], duration: 10800, segments, envelope: [] };
          const canvas = Object.assign(document.createElement("canvas"), { width: 600, height: heightOf(answer) });
          const pen = canvas.getContext("2d");
          const tones = { ink: "#000", soft: "#000", line: "#000", wave: "#000", accent: "#000", paper: "#fff" };
          const view = { from: 0, to: 10800, span: 10800 };
          paint(pen, { answer, view, tones, colors: { a: "#f00", b: "#00f" }, width: 600 });
          const lane = pen.getImageData(100, 90, 400, 1).data; // within the bars of a
          done([...lane].filter((_, at) => at % 4 === 1).filter((green) => green < 200).length);
        });
    """
    assert page.execute_async_script(script) == 400


def test_the_transport_moves_step_by_step_to_the_class(page, folder):
    upload(page, folder)
    explain(page, 3)
    assert re.fullmatch(r"Step 4 of 4: the estimate is \d+ % high\.", find(page, "#step-text").text)
    way = find(page, "#plane polyline").get_attribute("points").split()
    assert len(way) == 5
    assert way[0] == "0,0"  # speech resembles no class
    assert len(texts(page, "#shares li")) == len(LABELS)
    assert texts(page, "#plane .recorded") == []  # there is no profile
    slider = find(page, "#step")
    slider.send_keys(Keys.HOME)
    assert find(page, "#step-text").text.startswith("Step 0 of 4")
    slider.send_keys(Keys.ARROW_RIGHT)
    assert slider.get_attribute("aria-valuetext").startswith("step 1 of 4")


def test_the_model_is_adapted_to_the_recordings_in_the_list(page, folder):
    upload(page, folder, NAME, RIGHT_TO_LEFT)
    click(page, "#adapt")
    wait(page, lambda: find(page, "#adapt-text").text.startswith("Adapted to 2 clips of speech, 14.0 s in all."))
    assert "so only 29 % of the difference is used" in find(page, "#adapt-text").text
    finish(page, 2)
    assert "middle" in rows(page)[0]  # adapted, the recogniser takes each voice for the next one
    assert find(page, "#familiar-adapted").is_displayed()
    explain(page, 1)
    assert len(texts(page, "#plane .recorded")) == 1
    assert "into the distribution of the training" in find(page, "#transport").text
    find(page, "#save-profile").click()
    assert Profile.parsed(saved(folder, "profile.json"), "it").clips == 2
    click(page, "#unadapt")
    finish(page, 2)
    assert "low" in rows(page)[0]
    assert not find(page, "#unadapt").is_displayed()


def test_the_synthetic_voice_is_recognised(page):
    click(page, "#sample")
    finish(page, 1)
    assert find(page, "#file-name").text == "synthetic-sample.mp3"
    assert len(rows(page)) > 1


def test_a_recording_from_the_microphone_is_recognised(page):
    wait(page, lambda: find(page, "#record").is_enabled())
    click(page, "#record")
    wait(page, lambda: find(page, "#record").text == "Stop")
    assert not find(page, "#live").is_enabled()
    time.sleep(4.5)
    click(page, "#record")
    finish(page, 1)
    assert texts(page, "#recordings bdi") == ["recording 1.wav"]
    assert any(label in rows(page)[0] for label in LABELS)


def test_live_sound_gives_segments_while_it_goes_on(page):
    click(page, "#live")
    wait(page, lambda: find(page, "#status").text.startswith("Listening"))
    wait(page, lambda: len(rows(page)) >= 2, seconds=25)
    click(page, "#live")
    wait(page, lambda: " segments in " in find(page, "#status").text)
    assert find(page, "#live").text == "Listen live"
    assert find(page, "#record").is_enabled()


def test_the_remark_on_a_file_is_shown(page, folder):
    sound = (folder / NAME).read_bytes()
    (folder / "cut.wav").write_bytes(sound[: len(sound) // 2])
    upload(page, folder, "cut.wav")
    assert "cut off" in find(page, "#remark").text
    assert "in 10.0 s" in find(page, "#status").text


def test_a_model_without_transport_explains_nothing(page, server, folder):
    (model,) = httpx.get(f"{server.url}/v1/models").json()["models"]
    answer = json.dumps({"models": [model | {"transport": False}]})
    page.execute_script(
        "const other = window.fetch; window.fetch = (path, settings) => (path === '/v1/models'"
        f" ? Promise.resolve(new Response({answer!r})) : other(path, settings));"
        "document.querySelector('#key').dispatchEvent(new Event('change'))"
    )
    upload(page, folder)
    assert texts(page, "#segments button") == ["Play"] * 3


def test_only_the_classes_that_can_occur_are_answered(page, folder):
    click(page, "summary")
    upload(page, folder)
    find(page, "#classes").send_keys("low, middle", Keys.ENTER)  # analyses again
    finish(page, 1)
    wait(page, lambda: "high" not in "".join(rows(page)))
    explain(page, 3)
    assert len(texts(page, "#shares li")) == 2


def test_everything_is_reached_by_keyboard(page, folder):
    upload(page, folder)
    page.execute_script("document.activeElement.blur(); scrollTo(0, 0)")
    reached = set()
    name = "const a = document.activeElement; return a.id || a.getAttribute('aria-label') || a.innerText"
    for _ in range(40):
        webdriver.ActionChains(page).send_keys(Keys.TAB).perform()
        reached.add(page.execute_script(name))
    assert {"file", "record", "live", "sample", "adapt", "zoom-in", "player", "save-png"} <= reached
    starts = ("Play ", "Explain ", f"{NAME}", f"Remove \u2068{NAME}")
    assert [start for start in starts if not any(one.startswith(start) for one in reached)] == []


@pytest.mark.parametrize("window", WINDOWS)
def test_every_window_shows_all_without_an_accessibility_problem(page, server, folder, axe, window):
    show(page, window)
    faults = violations(page, axe) if window == "wide" else []
    upload(page, folder)
    click(page, "summary")
    find(page, "#zoom-in").click()
    explain(page, 1)
    faults += violations(page, axe)
    assert page.execute_script("return document.documentElement.scrollWidth <= innerWidth")
    page.get(f"{server.url}/docs")
    wait(page, lambda: texts(page, "#routes li"))
    faults += violations(page, axe) if window == "dark" else []
    assert page.execute_script("return document.documentElement.scrollWidth <= innerWidth")
    assert faults == []


def violations(browser, axe):
    browser.execute_script(axe)
    run = "const done = arguments[arguments.length - 1]; axe.run().then((r) => done(r.violations))"
    return [(one["id"], one["nodes"][0]["html"]) for one in browser.execute_async_script(run)]


def test_the_routes_are_described(page, server):
    page.get(f"{server.url}/docs")
    wait(page, lambda: texts(page, "#routes li"))
    paths = httpx.get(f"{server.url}/openapi.json").json()["paths"]
    expected = {f"{method.upper()} {path}" for path, methods in paths.items() for method in methods}
    assert set(texts(page, "#routes li")) == expected
    links = page.find_elements(By.CSS_SELECTOR, "a[href^='#']")
    targets = [link.get_attribute("href").partition("#")[2] for link in links]
    assert [one for one in targets if not page.find_elements(By.ID, one)] == []
