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


def test_a_changed_journal_is_refused_with_its_place(run_dir, tmp_path, capsys):
    copy = tmp_path / "copy"
    shutil.copytree(run_dir, copy)
    segment = copy / "journal" / "000000.seg"
    data = bytearray(segment.read_bytes())
    data[50_000] ^= 4
    segment.write_bytes(data)
    assert main(["report", str(copy), "--profile", "us", "--replays", "0"]) == 3
    assert "000000.seg at byte" in capsys.readouterr().err
