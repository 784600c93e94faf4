"""A bench plan describes a comparison in YAML; a plan that cannot work is refused before any training."""

import pytest

from genser.bench.plan import PLANS, load_plan
from genser.config import packaged
from genser.encoders import EncoderConfig, Pooling
from genser.errors import ConfigError
from genser.model import HEADS


def written(tmp_path, text):
    """A plan on a recipe of defaults, so that no test depends on a packaged recipe."""
    (tmp_path / "recipe.yaml").write_text("encoder: {kind: fbank}")
    path = tmp_path / "mine.yaml"
    path.write_text(f"recipe: {tmp_path}/recipe.yaml\n{text}" if text[0] not in "-a" else text)
    return str(path)


HEAD = "heads: {linear: {}}\n"


@pytest.mark.parametrize("name", packaged(PLANS))
@pytest.mark.parametrize("encoder", [None, EncoderConfig("fbank")], ids=["recipe's encoder", "fbank"])
def test_every_packaged_plan_fits_the_recipes_encoder_and_filter_banks(name, encoder):
    if encoder and name == "ablations":
        pytest.skip("it varies principal components, which filter banks do not have")
    plan = load_plan(name, encoder=encoder)
    shape = (1, 160) if encoder else (20, 64)
    for head in plan.heads:
        for settings in head.candidates:
            config = plan.config(head, settings, 0).head_config(("a", "b"), *shape)
            assert (config.labels, config.kind) == (("a", "b"), head.kind)


def test_the_default_plan_gives_every_head_as_many_candidates():
    plan = load_plan("default")
    assert {"transport", "linear", "mlp", "majority"} <= {head.kind for head in plan.heads} <= set(HEADS)
    assert {len(head.candidates) for head in plan.heads if head.kind != "majority"} == {8}
    assert plan.seeds >= 5
    assert plan.steps == (0, 1, 2, 4, 10, 20)


def test_recordings_from_elsewhere_are_judged_by_one_candidate_of_each_head_beside_the_ridge():
    plan = load_plan("cross-corpus")
    assert {"ridge", "flat", "mlp", "transport"} == {head.kind for head in plan.heads}
    assert {len(head.candidates) for head in plan.heads} == {1}
    (own_form,) = [head for head in plan.heads if head.name == "transport"]
    config = plan.config(own_form, own_form.candidates[0], 0)
    assert (config.state, config.ridge_prior, config.sampler.method) == ("network", 0.0, "euler")
    assert plan.seeds == 5


def test_the_ablations_vary_every_part_of_the_head():
    factors = {variant.factor for variant in load_plan("ablations").variants}
    assert {"k", "σ", "mix-up", "feature noise", "N", "read-out", "ensemble"} <= factors
    assert any("t is drawn" in factor for factor in factors)


def test_a_grid_is_every_combination_over_the_settings_of_the_head(tmp_path):
    head = "{head: mlp, settings: {batch_size: 9}, grid: {path.k: [0, 4], seed: [1, 2]}}"
    text = f"settings: {{steps: 7}}\nheads: {{a: {head}}}"
    plan = load_plan(written(tmp_path, text))
    (head,) = plan.heads
    assert (head.name, head.kind) == ("a", "mlp")
    assert [(one["path.k"], one["seed"]) for one in head.candidates] == [(0, 1), (0, 2), (4, 1), (4, 2)]
    config = plan.config(head, head.candidates[2], seed=5)
    assert (config.path.k, config.steps, config.batch_size, config.seed) == (4.0, 7, 9, 5)
    assert (config.keep, config.validation) == ("last", 0.0), "all training speakers are trained on"


def test_candidates_can_be_listed_one_by_one(tmp_path):
    head = "{settings: {steps: 5}, candidates: [{}, {path.k: 4, steps: 6}], grid: {seed: [1, 2]}}"
    (linear,) = load_plan(written(tmp_path, f"heads: {{linear: {head}}}")).heads
    first = [{"steps": 5, "seed": 1}, {"steps": 5, "seed": 2}]
    assert list(linear.candidates) == [*first, *({"path.k": 4, "steps": 6, "seed": n} for n in (1, 2))]


def test_settings_of_the_call_replace_the_plans_but_not_a_heads(tmp_path):
    text = "settings: {steps: 7, batch_size: 9}\nheads: {linear: {settings: {batch_size: 11}}}"
    plan = load_plan(written(tmp_path, text), {"steps": "8", "batch_size": "10"}, seeds=3)
    config = plan.config(plan.heads[0], plan.heads[0].candidates[0], 0)
    assert (config.steps, config.batch_size, plan.seeds) == (8, 11, 3)


