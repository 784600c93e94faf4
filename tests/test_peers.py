import base64
import json
import threading
from concurrent.futures import Future
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import peer_models
import pytest
import soundfile

import genser.bench.comparison
from genser import cli
from genser.bench.protocols import divide
from genser.data.labels import find_label_map
from genser.data.manifest import read_manifest
from genser.data.utterance import Utterance
from genser.errors import ConfigError, GenserError, ManifestError, ModelError
from genser.peers import hosted
from genser.peers.catalog import ADAPTERS, PeerChoice, catalog
from genser.peers.funasr_models import TAGS, FunasrModel, load_emotion2vec, read_tags
from genser.peers.mapping import ClassMapping
from genser.peers.peer import Answer, PeerInfo, PeerRequest
from genser.peers.prompted import PromptedModel
from genser.peers.prompts import prompt_for, read_answer
from genser.peers.scoring import score_peer
from genser.report import bench as report_bench

SEVEN = ("anger", "disgust", "fear", "happiness", "neutral", "sadness", "surprise")
NOISE = (0.1 * np.random.default_rng(0).standard_normal(16_000)).astype(np.float32)


@pytest.mark.parametrize(
    ("own", "target"),
    [
        ("生气/angry", "anger"),
        ("<|HAPPY|>", "happiness"),
        ("neu", "neutral"),
        ("Joy", "happiness"),
        ("pleasant_surprise", "surprise"),
        ("calm", None),
        ("其他/other", None),
        ("<unk>", None),
    ],
)
def test_own_classes_are_mapped_by_name(own, target):
    assert ClassMapping.of([own], SEVEN).targets == {own: target}


def test_a_label_map_merges_own_classes_and_classes_of_a_corpus_may_have_any_name():
    merged = ClassMapping.of(["calm", "boredom", "amazed"], SEVEN, find_label_map("seven"))
    assert merged.targets == {"calm": "neutral", "boredom": None, "amazed": None}
    assert ClassMapping.of(["angry", "neu"], ["Wut", "neutral"]).targets == {"angry": "Wut", "neu": "neutral"}


def test_scores_of_own_classes_are_added_and_scaled():
    mapping = ClassMapping.of(["angry", "ang", "calm", "sad"], ["anger", "sadness", "fear"])
    answers = [
        Answer({"angry": 0.1, "ang": 0.2, "calm": 0.6, "sad": 0.1}),
        Answer({"calm": 1.0}),
        Answer(text="I cannot help with that."),
    ]
    rows = mapping.probabilities(answers)
    np.testing.assert_allclose(rows[0], [0.75, 0.25, 0])
    assert np.isnan(rows[1:]).all()
    assert (mapping.missing, mapping.targets["calm"], mapping.outside(answers)) == (("fear",), None, 2)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("anger", "anger"),
        (" Sad.\n", "sadness"),
        ("**Happy**", "happiness"),
        ("The speaker sounds angry.", "anger"),
        ("She is angry; anger is clear.", "anger"),
        ("pleasantly surprised", "surprise"),
        ("Either fear or surprise.", None),
        ("Sorry, I cannot judge emotions.", None),
        ("Il parle sur la mer.", None),  # "sur" is short for surprise only if it stands alone
        ("", None),
    ],
)
def test_an_answer_counts_if_it_names_one_class(text, found):
    assert read_answer(text, SEVEN) == Answer({found: 1.0} if found else {}, text)


def test_answers_on_the_gender():
    assert "female, male" in prompt_for("gender", ("female", "male"))
    for text, found in {"A woman.": "female", "male": "male", "The man is loud": "male", "unsure": None}.items():
        assert set(read_answer(text, ("female", "male")).scores) == ({found} if found else set())


