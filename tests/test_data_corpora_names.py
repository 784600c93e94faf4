"""Readers of corpora that name their clips by a pattern, and of those with a table: official names, and known traps."""

import csv
import json
from pathlib import Path

import pytest
from test_data_corpora import reasons, tree

from genser.data.corpora import CORPORA, prepare
from genser.data.labels import NO_SPEECH, find_label_map
from genser.errors import ManifestError

HASH = "a1b2c3d4e5f60718293a4b5c6d7e8f901234567890abcdef12345678"

CLIPS = [
    # corpus, official path, label, speaker, gender, language, text, other columns
    ("emovo", "m3/tri-m3-l4.wav", "sadness", "m3", "male", "it", "Vorrei il numero telefonico del Signor Piatti.", {}),
    ("emovo", "EMOVO/f1/gio-f1-n3.wav", "happiness", "f1", "female", "it", "Il gatto sta scorrendo nella pera.", {}),
    ("ased", "05Angry/a5-03-01-02-50.wav", "anger", "50", "male", "am", None, {"sentence": "03"}),
    ("ased", "04Sad/S4-04-02-01-29.wav", "sadness", "29", "female", "am", None, {"sentence": "04"}),
    ("ased", "02Fearful/f2-01-01-02-15.wav", "fear", "15", "female", "am", None, {"sentence": "01"}),
    ("emotiontts", "plain-to-emotional/ema/wav/ema00100.wav", "neutral", "ema", "female", "ko", None, {}),
    ("emotiontts", "plain-to-emotional/ema/wav/ema00101.wav", "happiness", "ema", "female", "ko", None, {}),
    ("emotiontts", "emotional-to-emotional/neo/wav/neo00400.wav", "sadness", "neo", "male", "ko", None, {}),
    ("emospeech", f"webservice/bacho-safe-calm-1563-{HASH}.wav", "neutral", HASH[:12], None, "hi", "bacho", {}),
    ("emospeech", f"webservice/help-scream-angry-??-{HASH}.wav", "anger", HASH[:12], None, "en", "help", {}),
    ("emospeech", f"webservice/unknown-safe-fearful-1-{HASH}.wav", "fear", HASH[:12], None, None, None, {}),
    ("aesdd", "sadness/s20 (5).wav", "sadness", "5", None, "el", None, {"sentence": "20"}),
    ("aesdd", "fear/f01 (02)b.wav", "fear", "2", None, "el", None, {"sentence": "01"}),
    ("asvp-esd", "Audio/actor_12/03-01-04-02-13-12-02-01.wav", "sadness", "12", "male", None, None, {}),
    ("asvp-esd", "Audio/actor_07/03-01-12-01-13-07-02-01-01-77.wav", "disappointment", "07", "female", None, None, {}),
    ("cafe", "Neutre/04-N-1-6.wav", "neutral", "04", "female", "fr", "Six ours aimants domestiqués", {}),
    ("cafe", "Cole\u0300re/Fort/01-C-2-1.wav", "anger", "01", "male", "fr", "Un cheval fou dans mon jardin", {}),
    ("casia", "ZhaoZuoxiang/surprise/250.wav", "surprise", "ZhaoZuoxiang", None, "zh", None, {"sentence": "250"}),
    ("emov-db", "EmoV-DB_sorted/jenie/Angry/anger_393-420_0397.wav", "anger", "jenie", "female", "en", None, {}),
    ("emov-db", "sam_Disgusted/disgust_1-28_0011.wav", "disgust", "sam", "male", "en", None, {"sentence": "0011"}),
    ("emov-db", "josh/Amused/Amused_1-15_0001.wav", "amusement", "josh", "male", "en", None, {}),
    ("enterface", "subject 1/anger/sentence 1/s1_an_1.avi", "anger", "1", None, "en", None, {"sentence": "1"}),
    ("enterface", "subject 11/fear/sentence 2/s12_fe_2.avi", "fear", "11", None, "en", None, {}),
    ("enterface", "subject 3/sadness/sentence 1/s_3_sa_1.avi", "sadness", "3", None, "en", None, {}),
    ("enterface", "subject 6/happiness/s6_ha_5.avi", "happiness", "6", None, "en", None, {}),
    ("enterface", "subject 16/surprise/sentence 3/s16_su_3avi.avi", "surprise", "16", None, "en", None, {}),
    ("jl-corpus", "JL(wav+txt)/female1_angry_10a_1.wav", "anger", "female1", "female", "en", None, {"sentence": "10"}),
    ("jl-corpus", "JL(wav+txt)/male2_assertive_3b_2.wav", "assertive", "male2", "male", "en", None, {}),
    ("mesd", "Anger_C_A_abajo.wav", "anger", "C", None, "es", "abajo", {}),
    ("mesd", "Neutral_M_A_adio\u0301s.wav", "neutral", "M", "male", "es", "adiós", {}),
    ("mesd", "Happiness_F_B_L1_abuso.wav", "happiness", "F", "female", "es", "abuso", {}),
    ("oreau", "Ore\u0301auFR_02/f/sessp/24a02Pa.wav", "fear", "24", "female", "fr", None, {"sentence": "a02"}),
    ("shemo", "male/M12A03.wav", "anger", "M12", "male", "fa", None, {}),
    ("shemo", "female/F21W05.wav", "surprise", "F21", "female", "fa", None, {}),
    ("subesco", "F_01_OISHI_S_10_ANGRY_1.wav", "anger", "F_01", "female", "bn", None, {"sentence": "10"}),
    ("subesco", "F_02_MONIKA_S_2_SURPRISE_3].wav", "surprise", "F_02", "female", "bn", None, {}),
    ("turev-db", "Sound Source/Calm/1234_sk_algi.wav", "neutral", "1234", None, "tr", "algi", {}),
    ("urdu", "Angry/SM4_F48_A0100.wav", "anger", "SM4", "male", "ur", None, {}),
]

