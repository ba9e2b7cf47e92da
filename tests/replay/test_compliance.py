"""The compliance report: its parts, the same bytes each time, and that what was changed is found."""

from __future__ import annotations

import json
import shutil

import pytest

from cli.main import main
from replay.compliance.make import make
from replay.compliance.profile import cited, load
from replay.compliance.prove import verify
from replay.compliance.write import FORMATS, read_report, rendered

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def report(run_dir):
    return make([run_dir], "eu-2026", replays=0)


@pytest.fixture(scope="module")
def written(report, tmp_path_factory):
    """Form -> path of the report in it."""
    folder = tmp_path_factory.mktemp("reports")
    found = {}
    for form in FORMATS:
        target = folder / f"report.{form}"
        for name, data in rendered(report, form).items():
            path = target / name if name else target
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(data)
        found[form] = target
    return found


def table(report, name):
    """Rows of a table as dicts."""
    found = next(t for part in report.parts for t in part.tables if t.id == name)
    return [dict(zip([c.key for c in found.columns], row, strict=True)) for row in found.rows]


def test_there_are_fourteen_parts_and_each_says_something(report):
    assert [part.number for part in report.parts] == list(range(14))
    for part in report.parts:
        assert part.tables or part.figures or part.missing
        for row in (*part.tables, *part.figures):
            assert row.source or row.id in ("0.2", "2.1", "2.a")


def test_every_form_is_the_same_bytes_each_time(report, run_dir, written):
    again = make([run_dir], "eu-2026", replays=0)
    assert again == report
    for form in FORMATS:
        for name, data in rendered(again, form).items():
            path = written[form] / name if name else written[form]
            assert path.read_bytes() == data, form


def test_the_data_in_a_page_are_the_report(report, written):
    for form in ("html", "json", "parquet"):
        assert read_report(written[form]) == report


@pytest.mark.parametrize("form", ["pdf", "parquet"])  # the page is in test_the_commands, JSON in test_compliance_proof
def test_a_report_is_verified_against_its_run(run_dir, written, form):
    proof = verify(written[form], [run_dir])
    assert proof.differences == []
    assert proof.result == "identical"


def test_rules_whose_text_was_not_read_are_no_citations(written):
    text = written["html"].read_text(encoding="utf-8")
    assert "Article 15(1)" in text
    assert "secondary source" in text
    assert "Article 10" not in text
    for name in ("eu-2026", "uk", "us"):
        assert load(name).rules
        for rule in load(name).rules:
            assert (cited(rule) == rule.citation) == rule.verified


def test_the_commands(run_dir, tmp_path, capsys):
    out, key = tmp_path / "r.html", tmp_path / "run.seal"
    assert main(["seal", str(run_dir), "--output", str(key)]) == 0
    assert main(["seal", "verify", str(key), str(run_dir)]) == 0
    arguments = ["report", str(run_dir), "--profile", "uk", "--output", str(out), "--seal", str(key), "--json", "-"]
    capsys.readouterr()
    assert main(arguments) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["runs"][0]["sealed_to"] == told["runs"][0]["last_seq"] > 0
    assert main(["report", "verify", str(out), str(run_dir), "--seal", str(key)]) == 0
    data = bytearray(out.read_bytes())
    data[len(data) // 3] ^= 1
    out.write_bytes(data)
    capsys.readouterr()
    assert main(["report", "verify", str(out), str(run_dir), "--seal", str(key)]) == 1
    assert "byte" in capsys.readouterr().out
    assert main(["report", str(run_dir), "--profile", "mars"]) == 2
    assert main(["report", str(run_dir), str(run_dir), "--profile", "us"]) == 2


def a_stress_test():
    def times(value):
        return {"count": 100, "p50_ns": value, "p99_ns": 2 * value, "p99_9_ns": None, "max_ns": 3 * value}

    def rate(factor, held):
        row = {"times": factor, "planned_per_s": 258.9 * factor, "records": 258, "taken": 258, "planned_s": 1.0}
        row |= {"seconds": 1.0, "response": times(40_000), "service": times(900), "backlog_most": 3, "backlog_last": 0}
        row |= {"blocked": 0, "blocked_s": 0.0, "sender_late_ns": 0, "tries": 1, "held": held}
        return row | {"why": "" if held else "the backlog grew"}

    test = {"source": ["day"], "instruments": ["XXX"], "messages": 9, "first_utc": "", "last_utc": "", "peaks": []}
    test |= {"interval_ms": 1000, "interval_utc": "2018-01-02T14:30:00Z", "interval_records": 258}
    test |= {"interval_per_s": 258.9, "bound_ns": 1, "strategy": "", "idle": "", "durability": "", "transport": ""}
    test |= {"rates": [rate(1.0, True), rate(2.0, True), rate(4.0, False)], "headroom": 2.0, "fell_behind_at": 4.0}
    return test | {
        "why": "the backlog grew",
        "stopped": "",
        "host": "",
        "source_hash": "",
        "build_hash": "",
        "started_utc": "",
    }


def test_a_stress_test_is_an_input_of_part_12(run_dir, tmp_path, capsys):
    file, output = tmp_path / "stress.json", tmp_path / "r.json"
    file.write_text(json.dumps(a_stress_test()))
    made = ["report", str(run_dir), "--profile", "eu-2026", "--replays", "0", "--stress", str(file)]
    assert main([*made, "--format", "json", "--output", str(output)]) == 0
    report = read_report(output)
    (words,) = [text for text in report.parts[12].texts if "Stress" in text]
    assert "held at 2 times its pace (3 tried, 2 held; the backlog grew)" in words
    rates = {(row["what"], row["window"]): row["rate"] for row in table(report, "12.1")}
    peak = rates["messages in", "1.000 s"]
    verdict = "reached" if 2 * peak <= 517.8 else "not reached"
    assert f"comes to {peak:,} messages/s (table 12.1)" in words
    assert (
        f"2 times the peak, {2 * peak:,} messages/s; held were 518 messages/s, venues' reports counted: {verdict}."
        in words
    )
    assert "not of six months" in words
    assert [(row["times"], row["rate"], row["verdict"]) for row in table(report, "12.2")] == [
        (1.0, 258, "held"), (2.0, 517, "held"), (4.0, 1035, "the backlog grew")
    ]  # fmt: skip
    assert ("stress", "stress.json") in {(one.run, one.name) for one in report.inputs}
    checked = ["report", "verify", str(output), str(run_dir)]
    assert main([*checked, "--stress", str(file)]) == 0
    assert main(checked) == 1
    assert "input stress stress.json: the report follows from it, and it is missing" in " ".join(
        capsys.readouterr().out.split()
    )
    file.write_text("{}")
    assert main([*checked, "--stress", str(file)]) == 3
    assert "is no result of a stress test" in capsys.readouterr().err


def test_a_changed_journal_is_refused_with_its_place(run_dir, tmp_path, capsys):
    copy = tmp_path / "copy"
    shutil.copytree(run_dir, copy)
    segment = copy / "journal" / "000000.seg"
    data = bytearray(segment.read_bytes())
    data[50_000] ^= 4
    segment.write_bytes(data)
    assert main(["report", str(copy), "--profile", "us", "--replays", "0"]) == 3
    assert "000000.seg at byte" in capsys.readouterr().err
