import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from genser.bench.pool_runs import pool
from genser.bench.published import published
from genser.bench.runs import BenchResult, BenchRun, Cost, Entry, Protocol, RunSpec, bench_result, load_run
from genser.bench.summary import summarize
from genser.errors import ConfigError, StoreError
from genser.metrics.bootstrap import Resampling, paired_bootstrap
from genser.metrics.evaluate import Predictions, evaluate
from genser.report.bench import bench_document, score_lines
from genser.report.document import Document, Heading, Paragraph, Table, to_html, to_markdown, write_report
from genser.report.evaluation import evaluation_document
from genser.report.paper import paper_tables

CLASSES = ("angry", "happy", "neutral")
RAVDESS = Protocol("ravdess-emobox", "ravdess", "emotion", "emobox", folds=2)
QUICK = Resampling(200)


def run(head="transport", seed=0, fold=0, skill=1.5, protocol=RAVDESS, factor="", value="", size=24, **settings):
    """A run on utterances of 4 speakers; the same utterances for every head and seed."""
    # a digest of the names, not hash(), which changes with the process
    random = np.random.default_rng([seed, fold, *f"{head}{factor}{value}".encode()])
    labels = np.arange(size) % 3
    voices = np.repeat([f"fold{fold}-{i}" for i in range(4)], size // 4)

    def scores():
        logits = random.normal(size=(size, 3))
        logits[np.arange(size), labels] += skill
        return np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)

    return BenchRun(
        RunSpec(protocol, str(fold), head, "whisper-base", seed, factor, value, settings),
        CLASSES,
        np.array([f"{fold}-{i:02}.wav" for i in range(size)]),
        labels,
        scores(),
        Cost(1000, 12.0, 0.048),
        voices,
        {1: scores(), 4: scores()} if head == "transport" and not factor else {},
    )


def runs(head="transport", seeds=3, **changes):
    return [run(head, seed, fold, **changes) for seed in range(seeds) for fold in range(2)]


def bench(*more):
    return BenchResult((*runs(), *runs("linear", skill=1.0), *more), "Bench of three", ("A note & more.",))


class Page(HTMLParser):
    """Checks that tags close, and gathers what a browser would fetch, the text, and the ids."""

    def __init__(self, page):
        super().__init__()
        self.open, self.fetched, self.ids, self.text, self.wrong = [], [], [], [], []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        self.fetched += [
            values[name]
            for name in ("src", "href")
            if not values.get(name, "#").startswith(("#", "data:image/png;base64,"))
        ]
        self.ids += [values["id"]] if "id" in values else []
        self.wrong += [tag] if tag in {"script", "link", "iframe"} else []
        if tag not in {"meta", "br", "img"}:
            self.open.append(tag)

    def handle_endtag(self, tag):
        self.wrong += [] if self.open and self.open.pop() == tag else [f"/{tag}"]

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        self.open.pop()

    def handle_data(self, data):
        self.text.append(data)


def test_a_run_returns_from_its_file(tmp_path):
    one = run(learning_rate=1e-3)
    again = load_run(one.save(tmp_path))
    assert again.spec == one.spec
    assert (again.cost, again.classes) == (one.cost, one.classes)
    for name in ("utterances", "labels", "probabilities", "speakers"):
        np.testing.assert_array_equal(getattr(again, name), getattr(one, name))
    np.testing.assert_array_equal(again.steps[4], one.steps[4])
    assert [path.name for path in tmp_path.iterdir()] == [one.spec.name]


def test_file_names_tell_settings_apart_and_stay_the_same():
    names = [run(**change).spec.name for change in ({}, {"k": 4}, {"k": 10}, {"seed": 1}, {"fold": 1}, {"factor": "k"})]
    assert len(set(names)) == 6
    assert names[0] == run().spec.name
    assert names[0].startswith("ravdess-emobox-whisper-base-transport")


def test_a_damaged_or_other_file_is_refused(tmp_path):
    path = run().save(tmp_path)
    whole = path.read_bytes()
    path.write_bytes(whole[:-200])
    with pytest.raises(StoreError, match="damaged"):
        load_run(path)
    np.savez(path, about=np.array(json.dumps({"format": 9})))
    with pytest.raises(StoreError, match="format is 9"):
        load_run(path)
    np.savez(path, x=np.array([object()], dtype=object))
    with pytest.raises(StoreError, match="not a bench run"):
        load_run(path)