NOT_CLIPS = [
    ("emovo", "f1/xxx-f1-b1.wav"),
    ("emovo", "f1/rab-f4-b1.wav"),
    ("ased", "05Angry/a5-08-01-02-50.wav"),
    ("ased", "05Angry/a5-01-01-02-66.wav"),
    ("emotiontts", "plain-to-emotional/ema/wav/ema00401.wav"),
    ("emotiontts", "plain-to-emotional/ema/wav/ema00000.wav"),
    ("emospeech", f"webservice/maybe-safe-calm-1563-{HASH}.wav"),
    ("emospeech", f"webservice/help-safe-None-1563-{HASH}.wav"),
    ("aesdd", "sadness/s05 (3).wav"),
    ("asvp-esd", "Audio/actor_12/03-02-04-02-13-12-02-01.wav"),
    ("cafe", "01-C-3-1.wav"),
    ("casia", "zhangsan/angry/201.wav"),
    ("emov-db", "kim/Angry/anger_1-28_0011.wav"),
    ("enterface", "subject 1/joy/sentence 1/s1_jo_1.avi"),
    ("jl-corpus", "JL(wav+txt)/male3_angry_1a_1.wav"),
    ("mesd", "Anger_X_A_abajo.wav"),
    ("oreau", "OréauFR_02/f/sessc/12c01X.wav"),
    ("shemo", "male/M12X03.wav"),
    ("subesco", "F_01_OISHI_S_10_BORED_1.wav"),
    ("turev-db", "Sound Source/Bored/1234_sk_algi.wav"),
    ("urdu", "Angry/SX4_F48_A0100.wav"),
]


@pytest.mark.parametrize("clip", CLIPS, ids=[f"{clip[0]}-{Path(clip[1]).stem}" for clip in CLIPS])
@pytest.mark.parametrize("ending", ["", ".ogg"])
def test_an_official_name_states_its_clip(tmp_path, clip, ending):
    corpus, name, label, speaker, gender, language, text, columns = clip
    item = prepare(corpus, tree(tmp_path, str(Path(name).with_suffix(ending)) if ending else name)).utterances[0]
    assert (item.label, item.speaker, item.gender, item.text) == (label, speaker, gender, text)
    assert (item.corpus, item.extra.get("language")) == (corpus, language)
    assert columns.items() <= item.extra.items()
    assert find_label_map("all")(item.label) in (item.label, None)


