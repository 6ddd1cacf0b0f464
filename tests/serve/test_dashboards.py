"""The dashboard and the alerts ask for what a busy server really tells, and nothing that it tells is left out."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from gi_serve.metrics import STAGES
from gi_serve.protocol import Codec, FrameMessage, encode_frame
from tests.model.adapter_factory import make_adapter
from tests.model.factories import make_policy
from tests.serve.fake_steppers import FailingStepper
from tests.serve.pictures import paint, png_of
from tests.serve.robot_bodies import identity_of, rover
from tests.serve.serving import serving
from tests.serve.streaming import ask, next_action, next_event, open_stream, raw

FOLDER = Path(__file__).parents[2] / "serve" / "dashboards"
DASHBOARD: dict[str, Any] = json.loads((FOLDER / "gi-serve.json").read_text())
ALERTS: dict[str, Any] = yaml.safe_load((FOLDER / "gi-serve-alerts.yaml").read_text())
Samples = dict[str, list[dict[str, str]]]


@pytest.fixture(scope="module")
def samples() -> Samples:
    """Labels of every sample of a server under load, by its name."""
    stepper = FailingStepper()
    stepper.add_adapter(make_adapter(make_policy()), "rover")
    with serving(stepper) as running, open_stream(running) as connection:
        ask(connection, type="session.update", stream_id=1, adapter="rover")
        connection.send(encode_frame(raw(0, stream_id=1)))
        next_action(connection)
        ask(connection, type="session.update")
        for seq in range(5):
            connection.send(encode_frame(raw(seq)))
            next_action(connection)
        connection.send(encode_frame(FrameMessage(5, 0, Codec.PNG, png_of(paint(2)))))
        next_action(connection)
        ask(connection, type="session.update", stream_id=2, embodiment=rover().to_dict())
        connection.send(encode_frame(raw(0, identity=identity_of(16, -16), stream_id=2)))
        next_action(connection)  # beyond its range
        connection.send(encode_frame(raw(6, identity=13)))
        assert next_event(connection)["type"] == "error"
        with httpx.Client(base_url=running.url, trust_env=False) as http:
            http.get("/v1/sessions/nobody")
            text = http.get("/metrics").text
    found: Samples = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, []).append(dict(sample.labels))
    return found


def queries() -> Iterator[str]:
    for panel in DASHBOARD["panels"]:
        for target in panel["targets"]:
            yield target["expr"]
    for variable in DASHBOARD["templating"]["list"]:
        yield variable["query"]
    for group in ALERTS["groups"]:
        for rule in group["rules"]:
            yield rule["expr"]


def names_in(query: str) -> set[str]:
    return set(re.findall(r"\bgi_serve_\w+", query))


def test_every_query_asks_for_metrics_and_labels_that_exist(samples: Samples) -> None:
    asked = list(queries())
    assert len(asked) > 20
    for query in asked:
        for name in names_in(query):
            assert name in samples, query
        for grouped in re.findall(r"by \(([^)]*)\)", query):
            for label in grouped.split(", "):
                assert all(any(label in labels for labels in samples[name]) for name in names_in(query)), query
        for name, selector in re.findall(r"\b(gi_serve_\w+)\{([^}]*)\}", query):
            for label in re.findall(r"(\w+)[=!]~?\"", selector):
                assert any(label in labels for labels in samples[name]), query


def test_every_metric_has_its_place_on_the_dashboard(samples: Samples) -> None:
    shown = set().union(*(names_in(query) for query in queries()))
    families = {re.sub(r"_(bucket|sum|count)$", "", name) for name in samples if name.startswith("gi_serve_")}
    assert {name for name in families if not any(each.startswith(name) for each in shown)} == set()


def test_every_stage_was_passed_and_is_shown(samples: Samples) -> None:
    seen = {labels["stage"] for labels in samples["gi_serve_stage_seconds_count"]}
    assert seen == set(STAGES)
    named = " ".join(query for query in queries() if "stage=~" in query)
    assert {"receive", "decode", "batch", "forward", "encode", "send"} <= set(re.findall(r"[a-z]+", named))


def test_every_stage_counts_frames() -> None:
    with serving(FailingStepper()) as running, open_stream(running) as connection:
        ask(connection, type="session.update")
        for seq in range(4):
            connection.send(encode_frame(FrameMessage(seq, 0, Codec.PNG, png_of(paint(2)))))
            next_action(connection)
        ask(connection, type="session.update")  # an event after the last answer: that one is counted
        metrics = running.engine.metrics
        assert {stage: sum(getattr(metrics, stage).counts) for stage in STAGES} == dict.fromkeys(STAGES, 4)


def test_panels_do_not_overlap_and_have_titles() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {(at["x"] + dx, at["y"] + dy) for dx in range(at["w"]) for dy in range(at["h"])}
        assert panel["title"]
        assert not cells & taken
        assert at["x"] + at["w"] <= 24
        taken |= cells
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


def test_alerts_are_whole() -> None:
    rules = [rule for group in ALERTS["groups"] for rule in group["rules"]]
    assert len({rule["alert"] for rule in rules}) == len(rules)
    assert all(rule["annotations"]["summary"] and rule["labels"]["severity"] for rule in rules)