def test_tags_of_sensevoice():
    assert read_tags("<|en|><|HAPPY|><|Speech|><|woitn|>well").scores == {"HAPPY": 1.0}
    assert read_tags("<|en|><|EMO_UNKNOWN|><|Speech|>well").scores == {"EMO_UNKNOWN": 1.0}
    assert not read_tags("<|nospeech|><|Event_UNK|>").scores
    assert not read_tags("<|SAD|><|HAPPY|>").scores
    assert [name for name, target in ClassMapping.of(TAGS, SEVEN).targets.items() if target is None] == ["EMO_UNKNOWN"]


def test_the_catalog_names_adapters_and_hosted_peers_need_permission():
    for name, entry in catalog().items():
        assert entry.adapter in ADAPTERS, name
        assert bool(entry.url) == bool(entry.key)
    with pytest.raises(ConfigError, match="Did you mean 'qwen2-audio'"):
        PeerChoice.of("qwen2audio")
    with pytest.raises(ConfigError, match="needs weights"):
        PeerChoice.of("audio-classification")
    for allowed in (None, "gemini"):
        with pytest.raises(
            ConfigError, match=r"sent to https://api.openai.com/v1. Allow it with --send-audio-to openai"
        ):
            PeerChoice.of("openai", allowed)
    assert PeerChoice.of("openai=gpt-5", "openai=http://here").url == "http://here"


@pytest.mark.parametrize("family", peer_models.FAMILIES)
def test_audio_classifiers_of_transformers(tmp_path, family):
    own = ("ang", "hap", "neu", "sad")
    folder = peer_models.classifier(tmp_path / family, family, own)
    peer = PeerChoice.of(f"audio-classification={folder}").load("emotion", SEVEN)
    first, second = peer(NOISE), peer(NOISE[:9000])
    assert peer.classes == tuple(first.scores) == own
    assert sum(first.scores.values()) == pytest.approx(1, abs=1e-5)
    assert first != second
    assert peer.info.library.startswith("transformers ")


def test_an_incomplete_classifier_is_refused(tmp_path):
    import transformers

    folder = peer_models.classifier(tmp_path, "hubert", ("ang", "sad"))
    config = transformers.AutoConfig.from_pretrained(folder)
    transformers.AutoModel.from_config(config).save_pretrained(folder)  # without a head
    with pytest.raises(ModelError, match="lacks 4 tensors of HubertForSequenceClassification"):
        PeerChoice.of(f"audio-classification={folder}").load("emotion", SEVEN)


def test_qwen2_audio_is_loaded_prompted_and_read(tmp_path):
    folder = peer_models.qwen2_audio(tmp_path)
    peer = PeerChoice.of(f"qwen2-audio={folder}").load("emotion", ("anger", "sadness"))
    answer = peer(NOISE)
    assert answer.text == peer(NOISE).text != ""
    assert peer.info.prompt == prompt_for("emotion", ("anger", "sadness"))
    with pytest.raises(ModelError, match="'hubert' model"):
        PeerChoice.of(f"qwen2-audio={peer_models.classifier(tmp_path, 'hubert', ('a', 'b'))}").load("emotion", SEVEN)


def test_qwen_omni_is_prompted_and_read():
    model, processor = peer_models.qwen_omni()
    seen = {}
    model.register_forward_pre_hook(lambda _, __, inputs: seen.update(inputs), with_kwargs=True)
    peer = PromptedModel(model, processor, PeerInfo("omni", "", "", "", "Which emotion?"), ("anger", "sadness"))
    assert isinstance(peer(NOISE), Answer)
    assert "Which emotion?" in processor.decode(seen["input_ids"][0]) or seen["input_ids"].shape[1] == 1


class Server(ThreadingHTTPServer):
    """Answers what ``replies`` has for the end of a path, and keeps what it was sent."""

    def __init__(self, replies):
        self.replies, self.received = replies, []
        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.received.append((self.path, dict(self.headers), body))
        replies = self.server.replies[self.path]
        status, reply = replies.pop(0) if len(replies) > 1 else replies[0]
        self.send_response(status)
        if status == 302:
            self.send_header("Location", reply)
        self.end_headers()
        self.wfile.write(json.dumps(reply).encode())

    do_GET = do_POST

    def log_message(self, *_):
        pass