@pytest.mark.parametrize(("corpus", "name"), NOT_CLIPS)
def test_another_name_is_a_problem(tmp_path, corpus, name):
    good = next(clip[1] for clip in CLIPS if clip[0] == corpus)
    report = prepare(corpus, tree(tmp_path, good, name))
    assert [Path(item.path).name for item in report.utterances] == [Path(good).name]
    assert set(reasons(report)) == {Path(name).name}


def test_every_reader_of_names_reads_its_own_example(tmp_path):
    for corpus in {clip[0] for clip in CLIPS} - {"emospeech"}:
        for name in CORPORA[corpus].LAYOUT.split(" or "):
            report = prepare(corpus, tree(tmp_path / corpus, name.split(" beside ")[0]))
            assert report.utterances, name


def test_the_documentation_lists_every_reader():
    text = (Path(__file__).parent.parent / "docs/train.md").read_text("utf-8")
    assert [corpus for corpus in CORPORA if f"`{corpus}`" not in text] == []


def test_incomplete_releases_say_how_much_is_missing(tmp_path):
    sizes = {"emovo": 588, "cafe": 936, "subesco": 7000, "turev-db": 1735, "urdu": 400}
    for corpus, size in sizes.items():
        clip = next(clip[1] for clip in CLIPS if clip[0] == corpus)
        assert prepare(corpus, tree(tmp_path / corpus, clip)).missing == (f"{size - 1} of the {size} clips",)


def test_the_same_name_in_two_folders_is_two_clips_where_folders_state_the_speaker(tmp_path):
    names = ("liuchanhg/angry/201.wav", "liuchanhg/happy/201.wav", "wangzhe/angry/201.wav")
    assert len(prepare("casia", tree(tmp_path, *names)).utterances) == 3


def test_the_speakers_folder_itself_can_be_read(tmp_path):
    tree(tmp_path, "bea/Amused/amused_1-15_0001.wav")
    assert prepare("emov-db", tmp_path / "bea").utterances[0].speaker == "bea"


def test_emospeech_backgrounds_have_no_speech(tmp_path):
    unknown = "d14a028c2a3a2bc9476102bb288234c415a2b01f828ea62ac5b3e42f"
    tree(tmp_path, f"Metro/background-glass_break-calm-20190701193438-{unknown}.wav")
    tree(tmp_path, f"webservice/background-safe-None-15630776-{HASH}.wav")
    metro, phone = prepare("emospeech", tmp_path).utterances
    assert (metro.label, metro.speaker, metro.extra) == (NO_SPEECH, None, {"environment": "glass_break"})
    assert (phone.label, phone.speaker, phone.text) == (NO_SPEECH, HASH[:12], None)


def test_emotiontts_reads_its_scripts(tmp_path):
    tree(tmp_path, "plain-to-emotional/ema/wav/ema00101.wav", "plain-to-emotional/ema/wav/ema00102.wav")
    for folder, words in (("script", "안녕하세요.\n"), ("transcript", "안녕하세요")):
        path = tmp_path / f"plain-to-emotional/ema/{folder}/ema00101.txt"
        path.parent.mkdir()
        path.write_text(words, encoding="utf-8-sig")
    assert [item.text for item in prepare("emotiontts", tmp_path).utterances] == ["안녕하세요.", None]