def test_a_run_refuses_repeated_utterances():
    one = run()
    with pytest.raises(ConfigError, match="as many different utterances"):
        BenchRun(one.spec, CLASSES, np.full(24, "a"), one.labels, one.probabilities, one.cost)


def test_a_result_loads_from_a_folder_and_refuses_doubles(tmp_path):
    saved = [one.save(tmp_path / "runs").name for one in runs()]
    first = Entry("p", "e", tuple(saved[:3]), {"t": "T"}, ("A.", "B."))
    first.extended(Entry("p", "e", (*saved[3:], "missing.npz"), {}, ("B.", "C."))).save(tmp_path)
    result = bench_result(tmp_path, title="T", notes=("N.",))
    assert (len(result.runs), result.title) == (6, "T")
    assert result.notes == ("N.", "A.", "B.", "C.", "Unfinished: 1 of 7 runs are missing.")
    with pytest.raises(ConfigError, match="occurs twice"):
        BenchResult((*result.runs, result.runs[0]))


def test_pooling_joins_folds_and_omits_incomplete_seeds():
    (pooled,) = pool([*runs(), run(seed=7)])
    assert (pooled.seeds, pooled.incomplete) == ((0, 1, 2), (7,))
    assert pooled.probabilities.shape == (3, 48, 3)
    assert sorted(pooled.steps) == [1, 4]
    row = int(np.flatnonzero(pooled.utterances == "1-05.wav")[0])
    np.testing.assert_array_equal(pooled.probabilities[2, row], run(seed=2, fold=1).probabilities[5])
    assert pooled.folds[row] == "1"
    assert not pool([run(seed=7)])


def test_pooling_does_not_depend_on_the_order_of_runs():
    first, second = pool(runs()), pool(runs()[::-1])
    np.testing.assert_array_equal(first[0].probabilities, second[0].probabilities)


def test_pooling_refuses_two_settings_under_one_name():
    with pytest.raises(ConfigError, match="different settings"):
        pool([*runs(), run(learning_rate=1)])


def test_summary_equals_the_metrics_of_each_seed():
    (summary,) = summarize(bench(), resampling=QUICK)
    transport = next(one for one in summary.systems if one.system.head == "transport")
    (pooled, _) = pool(bench().runs)
    singles = [evaluate(Predictions(one, pooled.labels, CLASSES)) for one in pooled.probabilities]
    assert transport.scores["ua"].mean == pytest.approx(np.mean([one.ua for one in singles]))
    assert transport.scores["ua"].deviation == pytest.approx(np.std([one.ua for one in singles], ddof=1))
    assert transport.scores["ua"].interval.unit == "speaker"
    assert transport.calibration.brier == pytest.approx(np.mean([one.calibration.brier for one in singles]))
    assert transport.recall["happy"] == pytest.approx(np.mean([one.per_class[1].recall for one in singles]))
    assert transport.confusion.sum() == 3 * 48
    assert transport.cost.predict_milliseconds == pytest.approx(2.0)
    assert (summary.floor_wa, summary.speakers) == (pytest.approx(1 / 3), 8)


def test_summary_pairs_equal_the_paired_bootstrap():
    (summary,) = summarize(bench(), resampling=QUICK)
    a, b = pool(bench().runs)
    expected = paired_bootstrap(a.probabilities, b.probabilities, a.labels, a.speakers, classes=3, resampling=QUICK)
    assert summary.pairs[a.system, b.system] == expected
    assert summary.systems[0].system == a.system, "the better system comes first"


