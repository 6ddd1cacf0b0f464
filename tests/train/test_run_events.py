"""Events of a run: in order, with their facts, also after a kill in the middle of a line."""

from pathlib import Path

from gi_train.run_events import append_event, read_events


def test_events_are_read_as_they_were_written(tmp_path: Path) -> None:
    path = tmp_path / "run" / "events.jsonl"
    assert read_events(path) == []
    append_event(path, "start", step=0, train={"steps": 5}, device="cpu")
    append_event(path, "stop", step=3, reason="SIGTERM")
    first, second = read_events(path)
    assert (first["kind"], first["step"], first["train"]) == ("start", 0, {"steps": 5})
    assert (second["kind"], second["reason"]) == ("stop", "SIGTERM")
    assert first["time"] <= second["time"]


def test_a_torn_line_hides_no_other(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    append_event(path, "start", step=0)
    with path.open("a") as file:
        file.write('{"kind": "st')
    append_event(path, "resume", step=0)
    assert [event["kind"] for event in read_events(path)] == ["start", "resume"]