def test_ablations_are_lists_of_values_or_named_settings(tmp_path):
    text = (
        "heads: {transport: {}}\nablations:\n  k: {path.k: [0, 4]}\n"
        "  read-out: {state: {sampler.readout: state}, late: {sampler.steps: 1, path.k: 1}}"
    )
    variants = load_plan(written(tmp_path, text)).variants
    assert [(one.factor, one.value) for one in variants] == [
        ("k", "0"),
        ("k", "4"),
        ("read-out", "state"),
        ("read-out", "late"),
    ]
    assert [one.only_sampler for one in variants] == [False, False, True, False]


def test_poolings_are_the_recipes_unless_the_plan_names_its_own(tmp_path):
    assert load_plan(written(tmp_path, HEAD)).poolings == {"": Pooling()}
    changed = load_plan(written(tmp_path, HEAD), {"encoder.pooling.statistics": "mean,std"})
    assert changed.poolings == {"": Pooling(("mean", "std"))}
    text = HEAD + "poolings: {plain: {}, loud: {statistics: [loud-mean], states: [1, 2]}}"
    own = load_plan(written(tmp_path, text), encoder=EncoderConfig("whisper", "weights"))
    assert own.poolings == {"plain": Pooling(), "loud": Pooling(("loud-mean",), (1, 2))}
    assert load_plan(written(tmp_path, text)).poolings == {"": Pooling()}, "filter banks have one statistic"


def test_features_are_made_for_the_head_with_the_most_copies(tmp_path):
    heads = "heads: {linear: {}, transport: {grid: {augmented_copies: [0, 2]}}}"
    text = f"{heads}\nablations: {{copies: {{augmented_copies: [1, 3]}}}}"
    assert load_plan(written(tmp_path, text)).most_copies.augmented_copies == 3
    assert load_plan(written(tmp_path, HEAD)).most_copies.augmented_copies == 0


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("heds: {linear: {}}", "unknown key 'heds'"),
        ("seeds: 2", "no heads"),
        ("heads:", "heads must be a table, got None"),
        ("heads: [linear]", "heads must be a table"),
        ("heads: {linear: 5}", "expected a table"),
        (HEAD + "seeds: 0", r"seeds must lie in \[1, inf\), got 0"),
        (HEAD + "seeds: two", "seeds must be of type int, got 'two'"),
        (HEAD + "steps: 4", "steps must be a list, got 4"),
        (HEAD + "steps: [1, -1]", "steps must not be negative"),
        (HEAD + "steps: [few]", "steps must be of type int"),
        (HEAD + "inner_share: 1.0", "inner_share"),
        (HEAD + "settings:", "settings must be a table, got None"),
        (HEAD + "settings: [1]", "settings must be a table"),
        (HEAD + "recipe: missing", "No recipe 'missing'"),
        (HEAD + "poolings: [mean]", "poolings must be a table"),
        ("heads: {svm: {}}", "the unknown kind 'svm'"),
        ("heads: {linear: {lr: 1}}", "unknown key 'lr'"),
        ("heads: {linear: {settings:}}", "settings must be a table, got None"),
        ("heads: {linear: {candidates: {steps: 5}}}", "candidates must be a list"),
        ("heads: {linear: {candidates: [5]}}", "candidates must be a table"),
        ("heads: {linear: {candidates: []}}", "no candidates"),
        ("heads: {linear: {grid: {steps: 5}}}", "grid.steps must be a list"),
        ("heads: {linear: {grid: {steps: []}}}", "no candidates"),
        ("heads: {linear: {grid: {optimizer.rate: [1]}}}", "unknown key 'rate'"),
        ("heads: {linear: {settings: {path.k: steep}}}", "must be of type float"),
        (HEAD + "ablations: {k: {path.k: [1]}}", "not among the heads"),
        (HEAD + "ablations: {k: [1]}", "ablations.k must be a table"),
        ("heads: {transport: {}}\nablations: {k: {path.k: 4}}", "list of values or a table of settings"),
        ("heads: {transport: {}}\nablations: {k: {path.kk: [4]}}", "Did you mean 'k'"),
        (HEAD + "poolings: {loud: {statistics: [louder]}}", "no statistic 'louder'"),
        ("- 1", "must be a table"),
        ("a: [", "not valid YAML"),
        (
            "heads: {linear: {settings: {augmented_copies: 1}}, "
            "mlp: {settings: {augmented_copies: 1, augmentation.tilt: 0.1}}}",
            "share their augmented copies",
        ),
    ],
)
def test_a_wrong_plan_is_refused_with_a_sentence(tmp_path, text, words):
    with pytest.raises(ConfigError, match=words):
        load_plan(written(tmp_path, text))


def test_a_missing_plan_lists_the_packaged_ones():
    with pytest.raises(ConfigError, match=r"one of ablations, .*default, .*quick"):
        load_plan("defualt")