@pytest.fixture
def serve(monkeypatch):
    monkeypatch.setattr(hosted, "PAUSE", 0.01)
    servers = []

    def start(replies):
        servers.append(Server(replies))
        threading.Thread(target=servers[-1].serve_forever, args=(0.01,), daemon=True).start()
        return servers[-1]

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def chat(text):
    return {"choices": [{"message": {"content": text}}]}


def test_openai_gets_sound_and_question_and_is_asked_again_when_busy(serve, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    server = serve({"/v1/chat/completions": [(429, {}), (200, chat("Sad."))]})
    peer = PeerChoice.of("openai=gpt-x", f"openai={server.url}/v1").load("emotion", SEVEN)
    assert peer(NOISE) == Answer({"sadness": 1.0}, "Sad.")
    assert peer.info.sends_to == f"{server.url}/v1"
    _, headers, body = server.received[-1]
    assert headers["Authorization"] == "Bearer secret"
    sent = json.loads(body)
    question, sound = sent["messages"][0]["content"]
    assert (sent["model"], question["text"]) == ("gpt-x", prompt_for("emotion", SEVEN))
    wav = base64.b64decode(sound["input_audio"]["data"])
    assert wav[:4] == b"RIFF"
    assert len(wav) == 44 + 2 * len(NOISE)


def test_gemini_and_refusals(serve, monkeypatch):
    monkeypatch.setenv("GEMINI_API_KEY", "secret")
    path = "/models/gemini-x:generateContent"
    reply = {"candidates": [{"content": {"parts": [{"text": "happy"}]}}]}
    server = serve({path: [(200, reply), (400, {"error": "no"})]})
    peer = PeerChoice.of("gemini=gemini-x", f"gemini={server.url}").load("emotion", SEVEN)
    assert peer(NOISE).scores == {"happiness": 1.0}
    assert "secret" in server.received[0][1].values()
    assert "secret" not in server.received[0][0]
    with pytest.raises(GenserError, match="answered 400"):
        peer(NOISE)
    monkeypatch.delenv("GEMINI_API_KEY")
    with pytest.raises(ConfigError, match="environment variable GEMINI_API_KEY"):
        PeerChoice.of("gemini", f"gemini={server.url}").load("emotion", SEVEN)


def test_a_redirect_to_another_address_is_not_followed(serve, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    other = serve({"/v1/chat/completions": [(200, chat("Sad."))]})
    server = serve({"/v1/chat/completions": [(302, f"{other.url}/v1/chat/completions")]})
    peer = PeerChoice.of("openai=gpt-x", f"openai={server.url}/v1").load("emotion", SEVEN)
    with pytest.raises(GenserError, match="answered 302"):
        peer(NOISE)
    assert other.received == []


def test_hume_runs_a_job(serve, monkeypatch):
    monkeypatch.setenv("HUME_API_KEY", "secret")
    emotions = [
        {"name": "Joy", "score": 0.6},
        {"name": "Surprise (positive)", "score": 0.3},
        {"name": "Awe", "score": 1},
    ]
    utterances = [{"emotions": emotions}, {"emotions": [{"name": "Joy", "score": 0.2}]}]
    models = {"prosody": {"grouped_predictions": [{"predictions": utterances}]}}
    server = serve(
        {
            "/batch/jobs": [(200, {"job_id": "7"})],
            "/batch/jobs/7": [(200, {"state": {"status": "QUEUED"}}), (200, {"state": {"status": "COMPLETED"}})],
            "/batch/jobs/7/predictions": [(200, [{"results": {"predictions": [{"models": models}]}}])],
        }
    )
    peer = PeerChoice.of("hume", f"hume={server.url}").load("emotion", SEVEN)
    scores = peer(NOISE).scores
    assert (scores["Joy"], scores["Surprise (positive)"], scores["Anger"]) == pytest.approx((0.4, 0.15, 0))
    assert b"RIFF" in server.received[0][2]
    mapping = ClassMapping.of(peer.classes, SEVEN)
    assert mapping.missing == ("neutral",)
    assert mapping.targets["Surprise (negative)"] == "surprise"


@pytest.mark.parametrize(
    "reply",
    [
        {"promptFeedback": {"blockReason": "SAFETY"}},
        {"candidates": []},
        {"candidates": [{"finishReason": "MAX_TOKENS"}]},
        {"choices": [], "error": {"message": "blocked"}},
        {"choices": [{"message": {"content": 5}}]},
        {"job_id": 7, "state": {}},
        [{"results": {"predictions": [{"models": {}}]}}],
        {"state": {"status": "COMPLETED"}, "job_id": "7"},
        {"state": {"status": "FAILED"}, "job_id": "7"},
        None,
        "busy",
    ],
)
def test_a_reply_without_an_answer_is_a_problem_of_its_clip(tmp_path, serve, monkeypatch, reply):
    write_clips(tmp_path)
    paths = ["/m:generateContent", "/chat/completions", *(f"/batch/jobs{end}" for end in ("", "/7", "/7/predictions"))]
    server = serve({path.replace("/m:", "/models/m:"): [(200, reply)] for path in paths})
    for name, key in (("gemini", "GEMINI_API_KEY"), ("openai", "OPENAI_API_KEY"), ("hume", "HUME_API_KEY")):
        monkeypatch.setenv(key, "secret")
        peer = PeerChoice.of(f"{name}=m", f"{name}={server.url}").load("emotion", SEVEN)
        scores = score_peer(peer, [Utterance(str(tmp_path / "0.wav"), "anger")], SEVEN)
        assert len(scores.problems) == 1
        assert "gave no answer" in scores.problems[0] or "could not measure" in scores.problems[0]


def write_clips(folder, labels=("anger", "happiness", "sadness", "disgust") * 3, seconds=0.4):
    random = np.random.default_rng(1)
    lines = ["path,label,speaker,corpus"]
    for number, label in enumerate(labels):
        soundfile.write(folder / f"{number}.wav", 0.1 * random.standard_normal(int(16_000 * seconds)), 16_000)
        lines.append(f"{number}.wav,{label},s{number % 6},home")
    (folder / "clips.csv").write_text("\n".join(lines) + "\n")
    return folder / "clips.csv"


class Counting:
    """A peer that names the class of a clip by its number of calls, and fails at one clip."""

    gives_scores, classes = False, ("angry", "other")
    info = PeerInfo("counting", "tests", "none", "none")

    def __init__(self, failing=None, error=GenserError):
        self.calls, self.failing, self.error = 0, failing, error

    def __call__(self, waveform):
        self.calls += 1
        if self.calls == self.failing:
            raise self.error("The line is broken.")
        return Answer({"angry": 1.0}, "angry") if self.calls % 2 else Answer(text=f"{len(waveform)}")


def test_answers_are_kept_and_a_stopped_run_continues(tmp_path):
    write_clips(tmp_path)
    items = [Utterance(str(tmp_path / f"{number}.wav"), "anger") for number in range(4)]
    first = Counting(failing=3)
    scores = score_peer(first, items, ("anger", "sadness"), folder=tmp_path / "answers")
    assert (scores.unread, scores.outside) == (2, 0)
    assert scores.problems == (f"{items[2].key}: The line is broken.",)
    assert np.isnan(scores.probabilities[1:]).all()
    (kept,) = (tmp_path / "answers").iterdir()
    kept.write_bytes(kept.read_bytes()[:-5])  # killed while it wrote the last answer
    second = Counting()
    scores = score_peer(second, items, ("anger", "sadness"), folder=tmp_path / "answers")
    assert (second.calls, scores.problems) == (2, ())
    assert [json.loads(line)["clip"] for line in kept.read_text().splitlines() if line.endswith("}")] == [
        items[index].key for index in (0, 1, 2, 3)
    ]


def test_a_clip_is_asked_again_once_its_file_has_another_content(tmp_path):
    write_clips(tmp_path)
    items = [Utterance(str(tmp_path / f"{number}.wav"), "anger") for number in range(3)]

    def calls():
        peer = Counting()
        assert score_peer(peer, items, ("anger", "sadness"), folder=tmp_path / "answers").problems == ()
        return peer.calls

    assert (calls(), calls()) == (3, 0)
    soundfile.write(tmp_path / "1.wav", np.random.default_rng(9).uniform(-0.1, 0.1, 8000), 16_000)
    assert (calls(), calls()) == (1, 0)
    (kept,) = (tmp_path / "answers").iterdir()
    lines = [json.loads(line) for line in kept.read_text().splitlines()]
    kept.write_text("".join(json.dumps({k: v for k, v in line.items() if k != "file"}) + "\n" for line in lines))
    assert calls() == 0, "answers of an earlier version, which may have cost money"


@pytest.mark.parametrize("error", [RuntimeError, MemoryError, TypeError])
def test_what_a_package_raises_for_one_clip_stops_no_other(tmp_path, error):
    write_clips(tmp_path)
    items = [Utterance(str(tmp_path / f"{number}.wav"), "anger") for number in range(3)]
    scores = score_peer(Counting(2, error), items, ("anger", "sadness"), folder=tmp_path)
    assert scores.problems == (f"{items[1].key}: {error.__name__}: The line is broken.",)
    assert np.isfinite(scores.probabilities[0]).all()


@pytest.mark.parametrize("line", ["5", "{}", '{"clip": "a", "scores": 1, "text": ""}', "\xff", "[" * 9999])
def test_a_damaged_line_of_answers_costs_no_other(tmp_path, line):
    write_clips(tmp_path)
    items = [Utterance(str(tmp_path / "0.wav"), "anger")]
    score_peer(Counting(), items, ("anger", "sadness"), folder=tmp_path / "answers")
    (kept,) = (tmp_path / "answers").iterdir()
    kept.write_bytes(line.encode("latin-1") + b"\n" + kept.read_bytes())
    again = Counting()
    assert score_peer(again, items, ("anger", "sadness"), folder=tmp_path / "answers").problems == ()
    assert again.calls == 0


def test_long_clips_are_cut_into_windows(tmp_path):
    soundfile.write(tmp_path / "long.wav", np.ones(16_000 * 35), 16_000)
    peer = Counting()
    scores = score_peer(peer, [Utterance(str(tmp_path / "long.wav"), "anger")], ("anger", "sadness"))
    assert peer.calls == 4
    np.testing.assert_array_equal(scores.probabilities, [[1, 0]])


def test_evaluate_scores_a_peer_and_shows_the_mapping(tmp_path, capsys):
    manifest = write_clips(tmp_path)
    folder = peer_models.classifier(tmp_path / "peer", "hubert", ("ang", "hap", "sad", "neu"))
    arguments = ["evaluate", f"peer:audio-classification={folder}", str(manifest), "--resamples", "50"]
    mapping = "ang → anger, hap → happiness, sad → sadness, neu → (none)"
    assert cli.app(arguments) == 0
    shown = capsys.readouterr()
    assert mapping in shown.err
    for part in (mapping, "has no class for disgust", "--classes anger,happiness,sadness", "over 12 utterances", "ECE"):
        assert part in shown.out
    assert cli.app([*arguments, "--classes", "anger,happiness,sadness"]) == 0
    assert "over 9 utterances" in capsys.readouterr().out


def test_evaluate_sends_sound_only_where_it_may(tmp_path, serve, monkeypatch, capsys):
    manifest = write_clips(tmp_path, ("anger", "sadness") * 2)
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    server = serve({"/chat/completions": [(200, chat("anger")), (200, chat("no idea")), (200, chat("sad"))]})
    arguments = ["evaluate", "peer:openai", str(manifest), "--resamples", "50", "-o", str(tmp_path / "out")]
    with pytest.raises(ConfigError, match="is hosted"):
        cli.app(arguments)
    assert not server.received
    assert cli.app([*arguments, "--send-audio-to", f"openai={server.url}"]) == 0
    assert f"every clip is sent to {server.url}" in capsys.readouterr().err
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["about"]["sound was sent to"] == server.url
    assert report["about"]["answers without a class"] == "1"
    assert report["evaluation"]["calibration"] is None
    assert len(list((tmp_path / "out" / "answers").iterdir())) == 1
    assert report["evaluation"]["wa"] == pytest.approx(0.5)
    assert len(server.received) == 4


def test_results_of_funasr_are_read():
    class Model:
        def generate(self, input, fs, **options):
            assert (fs, len(input), input[0].dtype) == (16_000, 1, np.float32)
            if options.get("language") == "auto":
                return [{"key": "a", "text": "<|en|><|ANGRY|><|Speech|><|woitn|>no"}]
            assert options["granularity"] == "utterance"
            return [{"key": "a", "labels": ["生气/angry", "<unk>"], "scores": [0.75, 0.25]}]

    info = PeerInfo("any", "funasr", "none", "none")
    assert FunasrModel(Model(), info, True, ())(NOISE).scores == {"生气/angry": 0.75, "<unk>": 0.25}
    assert FunasrModel(Model(), info, False, TAGS)(NOISE).scores == {"ANGRY": 1.0}


def test_emotion2vec_runs_in_funasr(tmp_path):
    pytest.importorskip("funasr", reason="FunASR's closure is large; pip install funasr runs this test")
    folder = tiny_emotion2vec(tmp_path)
    peer = PeerChoice.of(f"emotion2vec={folder}").load("emotion", SEVEN)
    assert peer.classes == ("生气/angry", "难过/sad", "<unk>")
    scores = peer(NOISE).scores
    assert sum(scores.values()) == pytest.approx(1, abs=1e-5)
    (folder / "tokens.txt").unlink()
    (folder / "config.yaml").write_text((folder / "config.yaml").read_text().partition("tokenizer:")[0])
    with pytest.raises(ModelError):
        load_emotion2vec(PeerRequest("emotion2vec", str(folder), "", "emotion", SEVEN))


def tiny_emotion2vec(folder):
    """An emotion2vec with random weights in the layout of its makers: config.yaml, tokens.txt, model.pt."""
    import torch
    import yaml
    from funasr.models.emotion2vec.model import Emotion2vec

    audio = {
        "type": "AUDIO",
        "decoder": None,
        "learned_alibi": False,
        "learned_alibi_scale_per_layer": False,
        "prenet_depth": 1,
        "prenet_layerdrop": 0,
        "prenet_dropout": 0,
        "start_drop_path_rate": 0,
        "end_drop_path_rate": 0,
        "num_extra_tokens": 2,
        "init_extra_token_zero": True,
        "mask_noise_std": 0.01,
        "use_alibi_encoder": True,
        "learned_alibi_scale": True,
        "learned_alibi_scale_per_head": True,
        "num_alibi_heads": 2,
        "model_depth": 1,
        "extractor_mode": "layer_norm",
        "feature_encoder_spec": "[(16, 10, 5)] + [(16, 3, 2)] * 4 + [(16, 2, 2)] * 2",
        "conv_pos_width": 5,
        "conv_pos_groups": 2,
        "conv_pos_depth": 1,
        "conv_pos_pre_ln": False,
        "inverse_mask": False,
        "mask_prob": 0.5,
        "mask_prob_adjust": 0,
        "mask_length": 5,
        "mask_dropout": 0,
        "alibi_scale": 1.0,
        "local_grad_mult": 1.0,
        "encoder_zero_mask": True,
        "ema_local_encoder": False,
        "keep_masked_pct": 0.0,
        "remove_masks": False,
        "add_masks": False,
        "mask_channel_prob": 0.0,
        "mask_channel_length": 64,
        "alibi_max_pos": None,
    }
    model_conf = {
        "embed_dim": 16,
        "depth": 1,
        "num_heads": 2,
        "mlp_ratio": 2,
        "norm_eps": 1e-5,
        "norm_affine": True,
        "encoder_dropout": 0,
        "attention_dropout": 0,
        "activation_dropout": 0,
        "post_mlp_drop": 0,
        "layer_norm_first": False,
        "end_of_block_targets": False,
        "average_top_k_layers": 1,
        "loss_beta": 0,
        "loss_scale": None,
        "dropout_input": 0,
        "start_drop_path_rate": 0,
        "end_drop_path_rate": 0,
        "normalize": True,
        "modalities": {"audio": audio},
    }
    torch.save(Emotion2vec(model_conf=model_conf, vocab_size=4).state_dict(), folder / "model.pt")
    (folder / "tokens.txt").write_text("生气/angry\n难过/sad\nunuse_0\n<unk>\n")
    config = {"model": "Emotion2vec", "model_conf": model_conf, "tokenizer": "CharTokenizer"}
    config["tokenizer_conf"] = {"unk_symbol": "<unk>", "split_with_space": True}
    (folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False, allow_unicode=True))
    return folder


@contextmanager
def here(dataset, jobs):
    """Instead of worker processes: the tasks of a bench in this process."""

    class Pool:
        def submit(self, perform, task):
            future = Future()
            future.set_result(task(dataset))
            return future

    yield Pool()


def test_a_peer_enters_a_bench_with_classes_that_all_know(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(genser.bench.comparison, "workers", here)
    manifest = write_clips(tmp_path)
    folder = peer_models.classifier(tmp_path / "peer", "hubert", ("ang", "hap", "sad", "neu"))
    (tmp_path / "plan.yaml").write_text(
        "recipe: small\nseeds: 1\nsettings: {augmented_copies: 0, encoder: {kind: fbank}}\n"
        "heads: {ridge: {settings: {ridge_prior: 16.0}}}\n"
    )
    out = tmp_path / "bench"
    arguments = ["bench", "kfold-speaker", str(manifest), "--k", "2", "--plan", str(tmp_path / "plan.yaml")]
    arguments += ["--encoder", "fbank", "--store", str(tmp_path / "store"), "-o", str(out), "--resamples", "50"]
    arguments += ["--peer", f"audio-classification={folder}"]
    with pytest.raises(ConfigError, match=r"no class for disgust.*--classes anger,happiness,sadness"):
        cli.app(arguments)
    assert not out.exists()
    monkeypatch.setattr(report_bench, "write_report", lambda document, folder: written.append(document) or [])
    written = []
    assert cli.app([*arguments, "--classes", "anger,happiness,sadness"]) == 0
    assert "home-kfold-2-anger+happiness+sadness: audio-classification · transformers" in capsys.readouterr().err
    (protocol,) = written[0].data["protocols"]
    assert protocol["classes"] == ["anger", "happiness", "sadness"]
    assert protocol["protocol"]["family"] == "kfold, classes anger+happiness+sadness"
    names = {one["system"]["head"]: one["system"]["encoder"] for one in protocol["systems"]}
    assert names.keys() == {"ridge", "audio-classification"}
    assert len(protocol["pairs"]) == 2
    assert any("ang → anger, hap → happiness, sad → sadness, neu → (none)" in note for note in written[0].data["notes"])


def test_classes_of_a_bench_must_occur(tmp_path):
    items = read_manifest(write_clips(tmp_path, "aabbcc"))
    (data,) = divide(items, "kfold-speaker", k=2, classes=("a", "b"))
    assert [item.label for item in data.utterances] == ["a", "a", "b", "b", None, None]
    with pytest.raises(ManifestError, match="No utterance has the class 'd'"):
        divide(items, "kfold-speaker", k=2, classes=("a", "d"))
