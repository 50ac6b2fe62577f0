"""The MLflow UI of a sweep as people browse it: trials by arm, charts, the report in its place."""

import json
from collections.abc import Iterator

import polars as pl
import pytest
from chromium import Tab
from report_frames import LEVELS, write_sweep

from analysis.tables import analyze
from rlp_sweeps.tracking.mlflow_sweep import find_links
from rlp_sweeps.tracking.mlflow_tracker import default_tracking_uri, running_ui, sync
from rlp_sweeps.tracking.run_directory import RunDirectory

pytestmark = pytest.mark.slow

PAGE = "document.body.innerText"


@pytest.fixture(scope="module")
def views(chromium: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Return the addresses of a sweep's views, while its UI is served."""
    folder = tmp_path_factory.mktemp("runs") / "study"
    write_sweep(folder)
    epochs = pl.read_parquet(folder / "epochs" / "part.parquet")
    epochs.select("trial_id", "epoch", "val_accuracy", "random_label_accuracy").write_parquet(
        folder / "epochs" / "part.parquet"
    )
    manifest = {
        "schema_version": 1,
        "sweep_id": "5" * 32,
        "space": {"claim": "λ helps."},
        "trials": [],
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
    analyze([folder])
    directory = RunDirectory.open(folder)
    uri = default_tracking_uri(folder)
    sync(directory, uri)
    with running_ui(uri) as address:
        yield {name: address + link for name, link in find_links(uri, directory).items()}


def test_means_are_grouped_by_arm_with_their_settings_and_metrics(
    tab: Tab, views: dict[str, str]
) -> None:
    tab.size(1800, 1000)

    tab.open(views["means by arm, λ and lr"])

    tab.wait_for(f"{PAGE}.includes('Group: arm: class_term, rlp_lambda: 10.0, lr: 0.1')")
    text = tab.run(PAGE)
    for arm in LEVELS:
        assert f"Group: arm: {arm}, rlp_lambda: " in text
    assert {"rlp_lambda", "val_accuracy"} <= set(text.split())
    assert "λ helps." in text
    assert "means by arm, λ and lr · charts · trials · report" in text


def test_trials_are_listed_flat_without_their_parent(tab: Tab, views: dict[str, str]) -> None:
    tab.size(1800, 1000)

    tab.open(views["trials"])

    tab.wait_for(f"{PAGE}.includes('full lr=0.1 λ=10 ε=0 seed 0')")
    tab.wait_for(f"{PAGE}.includes('20 matching runs')")
    assert "sweep study" not in tab.run(PAGE)


def test_charts_draw_parallel_coordinates_and_curves(tab: Tab, views: dict[str, str]) -> None:
    tab.size(1800, 1400)

    tab.open(views["charts"])

    axes = "[...document.querySelectorAll('.parcoords text')].map((text) => text.textContent)"
    for name in ("arm", "lr", "rlp_lambda", "val_accuracy", *LEVELS):
        tab.wait_for(f"{axes}.includes('{name}')")
    tab.wait_for("document.querySelectorAll('.js-plotly-plot .scatterlayer .trace').length > 1")


def test_the_report_opens_in_its_place_where_its_script_may_run(
    tab: Tab, views: dict[str, str]
) -> None:
    tab.open(views["report"])

    frame = "document.querySelector('iframe.mlflow-html-iframe')"
    tab.wait_for(f"{frame} !== null && {frame}.getBoundingClientRect().height > 200")
    page = tab.run(f"fetch({frame}.src).then((answer) => answer.text())")
    assert "How to read this" in page
    assert "allow-scripts" in tab.run(f"{frame}.sandbox.value")
