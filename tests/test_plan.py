"""A bench plan says in YAML alone what is compared, and refuses what it cannot mean before anything is trained."""

import pytest

from genser.bench.plan import load_plan, plans
from genser.encoders import Pooling
from genser.errors import ConfigError
from genser.model import HEADS


def written(tmp_path, text):
    """A plan on a recipe of defaults, so that nothing here hangs on what a packaged recipe says."""
    (tmp_path / "recipe.yaml").write_text("encoder: {kind: fbank}")
    path = tmp_path / "mine.yaml"
    path.write_text(f"recipe: {tmp_path}/recipe.yaml\n{text}" if text[0] not in "-a" else text)
    return str(path)


HEAD = "heads: {linear: {}}\n"


def test_packaged_plans_are_valid():
    assert {"ablations", "default", "quick"} <= set(plans())
    for name in plans():
        plan = load_plan(name)
        assert plan.heads
        for settings in [candidate for head in plan.heads for candidate in head.candidates]:
            assert plan.config(settings, 0).head_config(("a", "b"), 20, 64).labels == ("a", "b")


def test_the_default_plan_compares_every_head_with_as_many_candidates_each():
    plan = load_plan("default")
    assert {head.head for head in plan.heads} == set(HEADS)
    assert {len(head.candidates) for head in plan.heads if head.head != "majority"} == {8}
    assert plan.seeds >= 5
    assert plan.steps == (0, 1, 2, 4, 10, 20)


def test_the_ablations_vary_what_a_reader_asks_for():
    factors = {variant.factor for variant in load_plan("ablations").variants}
    assert {"k", "σ", "mix-up", "feature noise", "N", "read-out", "code", "tokens"} <= factors
    assert any("t is drawn" in factor for factor in factors)


def test_a_grid_is_every_combination_over_the_settings_of_the_head(tmp_path):
    head = "{head: mlp, settings: {batch_size: 9}, grid: {path.k: [0, 4], seed: [1, 2]}}"
    text = f"settings: {{steps: 7}}\nheads: {{a: {head}}}"
    plan = load_plan(written(tmp_path, text))
    (head,) = plan.heads
    assert (head.name, head.head) == ("a", "mlp")
    assert [(one["path.k"], one["seed"]) for one in head.candidates] == [(0, 1), (0, 2), (4, 1), (4, 2)]
    config = plan.config(head.candidates[2], seed=5)
    assert (config.path.k, config.steps, config.batch_size, config.seed) == (4.0, 7, 9, 5)
    assert (config.keep, config.validation) == ("last", 0.0), "all training speakers are learned from"


def test_candidates_may_stand_one_by_one(tmp_path):
    head = "{settings: {steps: 5}, candidates: [{}, {path.k: 4, steps: 6}], grid: {seed: [1, 2]}}"
    (linear,) = load_plan(written(tmp_path, f"heads: {{linear: {head}}}")).heads
    first = [{"steps": 5, "seed": 1}, {"steps": 5, "seed": 2}]
    assert list(linear.candidates) == [*first, *({"path.k": 4, "steps": 6, "seed": n} for n in (1, 2))]


def test_settings_from_outside_win_over_the_plan_but_not_over_a_head(tmp_path):
    text = "settings: {steps: 7, batch_size: 9}\nheads: {linear: {settings: {batch_size: 11}}}"
    plan = load_plan(written(tmp_path, text), {"steps": "8", "batch_size": "10"}, seeds=3)
    config = plan.config(plan.heads[0].candidates[0], 0)
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
    assert [one.reads_only for one in variants] == [False, False, True, False]


def test_poolings_are_the_recipes_unless_the_plan_names_its_own(tmp_path):
    assert load_plan(written(tmp_path, HEAD)).poolings == {"": Pooling()}
    changed = load_plan(written(tmp_path, HEAD), {"encoder.pooling.statistics": "mean,deviation"})
    assert changed.poolings == {"": Pooling(("mean", "deviation"))}
    own = load_plan(written(tmp_path, HEAD + "poolings: {plain: {}, loud: {statistics: [loud-mean], states: [1, 2]}}"))
    assert own.poolings == {"plain": Pooling(), "loud": Pooling(("loud-mean",), (1, 2))}


def test_features_are_made_for_the_head_with_the_most_copies(tmp_path):
    heads = "heads: {linear: {}, transport: {grid: {augmented_copies: [0, 2]}}}"
    text = f"{heads}\nablations: {{copies: {{augmented_copies: [1, 3]}}}}"
    assert load_plan(written(tmp_path, text)).copies.augmented_copies == 3
    assert load_plan(written(tmp_path, HEAD)).copies.augmented_copies == 0


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("heds: {linear: {}}", "unknown key 'heds'"),
        ("seeds: 2", "no heads"),
        (HEAD + "seeds: 0", "seeds of a bench plan must be at least 1"),
        (HEAD + "inner_share: 1.0", "inner_share"),
        ("heads: {svm: {}}", "no head 'svm'"),
        ("heads: {linear: {lr: 1}}", "unknown key 'lr'"),
        ("heads: {linear: {candidates: {steps: 5}}}", "list of settings"),
        ("heads: {linear: {candidates: []}}", "no candidates"),
        ("heads: {linear: {grid: {steps: 5}}}", "list of values"),
        ("heads: {linear: {grid: {steps: []}}}", "no candidates"),
        ("heads: {linear: {grid: {optimizer.rate: [1]}}}", "unknown key 'rate'"),
        ("heads: {linear: {settings: {path.k: steep}}}", "must be of type float"),
        (HEAD + "ablations: {k: {path.k: [1]}}", "none of the plan's heads"),
        ("heads: {transport: {}}\nablations: {k: {path.k: 4}}", "list of values or settings"),
        ("heads: {transport: {}}\nablations: {k: {path.kk: [4]}}", "Did you mean 'k'"),
        (HEAD + "poolings: {loud: {statistics: [louder]}}", "no statistic 'louder'"),
        ("- 1", "must be a table"),
        ("a: [", "not valid YAML"),
        (
            "heads: {linear: {settings: {augmented_copies: 1}}, "
            "mlp: {settings: {augmented_copies: 1, augmentation.tilt: 0.1}}}",
            "share their altered copies",
        ),
    ],
)
def test_what_a_plan_cannot_mean_is_refused(tmp_path, text, words):
    with pytest.raises(ConfigError, match=words):
        load_plan(written(tmp_path, text))


def test_a_plan_that_does_not_exist_lists_those_that_do():
    with pytest.raises(ConfigError, match=r"one of ablations, .*default, .*quick"):
        load_plan("defualt")
