import json
import math

import polars as pl
import pytest
from polars.testing import assert_frame_equal
from scipy import stats

from analysis.claims import check_claims, format_claim, format_expectation, judge, tell_claims
from analysis.origin import Origin, Plan, read_plans
from rlp_sweeps.claims import Claim
from rlp_sweeps.errors import RunDirectoryError, SearchSpaceError
from rlp_sweeps.spaces import ChoiceAxis, SearchSpace, space_from_dict

GAIN = """
SELECT f.seed, f.test_accuracy - c.test_accuracy AS value
FROM trials f JOIN trials c ON f.seed = c.seed
WHERE f.arm = 'full' AND c.arm = 'control'
"""


def claim(**settings):
    values = {"text": "λ helps.", "source": "[P1]", "quantity": "gain", "measure": GAIN}
    return Claim(**{**values, "expects": "above", **settings})


def trials(gains, *, statuses=()):
    """One control at 0.5 and one full trial a seed."""
    rows = []
    for seed, gain in enumerate(gains):
        shared = {"lr": 0.1, "label_smoothing": 0.0, "seed": seed, "num_classes": 10}
        status = dict(enumerate(statuses)).get(seed, "completed")
        rows += [
            {"trial_id": f"c{seed}", "arm": "control", "rlp_lambda": 0.0, "test_accuracy": 0.5}
            | shared
            | {"status": "completed"},
            {"trial_id": f"f{seed}", "arm": "full", "rlp_lambda": 1.0, "test_accuracy": 0.5 + gain}
            | shared
            | {"status": status},
        ]
    return pl.DataFrame(rows)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "trials").mkdir()
    trials([0.0]).write_parquet(tmp_path / "trials" / "a.parquet")
    return tmp_path


def check(folder, frame, *claims, **options):
    seeds = options.pop("seeds", {})
    arms = dict.fromkeys([*frame["trial_id"], *seeds])
    plan = Plan(directory=folder, claims=claims, seeds=seeds, arms=arms)
    return check_claims([folder], frame, origin=Origin(plans=(plan,)), **options)


def test_a_claim_is_the_t_interval_over_seeds(folder):
    gains = [0.01, 0.02, 0.04]

    checked = check(folder, trials(gains), claim())

    row = checked.table.row(0, named=True)
    low, high = stats.t.interval(0.95, 2, loc=sum(gains) / 3, scale=stats.sem(gains))
    assert (row["ci_low"], row["ci_high"]) == pytest.approx((low, high))
    assert (row["num_replicates"], row["result"]) == (3, "not resolved")
    assert checked.values["value"].to_list() == pytest.approx(gains)


@pytest.mark.parametrize(
    ("expects", "bound", "low", "high", "result"),
    [
        ("above", 0.0, 0.1, 0.2, "agrees"),
        ("above", 0.0, -0.2, -0.1, "disagrees"),
        ("above", 0.0, -0.1, 0.1, "not resolved"),
        ("below", 0.15, 0.1, 0.2, "not resolved"),
        ("below", 0.3, 0.1, 0.2, "agrees"),
        ("within", 0.3, -0.1, 0.2, "agrees"),
        ("within", 0.05, 0.1, 0.2, "disagrees"),
        ("within", 0.15, -0.1, 0.2, "not resolved"),
        ("within", 0.15, math.nan, math.nan, "not resolved"),
    ],
)
def test_the_whole_interval_decides(expects, bound, low, high, result):
    assert judge(claim(expects=expects, bound=bound), low, high) == result


def test_a_diverged_trial_scores_at_chance_unless_told_otherwise(folder):
    frame = trials([0.1, 0.2], statuses=["diverged"])

    at_chance = check(folder, frame, claim()).values["value"].to_list()
    excluded = check(folder, frame, claim(), diverged="exclude").values["value"].to_list()

    assert at_chance == pytest.approx([0.1 - 0.5, 0.2])
    assert excluded == pytest.approx([0.2])


def test_seeds_without_a_value_are_counted(folder):
    frame = trials([0.1, 0.2, 0.3], statuses=["diverged"])

    table = check(folder, frame, claim(), diverged="exclude").table

    assert table["reason"].item() == "1 seed(s) have no value"


def test_a_seed_with_a_failed_or_missing_trial_takes_no_part(folder):
    frame = trials([0.1, 0.2, 0.3, 0.4], statuses=["failed"])

    checked = check(folder, frame, claim(), seeds={"lost": 1})

    assert checked.values["seed"].to_list() == [2, 3]
    assert checked.table["reason"].item() == ("2 seed(s) left out: not every trial has an outcome")