def test_every_fold_is_scored_by_itself():
    result = BenchResult((*runs(size=48), *runs("linear", skill=1.0, size=48)))
    (summary,) = summarize(result, resampling=QUICK)
    a, b = pool(result.runs)
    assert [one.fold for one in summary.folds] == ["0", "1"]
    for one in summary.folds:
        there = a.folds == one.fold
        single = [unweighted(a.labels[there], seed[there]) for seed in a.probabilities]
        assert one.ua[a.system].mean == pytest.approx(np.mean(single))
        sides = [side.probabilities[:, there] for side in (a, b)]
        expected = paired_bootstrap(*sides, a.labels[there], a.speakers[there], classes=3, resampling=QUICK)
        assert one.pairs[a.system, b.system] == expected
        assert one.utterances == there.sum()


def unweighted(labels, probabilities):
    return np.mean([(probabilities[labels == one].argmax(1) == one).mean() for one in set(labels)])


def test_many_folds_are_not_listed():
    protocol = Protocol("x", "x", "emotion", "loso", folds=11)
    many = [run(fold=fold, protocol=protocol) for fold in range(11)]
    (summary,) = summarize(BenchResult(tuple(many)), resampling=QUICK)
    assert summary.folds == ()


def test_ablations_are_compared_with_the_default_of_their_head():
    (summary,) = summarize(bench(*runs(skill=0.1, factor="k", value="4")), resampling=QUICK)
    assert [one.system.factor for one in summary.systems] == ["", ""]
    (ablation,) = summary.ablations
    assert (ablation.head, ablation.factor, ablation.rows[0].value) == ("transport", "k", "4")
    assert ablation.rows[0].difference.interval.high < 0


def test_an_ablation_without_its_default_has_no_difference():
    (summary,) = summarize(BenchResult(tuple(runs(factor="k", value="4"))), resampling=QUICK)
    assert summary.ablations[0].rows[0].difference is None
    page = to_markdown(bench_document(BenchResult(tuple(runs(factor="k", value="4"))), resampling=QUICK))
    assert "Ablation of transport on whisper-base: k" in page


def test_systems_on_other_utterances_are_refused():
    other = [
        BenchRun(one.spec, CLASSES, np.char.add("x", one.utterances), one.labels, one.probabilities, one.cost)
        for one in runs("linear")
    ]
    with pytest.raises(ConfigError, match="different utterances or classes"):
        summarize(BenchResult((*runs(), *other)))
    with pytest.raises(ConfigError, match="No seed is complete"):
        summarize(BenchResult((run(),)))


def test_failed_utterances_count_as_wrong_and_spare_the_calibration():
    broken = []
    for one in runs():
        probabilities = one.probabilities.copy()
        probabilities[:6] = np.nan
        broken.append(BenchRun(one.spec, CLASSES, one.utterances, one.labels, probabilities, one.cost, one.speakers))
    (summary,) = summarize(BenchResult(tuple(broken)), resampling=QUICK)
    assert summary.systems[0].confusion[:, -1].sum() == 3 * 2 * 6
    assert summary.systems[0].scores["wa"].mean < 0.76
    assert sum(one.count for one in summary.systems[0].calibration.bins) == 3 * 36


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    dependent = Protocol("emodb-emobox", "emodb", "emotion", "emobox", folds=2, speaker_dependent=True)
    result = bench(*runs(factor="k", value="4"), *runs(protocol=dependent, seeds=1))
    paths = write_report(bench_document(result, resampling=QUICK), folder)
    return {str(path.relative_to(folder)): path for path in paths}