@pytest.mark.parametrize(
    ("corpus", "folder", "clips"),
    [
        ("emovo", "emovo", 588),
        ("ased", "ased", 2470),
        ("emotiontts", "emotiontts_ko", 300),
        ("emospeech", "emospeech_in", 2261),
    ],
)
def test_real_corpora_agree_with_their_table(corpora, corpus, folder, clips):
    with (corpora / folder / "labels.tsv").open(encoding="utf-8") as file:
        rows = {row["path"]: row for row in csv.DictReader(file, delimiter="\t")}
    found = {
        Path(item.path).relative_to(corpora / folder).as_posix(): item
        for item in prepare(corpus, corpora / folder).utterances
    }
    assert len(found) == clips
    assert found.keys() == rows.keys()
    for path, item in found.items():
        row = rows[path]
        assert ("" if item.label == NO_SPEECH else item.label) == row["label"], path
        assert (item.speaker or "unknown", item.gender or "") == (row["speaker"], row["gender"]), path
        assert item.extra.get("language", "") == row["language"], path


MSP = """FileName,EmoClass,EmoAct,EmoVal,EmoDom,SpkrID,Gender,Split_Set
MSP-PODCAST_0001_0008.wav,N,2.2,4.0,2.6,30,Male,Test1
MSP-PODCAST_0001_0009.wav,A,2.2,4.0,2.6,Unknown,Unknown,Development
MSP-PODCAST_0001_0010.wav,X,2.2,4.0,2.6,31,Female,Train
MSP-PODCAST_0001_0011.wav,C,2.2,4.0,2.6,31,Female,Test2
MSP-PODCAST_0001_0012.wav,H,2.2,4.0,2.6,31,Female,Train
"""


@pytest.mark.parametrize("table", ["labels_consensus.csv", "labels_concensus.csv"])
def test_msp_podcast(tmp_path, table):
    tree(tmp_path, *(f"Audios/MSP-PODCAST_0001_{number:04d}.wav" for number in (8, 9, 10, 11)))
    (tmp_path / "Labels").mkdir()
    (tmp_path / "Labels" / table).write_text(MSP)
    (tmp_path / "Transcripts").mkdir()
    (tmp_path / "Transcripts/MSP-PODCAST_0001_0008.txt").write_text("Well, hello.\n")
    report = prepare("MSP-Podcast", tmp_path)
    assert [(item.label, item.speaker, item.gender, item.split, item.text) for item in report.utterances] == [
        ("neutral", "30", "male", "test", "Well, hello."),
        ("anger", None, None, "validation", None),
        ("contempt", "31", "female", "test", None),
    ]
    assert report.utterances[2].extra == {"language": "en", "partition": "Test2"}
    assert report.missing == ("MSP-PODCAST_0001_0012",)
    assert reasons(report) == {table: "has no agreed emotion for 1 of its clips, omitted"}


@pytest.mark.parametrize(
    ("name", "clip", "transcript"),
    [
        ("msp-podcast", "Audios/MSP-PODCAST_0001_0008.wav", "Transcripts/MSP-PODCAST_0001_0008.txt"),
        ("emotiontts", "a/ema/wav/ema00101.wav", "a/ema/script/ema00101.txt"),
        ("esd", "0001/Angry/0001_000351.wav", "0001/0001.txt"),
    ],
)
def test_words_in_an_unknown_encoding_cost_no_clip(tmp_path, name, clip, transcript):
    tree(tmp_path, clip, transcript)
    (tmp_path / "labels_consensus.csv").write_text(MSP)
    (tmp_path / transcript).write_bytes(b"\xff\x81\x00 words")
    report = prepare(name, tmp_path)
    assert [item.text for item in report.utterances] == [None]
    assert "Its words are omitted." in reasons(report)[Path(transcript).name]


def test_emozionalmente(tmp_path):
    tree(tmp_path, "audio/1612872848291.wav", "audio/1612872848292.wav")
    (tmp_path / "metadata").mkdir()
    (tmp_path / "metadata/samples.csv").write_text(
        "file_name,actor,sentence,emotion_expressed\n1612872848291.wav,u7,La cascata fa molto rumore.,neutrality\n"
        "1612872848292.wav,u8,Dove sei?,boh\n1612872848293.wav,u8,Dove sei?,joy\n"
    )
    (tmp_path / "metadata/users.csv").write_text("username,gender,age\nu7,female,30\nu8,prefer not to say,31\n")
    report = prepare("emozionalmente", tmp_path)
    (item,) = report.utterances
    assert (item.label, item.speaker, item.gender) == ("neutral", "u7", "female")
    assert item.text == "La cascata fa molto rumore."
    assert report.missing == ("1612872848293",)
    assert "unknown emotion 'boh'" in reasons(report)["samples.csv"]