def test_seeds_without_spread_are_judged_by_their_value(folder):
    checked = check(
        folder, trials([0.125, 0.125]), claim(), claim(text="λ hurts.", expects="below")
    )

    assert checked.table["result"].to_list() == ["agrees", "disagrees"]
    assert checked.table["ci_low"].to_list() == [None, None]
    assert checked.table["reason"].to_list() == ["the seeds have no spread"] * 2


def test_one_seed_is_never_resolved(folder):
    row = check(folder, trials([0.1]), claim()).table.row(0, named=True)

    assert (row["estimate"], row["result"]) == (pytest.approx(0.1), "not resolved")
    assert row["reason"] == "one seed has no interval"


@pytest.mark.parametrize(
    ("measure", "reason"),
    [
        ("SELECT absent FROM trials", "must be valid SQL"),
        ("DROP TABLE trials", "single SELECT"),
        ("SELECT seed FROM trials", "must return one row a seed"),
        ("SELECT seed, test_accuracy AS value FROM trials", "must return one row a seed"),
        ("SELECT seed, 0.1 AS value FROM trials WHERE seed > 9", "no seed has a value"),
    ],
)
def test_a_query_that_measures_nothing_says_why(measure, reason, folder):
    row = check(folder, trials([0.1, 0.2]), claim(measure=measure)).table.row(0, named=True)

    assert (row["estimate"], row["result"]) == (None, "not measured")
    assert reason in row["reason"]


def test_a_query_may_bring_its_own_interval(folder):
    measure = "SELECT 0.5 AS estimate, 0.4 AS ci_low, 0.6 AS ci_high, COUNT(*) AS n FROM trials"

    row = check(folder, trials([0.1]), claim(measure=measure)).table.row(0, named=True)

    assert (row["result"], row["num_replicates"]) == ("agrees", 2)


def test_a_query_whose_number_has_no_interval_resolves_nothing(folder):
    measure = "SELECT 1.0 AS estimate, NULL AS ci_low, NULL AS ci_high, 7 AS n FROM trials LIMIT 1"

    row = check(folder, trials([0.1]), claim(measure=measure)).table.row(0, named=True)

    assert (row["estimate"], row["result"]) == (1.0, "not resolved")
    assert row["reason"] == "there is no interval"


def test_a_plans_claims_are_asked_of_its_own_trials_alone(folder, tmp_path):
    other = trials([0.9, 0.9]).with_columns(trial_id="o" + pl.col("trial_id"))
    plans = (
        Plan(directory=folder, claims=(claim(),), arms=dict.fromkeys(["c0", "f0", "c1", "f1"])),
        Plan(directory=tmp_path, arms=dict.fromkeys(other["trial_id"])),
    )

    checked = check_claims(
        [folder], pl.concat([trials([0.1, 0.2]), other]), origin=Origin(plans=plans)
    )

    assert checked.values["value"].to_list() == pytest.approx([0.1, 0.2])


def test_rows_of_a_trial_in_two_directories_count_once(folder, tmp_path):
    second = tmp_path / "second"
    for path in (folder, second):
        (path / "trials").mkdir(parents=True, exist_ok=True)
        (path / "epochs").mkdir()
        trials([0.0]).write_parquet(path / "trials" / "a.parquet")
        epochs = pl.DataFrame({"trial_id": ["f0", "f0"], "epoch": [1, 2], "head_loss": [1.0, 2.0]})
        epochs.write_parquet(path / "epochs" / "a.parquet")
    measure = """
        SELECT t.seed, SUM(e.head_loss) AS value
        FROM epochs e JOIN trials t ON e.trial_id = t.trial_id GROUP BY t.seed
    """
    plan = Plan(directory=folder, claims=(claim(measure=measure),), arms={"c0": None, "f0": None})

    checked = check_claims([folder, second], trials([0.1]), origin=Origin(plans=(plan,)))

    assert checked.values["value"].to_list() == [3.0]


def test_what_a_probe_lacks_is_no_number_and_so_is_a_mean_over_it(folder):
    (folder / "probes").mkdir()
    probes = pl.DataFrame(
        {"trial_id": ["f0", "f0", "f1", "f1"], "memorization": [0.5, None, 0.25, 0.75]}
    )
    probes.write_parquet(folder / "probes" / "a.parquet")
    measure = """
        SELECT t.seed, AVG(p.memorization) AS value
        FROM probes p JOIN trials t ON p.trial_id = t.trial_id GROUP BY t.seed
    """

    checked = check(folder, trials([0.1, 0.2]), claim(measure=measure))

    assert checked.values["value"].to_list() == [0.5]
    assert checked.table["reason"].item() == "one seed has no interval"


def test_a_query_sees_the_tables_of_this_analysis(folder):
    results = {"own": pl.DataFrame({"seed": [0, 1], "value": [1.0, 3.0]})}

    checked = check(
        folder, trials([0.1]), claim(measure="SELECT seed, value FROM own"), results=results
    )

    assert checked.table["estimate"].item() == 2.0


