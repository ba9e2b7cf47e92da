"""Seals of a report: malformed ones, the key that must have signed them, and files of execution quality as inputs."""

from __future__ import annotations

import hashlib
import re

import msgspec
import pytest

from cli.main import main
from replay.compliance import sealing
from replay.compliance.document import canonical
from replay.compliance.make import make
from replay.compliance.write import read_report
from replay.quality.measure import measure
from replay.quality.settings import DEFAULTS
from tests.replay.made import small
from tests.replay.test_compliance_proof import _keys

pytestmark = pytest.mark.timeout(600)


def table(report, name):
    """Rows of a table as dicts."""
    found = next(t for part in report.parts for t in part.tables if t.id == name)
    return [dict(zip([c.key for c in found.columns], row, strict=True)) for row in found.rows]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return small(tmp_path_factory.mktemp("seals") / "run", 40)


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    """Public keys by name; "ann" has signed the seal."""
    folder = tmp_path_factory.mktemp("keys")
    for name in ("ann", "bob"):
        _keys(folder / f"{name}.key", folder / f"{name}.pub")
    return folder


@pytest.fixture(scope="module")
def signed(run, keys):
    path = keys / "run.seal"
    path.write_bytes(sealing.to_bytes(sealing.sign(sealing.seal(run), keys / "ann.key")))
    return path


def forged(run, target, **changes):
    """A seal whose first file says something else, its hash made anew."""
    body = sealing.seal(run).body
    first = msgspec.structs.replace(body.files[0], **{k: v for k, v in changes.items() if k != "block_bytes"})
    body = msgspec.structs.replace(
        body, files=[first, *body.files[1:]], block_bytes=changes.get("block_bytes", body.block_bytes)
    )
    seal = sealing.Seal(body=body, sha256=hashlib.sha256(canonical(body)).hexdigest())
    target.write_bytes(sealing.to_bytes(seal))
    return target


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"blocks": []}, "has 0 blocks"),
        ({"blocks": ["00"] * 9}, "has 9 blocks"),
        ({"name": "/etc/passwd"}, "is no file of a run"),
        ({"name": "../run/journal/000000.seg"}, "is no file of a run"),
        ({"name": "journal/../../secret"}, "is no file of a run"),
        ({"name": ""}, "is no file of a run"),
        ({"name": "journal"}, "is no file of a run"),
        ({"block_bytes": 7}, "block_bytes is 7"),
        ({"block_bytes": 0}, "block_bytes is 0"),
        ({"used": -1}, "cannot be read as a seal"),
    ],
)
def test_a_malformed_seal_is_refused(run, tmp_path, capsys, changes, why):
    path = forged(run, tmp_path / "bad.seal", **changes)
    for command in (
        ["seal", "verify", str(path), str(run)],
        ["report", str(run), "--profile", "uk", "--replays", "0", "--seal", str(path), "--output", str(tmp_path / "r")],
    ):
        assert main(command) == 3
        assert why in capsys.readouterr().err


def test_a_report_can_ask_for_the_key_of_its_seals(run, keys, signed, tmp_path, capsys):
    out = tmp_path / "r.json"
    made = ["report", str(run), "--profile", "uk", "--replays", "0", "--format", "json", "--output", str(out)]
    assert main([*made, "--seal-key", str(keys / "ann.pub")]) == 2  # there is no seal to hold to it
    assert main([*made, "--seal", str(signed), "--seal-key", str(keys / "bob.pub")]) == 1
    assert "is signed by" in capsys.readouterr().err
    assert not out.exists()
    assert main([*made, "--seal", str(signed), "--seal-key", str(keys / "ann.pub")]) == 0
    report = read_report(out)
    ann = sealing.public_key(keys / "ann.pub")
    assert report.options.seal_key == ann
    assert table(report, "1.4")[0]["key"] == ann
    assert any(ann in text and "told to hold" in text for text in report.parts[1].texts)
    again = ["report", "verify", str(out), str(run), "--seal", str(signed)]
    assert main(again) == 0
    assert main([*again, "--seal-key", str(keys / "ann.pub")]) == 0
    assert main([*again, "--seal-key", str(keys / "bob.pub")]) == 1


def test_a_report_says_when_nobody_asked_for_a_key(run, keys, signed, tmp_path):
    unsigned = tmp_path / "unsigned.seal"
    unsigned.write_bytes(sealing.to_bytes(sealing.seal(run)))
    ann = sealing.public_key(keys / "ann.pub")
    for path, word in ((signed, "no key was asked for"), (unsigned, "is not signed")):
        missing = " ".join(make([run], "uk", replays=0, seals=[path]).parts[1].missing)
        assert word in missing
        assert (ann in missing) == (path == signed)
    with pytest.raises(sealing.SealKeyError, match="nobody"):
        make([run], "uk", replays=0, seals=[unsigned], seal_key=ann)


def test_files_of_execution_quality_are_inputs(run_dir, tmp_path, capsys):
    buckets, out = tmp_path / "mine.toml", tmp_path / "r.json"
    text = DEFAULTS.read_text(encoding="utf-8")
    buckets.write_text(re.sub(r"(?m)^horizons_ms = .*$", "horizons_ms = [20, 400]", text))
    made = ["report", str(run_dir), "--profile", "us", "--replays", "0", "--format", "json", "--output", str(out)]
    assert main([*made, "--buckets", str(buckets)]) == 0
    report = read_report(out)
    assert ("buckets", "mine.toml") in {(one.run, one.name) for one in report.inputs}
    wanted = measure([run_dir], buckets=buckets).venue_strategies
    rows = table(report, "10.6")
    assert [row["realised_400ms_bps"] for row in rows] == [r.spreads.later[1].realized_spread_bps for r in wanted]
    assert any(row["realised_20ms_bps"] is not None for row in rows)
    verify = ["report", "verify", str(out), str(run_dir)]
    assert main([*verify, "--buckets", str(buckets)]) == 0
    assert main(verify) == 1
    assert "mine.toml: the report follows from it" in " ".join(capsys.readouterr().out.split())
    buckets.write_text("horizons_ms = 7")
    assert main([*made, "--buckets", str(buckets)]) == 2
