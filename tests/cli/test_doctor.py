"""`tickroute doctor`: its JSON, its text, and its refusals."""

from __future__ import annotations

import json

import pytest

from cli.doctor import shown
from cli.main import main
from engine.run.checks import MEASURED, RULES


def test_json_on_standard_output_is_all_there_is(capsys):
    assert main(["doctor", "--seconds", "0", "--json", "-"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert len(result["checks"]) == len(RULES)
    assert set(result["checks"][0]) == {"section", "name", "value", "wanted", "verdict", "why", "remedy"}
    assert result["measured"] is None
    assert sum(result["summary"].values()) == len(RULES)


def test_measured_json_in_a_file(tmp_path, capsys):
    path = tmp_path / "host.json"
    assert main(["doctor", "--seconds", "0.05", "--json", str(path)]) == 0
    result = json.loads(path.read_text(encoding="utf-8"))
    assert len(result["checks"]) == len(RULES) + len(MEASURED)
    assert result["measured"]["clock_gaps"]["longest_ns"] > 0
    assert [p.name for p in tmp_path.iterdir()] == ["host.json"]
    text = capsys.readouterr().out
    for row in result["checks"]:
        assert row["name"].split()[0] in text


def test_json_where_nothing_can_be_written_is_a_message(tmp_path, capsys):
    (tmp_path / "file").touch()
    assert main(["doctor", "--seconds", "0", "--json", str(tmp_path / "file" / "x.json")]) == 2
    assert "x.json" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("option", "value"), [("--core", "99999"), ("--core", "x"), ("--seconds", "-1"), ("--seconds", "1e9")]
)
def test_wrong_use(option, value, capsys):
    assert main(["doctor", option, value]) == 2
    assert option in capsys.readouterr().err


def test_shown():
    values: list[object] = [None, True, "", [], 2_000_000, 0.5, "tsc"]
    assert [shown(value) for value in values] == ["unknown", "yes", "none", "none", "2,000,000", "0.5", "tsc"]
    assert shown([{"name": "C1", "latency_us": 2}]) == "C1 2 us"
    assert shown({"leap": "Normal"}) == "leap Normal"