EMNS = """id|utterance|description|emotion|date_created|status|gender|age|level|audio_recording|user_id
1|It was, of course, a trap.|x|Sarcastic|d|Complete|Female|20s|7|wavs/recorded_audio_a.webm|3
2|Run|x|Surprised|d|Complete|Female|20s|9|wavs/recorded_audio_b.webm|3
3|Run|x|Fear|d|Complete|Female|20s|9|wavs/recorded_audio_c.webm|3
4|Run|x|Happy|d|Complete
"""


def test_emns(tmp_path):
    tree(tmp_path, "cleaned_webm/recorded_audio_a.webm")
    (tmp_path / "metadata.csv").write_text(EMNS)
    report = prepare("emns", tmp_path)
    (item,) = report.utterances
    assert (item.label, item.speaker, item.gender, item.intensity) == ("sarcastic", "3", "female", "7")
    assert item.text == "It was, of course, a trap."
    assert report.missing == ("recorded_audio_b",)
    assert len(report.problems) == 2
    assert "unknown emotion 'Fear'" in report.problems[1].reason


def m3ed_annotation(label: str) -> dict:
    line = {"Speaker": "A", "Text": "你好", "EmoAnnotation": {"final_main_emo": label}}
    dialogue = {"SpeakerInfo": {"A": {"Name": "李"}}, "Dialog": {"ganlan_1_1": line, "ganlan_1_2": line}}
    return {"ganlan": {"ganlan_1": dialogue}}


def test_m3ed(tmp_path):
    tree(tmp_path, "modality_speech/A_ganlan_1_1.wav", "splitInfo/movie_list_train.txt")
    (tmp_path / "splitInfo/movie_list_val.txt").write_text("other\nganlan\n")
    (tmp_path / "annotation.json").write_text(json.dumps(m3ed_annotation("Happy")))
    report = prepare("m3ed", tmp_path)
    (item,) = report.utterances
    assert (item.label, item.speaker, item.split, item.text) == ("happiness", "ganlan/李", "validation", "你好")
    assert report.missing == ("A_ganlan_1_2",)
    (tmp_path / "annotation.json").write_text(json.dumps(m3ed_annotation("Bored")))
    with pytest.raises(ManifestError, match="unknown emotion 'Bored'"):
        prepare("m3ed", tmp_path)


@pytest.mark.parametrize("content", ["[]", "{", '{"a": {"b": {}}}', '{"a": 1}'])
def test_m3ed_with_another_annotation(tmp_path, content):
    tree(tmp_path, "modality_speech/A_ganlan_1_1.wav")
    (tmp_path / "annotation.json").write_text(content)
    with pytest.raises(ManifestError, match="is not the annotation of M3ED"):
        prepare("m3ed", tmp_path)


@pytest.mark.parametrize(
    ("corpus", "words"),
    [
        ("msp-podcast", "labels_consensus.csv"),
        ("emozionalmente", "samples.csv"),
        ("emns", "metadata.csv"),
        ("m3ed", "annotation.json"),
    ],
)
def test_corpora_need_their_tables(tmp_path, corpus, words):
    with pytest.raises(ManifestError, match=f"has no {words}"):
        prepare(corpus, tree(tmp_path, "a.wav"))


def test_a_table_of_another_release_is_refused(tmp_path):
    (tmp_path / "labels_consensus.csv").write_text("FileName,Emotion\na.wav,N\n")
    with pytest.raises(ManifestError, match="has no column 'EmoClass'"):
        prepare("msp-podcast", tmp_path)