def test_the_page_needs_no_other_file_and_is_accessible(written):
    page = written["report.html"].read_text()
    parsed = Page(page)
    assert (parsed.open, parsed.wrong, parsed.fetched) == ([], [], [])
    assert len(parsed.ids) == len(set(parsed.ids))
    assert page.count("<caption>") == page.count("<table>") > 5
    assert page.count("<img ") == len([name for name in written if name.startswith("pictures")]) > 5
    assert page.count(' alt="') == page.count("<img ")
    for promise in ("prefers-color-scheme: dark", 'name="viewport"', 'lang="en"', 'scope="col"', 'scope="row"'):
        assert promise in page
    assert "A note &amp; more." in page


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_shows_long_names_and_tables_without_scrolling_the_page(written_for_phone, scheme):
    from selenium import webdriver

    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    try:
        size = {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": False}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
        browser.get(written_for_phone.as_uri())
        assert browser.execute_script("return document.documentElement.scrollWidth <= innerWidth")
        beyond = """
            return [...document.querySelectorAll("h1, h2, p, li, img, figcaption, caption span")]
              .filter((one) => one.getBoundingClientRect().right > innerWidth).map((one) => one.innerText);
        """
        assert browser.execute_script(beyond) == []
    finally:
        browser.quit()


@pytest.fixture(scope="module")
def written_for_phone(tmp_path_factory):
    """A report whose names are as long as those of seven joined corpora."""
    pytest.importorskip("matplotlib")
    pytest.importorskip("selenium")
    if not (shutil.which("chromium") and shutil.which("chromedriver")):
        pytest.skip("chromium and its driver are not installed")
    name = "ased+emodb+emospeech+emotiontts+emovo+nemo+ravdess-kfold-2-gender"
    protocol = Protocol(name, "ased+emodb", "emotion", "kfold", folds=2)
    found = BenchResult(tuple(runs(protocol=protocol)), f"Bench: {name}_without_any_place_to_break_a_line", ())
    folder = tmp_path_factory.mktemp("phone")
    write_report(bench_document(found, resampling=QUICK), folder, formats=("html",))
    return folder / "report.html"


def test_markup_in_texts_is_escaped():
    evil = "<script>\"&'</script>"
    table = Table(evil, (evil, evil), ((evil, evil),), marked=frozenset({0}), words=frozenset({1}))
    page = to_html(Document(evil, (Heading(evil), Paragraph(evil, "warning"), table), {}), {})
    assert "<script" not in page
    parsed = Page(page)
    assert (parsed.open, parsed.wrong) == ([], [])
    assert "".join(parsed.text).count(evil) == 10
    assert '<tr class="marked">' in page
    assert '<td class="words">' in page
    assert '<th scope="col" class="words">' in page
    assert '<p class="warning">' in page


def test_few_speakers_carry_a_warning():
    single, double = (Protocol("p", "c", "emotion", "kfold", folds=count) for count in (1, 2))
    few = "say nothing about other speakers"
    text = to_markdown(bench_document(BenchResult((run(protocol=single),)), resampling=QUICK))
    assert "The clips are of 4 speakers only, so the scores and intervals say nothing about other speakers." in text
    unknown = (replace(run(protocol=double, fold=fold), speakers=None) for fold in range(2))
    text = to_markdown(bench_document(BenchResult(tuple(unknown)), resampling=QUICK))
    assert "The speakers are unknown, so" in text
    assert text.count(few) == 1, "not for each fold again"
    document = bench_document(bench(), resampling=QUICK)
    text = to_markdown(document)
    assert "Number of speakers: 0 (4), 1 (4)." in text, "8 speakers in all, but 4 on each fold"
    assert text.count(few) == 1
    assert [one["speakers"] for one in document.data["protocols"][0]["folds"]] == [4, 4]


def test_a_bench_shows_no_interval_over_few_clips(tmp_path):
    document = bench_document(bench(), resampling=QUICK)
    text = to_markdown(document)
    assert "or where all answers are right or all are wrong: 0, 1." in text, "24 clips on each fold"
    (summary,) = document.data["protocols"]
    assert summary["folds"][0]["ua"][0]["interval"]["low"] is None
    assert summary["folds"][0]["pairs"][1]["interval"]["low"] is None
    assert summary["systems"][0]["scores"]["ua"]["interval"]["low"] is not None, "48 clips, 16 of each class"
    single = Protocol("p", "c", "emotion", "kfold")
    result = BenchResult((run(protocol=single), run("linear", protocol=single)))
    few = "There are no intervals, since 24 clips are too few. Test 30 or more."
    text = to_markdown(bench_document(result, resampling=QUICK))
    assert f"**Note:** {few}" in text
    assert not re.search(r"\d\.\d to \d", text)
    assert f"p: {few}" in score_lines(result)
    assert all(path.exists() for path in write_report(bench_document(result, resampling=QUICK), tmp_path))


def test_a_bench_shows_no_interval_over_means_of_a_rare_class():
    labels = np.where(np.arange(48) < 9, 0, 1 + np.arange(48) % 2)
    single = Protocol("p", "c", "emotion", "kfold")
    result = BenchResult((replace(run(protocol=single, size=48), labels=labels),))
    (summary,) = summarize(result, resampling=QUICK)
    shown = {name for name, score in summary.systems[0].scores.items() if score.interval.has_ends}
    assert shown == {"wa", "weighted_f1"}
    text = to_markdown(bench_document(result, resampling=QUICK))
    assert "UA and macro F1 have no interval, as 9 clips are too few for the class 'angry'" in text


@pytest.mark.parametrize(
    ("speakers", "words"), [(4, "of 4 speakers only"), (1, "of a single speaker"), (0, "speakers are unknown"), (5, "")]
)
def test_an_evaluation_of_few_speakers_says_so_in_every_format(speakers, words):
    probabilities, labels = np.tile(run().probabilities, (5, 1)), np.tile(run().labels, 5)
    voices = np.arange(len(labels)) % speakers if speakers else None
    found = evaluate(Predictions(probabilities, labels, CLASSES, voices), resampling=QUICK)
    document = evaluation_document(found, steps={4: found})
    assert (document.data["warnings"] == []) == (speakers == 5)
    page = to_html(document, dict.fromkeys(["classes", "confusion", "calibration", "steps"], bytes(24)))
    for text in (to_markdown(document), page, str(document.data["warnings"])):
        assert words in text
        assert ("say nothing about other speakers" in text) == (speakers < 5)


@pytest.mark.parametrize("name", ["report.html", "report.md"])
def test_every_format_says_what_must_not_be_missed(written, name):
    text = "".join(Page(written[name].read_text()).text)
    for words in ("Speaker-dependent", "(published)", "floor", "Whisper-large-v3", "Ablation of transport", "Table 3"):
        assert words in text
    assert "speaker-dependent" in text[text.index("Table 1") :]


def test_every_picture_of_a_speaker_dependent_protocol_says_so(written):
    lines = written["report.md"].read_text().splitlines()
    captions = [line for line in lines if line.startswith("![") and "pictures/emodb-emobox" in line]
    assert len(captions) >= 4
    assert all("speaker-dependent" in caption.split("](")[0] for caption in captions)


def test_json_holds_the_numbers_behind_the_page(written):
    data = json.loads(written["report.json"].read_text())
    first, second = data["protocols"]
    assert [one["system"]["head"] for one in first["systems"]] == ["transport", "linear"]
    assert set(first["pairs"][0]) == {"a", "b", "metric", "interval", "win_probability"}
    assert [one["fold"] for one in first["folds"]] == ["0", "1"]
    assert first["folds"][0]["ua"][0]["system"] == "transport · whisper-base"
    assert "UA in % on every fold" in written["report.md"].read_text()
    assert second["protocol"]["speaker_dependent"] is True
    assert second["systems"][0]["scores"]["ua"]["deviation"] is None
    assert len(first["published"]) == 7


def test_markdown_links_only_pictures_that_exist(written):
    links = [
        line.split("](")[1][:-1] for line in written["report.md"].read_text().splitlines() if line.startswith("![")
    ]
    assert links
    assert set(links) == {name for name in written if name.startswith("pictures")}
    assert all(written[link].read_bytes().startswith(b"\x89PNG") for link in links)


def test_tables_have_one_cell_a_column(written):
    rows = [line for line in written["report.md"].read_text().splitlines() if line.startswith("|")]
    widths = [row.count("|") for row in rows]
    rules = [index for index, row in enumerate(rows) if row.startswith("| ---")]
    for start, end in zip(rules, [*(index - 1 for index in rules[1:]), len(rows)], strict=True):
        assert set(widths[start - 1 : end]) == {widths[start]}


def test_text_formats_need_no_matplotlib(tmp_path):
    code = (
        "import sys; sys.modules.update(matplotlib=None, torch=None, sklearn=None, scipy=None)\n"
        "import numpy as np\n"
        "from genser.metrics.evaluate import Predictions, evaluate\n"
        "from genser.report.document import write_report\n"
        "from genser.report.evaluation import evaluation_document\n"
        "e = evaluate(Predictions(np.eye(2), np.array([0, 1]), ('a', 'b')))\n"
        f"print(len(write_report(evaluation_document(e), {str(tmp_path)!r}, formats=('json', 'md'))))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "2"
    assert "![" not in (tmp_path / "report.md").read_text()


def test_an_unknown_format_lists_the_known_ones(tmp_path):
    document = evaluation_document(evaluate(Predictions(np.eye(2), np.array([0, 1]), ("a", "b"))))
    with pytest.raises(ConfigError, match="no report format pdf"):
        write_report(document, tmp_path, formats=("pdf",))


def test_the_report_on_an_evaluation_has_failures_steps_warnings_and_the_floor():
    probabilities = run().probabilities.copy()
    probabilities[0] = np.nan
    predictions = Predictions(probabilities, run().labels, CLASSES, run().speakers)
    found = evaluate(predictions, resampling=QUICK)
    document = evaluation_document(
        found, about={"model": "<base>"}, steps={0: found, 4: found}, warnings=("Speaker-dependent.",), notes=("N.",)
    )
    text = to_markdown(document)
    for words in ("1 input could not be read", "> **Note:** Speaker-dependent.", "N = 4", "direct", "<base>", "floor"):
        assert words in text
    assert "There are no intervals, since 24 clips are too few. Test 30 or more." in text
    assert document.data["steps"]["4"]["failed"] == 1
    assert document.data["warnings"][0] == "Speaker-dependent."


def test_published_rows_agree_with_the_paper():
    ours = {row.model: row.wa for row in published(table="gen-ser-1")}
    assert ours == {
        "WavLM + CLS": 50.6,
        "HuBERT + CLS": 53.4,
        "emotion2vec": 51.9,
        "Qwen-Audio": 55.7,
        "Qwen2-Audio": 55.3,
        "OSUM": 53.4,
        "SenseVoice-L": 63.1,
        "Gen-SER": 56.5,
    }
    assert [row.wa for row in published(table="gen-ser-2")] == [86.6, 87.5, 79.3, 82.5, 90.3, 90.5]
    assert {row.steps: row.wa for row in published(table="gen-ser-3")} == {
        1: 56.13,
        2: 56.17,
        4: 56.25,
        10: 56.28,
        20: 56.44,
    }


def test_published_rows_are_complete_and_sourced():
    rows = published()
    assert all(row.source and any(v is not None for v in (row.wa, row.ua, row.weighted_f1)) for row in rows)
    scores = [score for row in rows for score in (row.wa, row.ua, row.macro_f1, row.weighted_f1) if score is not None]
    assert all(10 < score <= 100 for score in scores)
    emobox = published(table="emobox")
    assert {row.corpus for row in emobox if row.speaker_dependent} == {"emodb", "crema-d", "tess"}
    assert len(emobox) == 7 * 6
    (best,) = (row for row in published(corpus="ravdess", family="emobox") if row.model == "Whisper-large-v3")
    assert (best.ua, best.wa, best.macro_f1) == (75.32, 75.87, 75.19)
    with pytest.raises(ConfigError, match="no published table"):
        published(table="nine")


def test_table_one_puts_meld_runs_into_the_papers_column():
    meld = Protocol("meld", "meld", "emotion", "official", folds=2)
    table = next(
        block
        for block in paper_tables(summarize(BenchResult(tuple(runs(protocol=meld))), resampling=QUICK))
        if hasattr(block, "rows")
    )
    assert table.head == ("model", "type", "MELD")
    rows = {row[0]: row[1:] for row in table.rows}
    assert rows["Gen-SER (published)"] == ("Diffusion", "56.5")
    assert float(rows["transport · whisper-base"][1]) > 33
    assert [row[0] for index, row in enumerate(table.rows) if index not in table.marked] == ["transport · whisper-base"]


def test_table_two_needs_a_gender_protocol():
    gender = Protocol("gender", "ravdess", "gender", "kfold", folds=2)
    captions = [
        block.caption
        for block in paper_tables(summarize(BenchResult(tuple(runs("linear", protocol=gender))), resampling=QUICK))
        if hasattr(block, "caption")
    ]
    assert captions == ["Table 2: accuracy for gender classification in %"]