def test_a_mean_over_a_missing_value_is_missing(folder):
    frame = trials([0.1, 0.2], statuses=["diverged"]).with_columns(
        random_label_accuracy=pl.lit(0.5)
    )
    measure = "SELECT seed, AVG(random_label_accuracy) AS value FROM trials GROUP BY seed"

    checked = check(folder, frame, claim(measure=measure))

    assert checked.values["seed"].to_list() == [1]


def test_claims_are_told_with_their_bound(folder):
    table = check(folder, trials([0.01, 0.02, 0.03]), claim(bound=0.005)).table

    row = table.row(0, named=True)
    assert format_claim(row) == "+2.0 points [−0.5, +4.5], n = 3"
    assert format_expectation(row) == "above 0.5 points"
    assert str(tell_claims(table)[0]) == (
        "Claim, not resolved: λ helps ([P1]). gain: +2.0 points [−0.5, +4.5], n = 3; expected "
        "above 0.5 points."
    )


def test_claims_survive_the_manifest(tmp_path):
    space = SearchSpace(axes={"lr": ChoiceAxis(choices=(0.1,))}, num_seeds=2, claims=(claim(),))
    manifest = {"schema_version": 1, "space": json.loads(json.dumps(space.to_dict())), "trials": []}
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))

    assert space_from_dict(manifest["space"]).claims == (claim(),)
    assert read_plans([tmp_path])[0].claims == (claim(),)


def written(folder, space):
    manifest = {"schema_version": 1, "space": json.loads(json.dumps(space.to_dict())), "trials": []}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return read_plans([folder])[0]


@pytest.mark.parametrize(
    ("settings", "added"),
    [
        ({"lr": "0.1,0.2"}, ("lr",)),  # an axis of one value
        ({"label_smoothing": "0,0.1", "batch_size": "32"}, ("label_smoothing", "lr")),
        ({"dropout": "0,0.1,0.2", "num_epochs": "3"}, ("lr",)),
    ],
)
def test_a_plan_tells_which_axes_its_claims_do_not_know(settings, added, tmp_path):
    axes = {"lr": ChoiceAxis(choices=(0.1,)), "dropout": ChoiceAxis(choices=(0.0, 0.1))}
    space = SearchSpace(axes=axes, num_seeds=2, claims=(claim(),))

    assert written(tmp_path, space).added_axes == ()
    again = space.override(settings).override({"num_epochs": "2"})
    assert written(tmp_path, again).added_axes == added


def test_a_claim_is_not_judged_over_an_axis_that_it_does_not_know(folder):
    mean = "SELECT seed, AVG(test_accuracy) AS value FROM trials GROUP BY seed"
    frame = trials([0.01, 0.02, 0.04])
    cells = pl.concat(
        [frame, frame.with_columns(pl.col("trial_id") + "b", pl.lit(0.3).alias("lr"))]
    )
    claims = (claim(measure=mean), claim(text="Other."))
    plan = Plan(directory=folder, claims=claims, added_axes=("lr", "batch_size"))

    checked = check_claims([folder], cells, origin=Origin(plans=(plan,)))

    assert checked.table["result"].to_list() == ["not measured"] * 2
    assert checked.table["reason"][0].startswith("not judged: `lr` (2 values) did not vary where")
    assert checked.values.is_empty()


def test_a_claim_is_judged_where_an_added_axis_has_one_value(folder):
    frame = trials([0.01, 0.02, 0.04])
    plan = Plan(directory=folder, claims=(claim(),), added_axes=("lr", "rlp_lambda"))

    checked = check_claims([folder], frame, origin=Origin(plans=(plan,)))

    assert checked.table["num_replicates"].to_list() == [3]


def test_a_manifest_whose_claims_are_none_is_refused(tmp_path):
    manifest = {"schema_version": 1, "space": {"claims": [{"text": "x"}]}, "trials": []}
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))

    with pytest.raises(RunDirectoryError, match="must be claims"):
        read_plans([tmp_path])


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"quantity": " "}, "must not be empty"),
        ({"expects": "up"}, "expects in"),
        ({"unit": "percent"}, "unit in"),
        ({"expects": "within"}, "0 < bound"),
    ],
)
def test_a_claim_that_cannot_be_checked_is_refused(settings, match):
    with pytest.raises(SearchSpaceError, match=match):
        claim(**settings)


def test_no_claims_are_no_rows(folder):
    assert_frame_equal(
        check(folder, trials([0.1])).values,
        pl.DataFrame(schema={"text": pl.String, "seed": pl.Int64, "value": pl.Float64}),
    )
