"""`report verify` of reports that say that another build made them: their word is not taken for anything that shows."""

from __future__ import annotations

import io
import json

import msgspec
import pytest

from cli.main import main
from engine.errors import TickrouteError
from replay.compliance import prove
from replay.compliance.document import canonical
from replay.compliance.html import BEGIN
from replay.compliance.make import make
from replay.compliance.write import rendered
from tests.replay.made import small

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return small(tmp_path_factory.mktemp("builds") / "run", 40)


@pytest.fixture(scope="module")
def made(run):
    return make([run], "us", replays=0)


@pytest.fixture(scope="module")
def other(made):
    """The same report, as another build would have made it."""
    libraries = made.libraries | {"numpy": "0.1"}
    build = {"build_hash": "0" * len(made.build_hash), "report_hash": "1" * 64, "version": "0.0.1"}
    return msgspec.structs.replace(made, libraries=libraries, **build)


def write(folder, form, files):
    target = folder / f"report.{form}"
    for name, data in files.items():
        path = target / name if name else target
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_bytes(data)
    return target


def proof(path, made):
    claim = prove.claimed(path)
    return prove.compare(path, claim, made, lambda told: rendered(told, claim.form))


@pytest.mark.parametrize("form", ["html", "json", "pdf", "parquet"])
def test_another_build_is_never_identical(made, other, tmp_path, form):
    found = proof(write(tmp_path, form, rendered(other, form)), made)
    assert found.differences == []
    assert (found.result, found.same_build) == ("same figures", False)
    if form != "pdf":  # it does not hold the libraries, so those of this build are put in
        assert "the same bytes" in found.note


def test_the_command_has_an_exit_code_for_it(run, other, made, tmp_path, capsys):
    path = write(tmp_path, "json", rendered(other, "json"))
    assert main(["report", "verify", str(path), str(run)]) == 4
    assert "another build" in capsys.readouterr().out
    assert main(["report", "verify", str(write(tmp_path, "json", rendered(made, "json"))), str(run)]) == 0


def test_a_page_edited_with_one_letter_of_its_build_is_found(made, tmp_path):
    page = rendered(made, "html")[""].decode()
    visible, begin, data = page.partition(BEGIN)
    assert ">40<" in visible  # the number of orders, among others
    letter = "0" if made.build_hash[0] != "0" else "1"
    claims = data.replace(f'"build_hash":"{made.build_hash}"', f'"build_hash":"{letter}{made.build_hash[1:]}"')
    assert claims != data
    for shown in (visible.replace(">40<", ">39<", 1), visible):
        path = write(tmp_path, "html", {"": (shown + begin + claims).encode()})
        assert proof(path, made).result == "different"


EDITS = [
    ("a cell", lambda page: page.replace(">40<", ">39<", 1), "39"),
    ("a text", lambda page: page.replace("decimals, never rounded", "decimals, rounded", 1), "rounded"),
    ("a word more", lambda page: page.replace("</main>", "<p>All is well.</p></main>"), "All is well."),
    ("what a column says", lambda page: page.replace('title="the run"', 'title="a run"', 1), "title"),
    ("what is not shown", lambda page: page.replace("<tr><td", "<tr hidden><td", 1), "hidden"),
    ("a script", lambda page: page.replace("</body>", "<script>hide()</script></body>"), "cannot be read"),
    ("its first frames", lambda page: page.replace("frames 0 to", "frames 1 to", 1), "frames"),
]


@pytest.mark.parametrize(("what", "edit", "place"), EDITS, ids=[row[0] for row in EDITS])
def test_what_a_page_of_another_build_shows_is_held_to_what_was_made(made, other, tmp_path, what, edit, place):
    page = rendered(other, "html")[""].decode()
    changed = edit(page)
    assert changed != page, what
    found = proof(write(tmp_path, "html", {"": changed.encode()}), made)
    assert found.result == "different"
    assert place in " ".join(found.differences)


def test_pictures_and_styles_of_another_build_may_differ(made, other, tmp_path):
    page = rendered(other, "html")[""].decode().replace("<svg ", '<svg data-other="1" ').replace("82rem", "83rem")
    found = proof(write(tmp_path, "html", {"": page.encode()}), made)
    assert (found.result, found.differences) == ("same figures", [])
    assert "not the bytes" in found.note


def test_what_the_format_does_not_know_is_found(made, other, tmp_path):
    data = json.loads(rendered(other, "json")[""])
    path = write(tmp_path, "json", {"": json.dumps(data).encode()})
    assert proof(path, made).result == "same figures"  # another layout, the same members
    for name, value in (("verdict", "all is well"), ("title", "Another"), ("subtitle", "")):
        path.write_text(json.dumps(data | {name: value}))
        found = proof(path, made)
        assert found.result == "different"
        assert name in found.differences[0]


def test_tables_of_parquet_of_another_build_are_compared(made, other, tmp_path):
    pq = pytest.importorskip("pyarrow.parquet")
    files = rendered(other, "parquet")
    name = "table_1_3.parquet"
    told = pq.read_table(io.BytesIO(files[name]))
    for label, table in (
        ("n", told.set_column(told.column_names.index("n"), "n", [[0] * len(told)])),
        ("columns", told.rename_columns(["a", "b", "c"])),
    ):
        out = io.BytesIO()
        pq.write_table(table, out)
        found = proof(write(tmp_path / label, "parquet", files | {name: out.getvalue()}), made)
        assert found.result == "different"
        assert name in found.differences[0]
    folder = write(tmp_path, "parquet", files)
    (folder / "more.parquet").write_bytes(b"")
    assert proof(folder, made).result == "different"


def test_every_letter_of_what_a_page_says_of_its_build(made, tmp_path):
    """A build that is named otherwise in one place only contradicts the other places."""
    page = rendered(made, "html")[""]

    def files(told):
        return {"": page} if told is made else rendered(told, "html")

    for value in (made.build_hash, made.report_hash, made.libraries["numpy"]):
        begin = 0
        while (at := page.find(value.encode(), begin)) >= 0:
            begin = at + 1
            for n in (at, at + len(value) - 1):
                changed = page[:n] + bytes([page[n] ^ 1]) + page[n + 1 :]
                path = write(tmp_path, "html", {"": changed})
                try:
                    found = prove.compare(path, prove.claimed(path), made, files)
                except TickrouteError:
                    continue
                assert found.result != "identical", (value, n)


def test_a_claim_in_the_figures_themselves_is_found(made, other, tmp_path):
    part = msgspec.structs.replace(other.parts[13], texts=["Nothing is left out."])
    lied = msgspec.structs.replace(other, parts=[*other.parts[:13], part])
    found = proof(write(tmp_path, "json", {"": canonical(lied)}), made)
    assert found.result == "different"
    assert "part 13, its texts differ" in found.differences
