"""The proof of the compliance report: a byte altered anywhere is found and placed, a seal finds what was made anew."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections import Counter
from functools import cache

import numpy as np
import pytest

from cli.main import main
from engine.errors import TickrouteError
from engine.io import journal_chain
from engine.io.journal import append
from engine.io.journal_format import FRAME_HEADER, Kind, end_of, end_word, header_crc, segment_path
from engine.io.journal_reader import JournalReader
from engine.io.journal_writer import JournalWriter
from engine.record.records import DTYPES, Template
from replay.compliance import prove, sealing
from replay.compliance.make import make
from replay.compliance.runs import TamperedError
from replay.compliance.write import rendered
from replay.watch.chained import ChainedLog
from tests.replay.made import START_NS, Made, clock_log, sample, small

pytestmark = pytest.mark.timeout(600)
FORMS = ("json", "html", "pdf", "parquet")


def run_id(run_dir):
    with JournalReader(run_dir) as reader:
        return reader.run_id.hex()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A small run of three segments, with a clock log."""
    path = small(tmp_path_factory.mktemp("proof") / "run", 160)
    clock_log(path, run_id(path), [sample(START_NS + n * 10**9, 1_000, 2_000) for n in range(20)])
    assert len(list((path / "journal").glob("*.seg"))) >= 3
    return path


@pytest.fixture(scope="module")
def made(run):
    return make([run], "eu-2026", replays=0)


@pytest.fixture(scope="module")
def written(made, tmp_path_factory):
    """(folder, form -> files of the report in it)"""
    folder = tmp_path_factory.mktemp("reports")
    forms = {form: rendered(made, form) for form in FORMS}
    for form, files in forms.items():
        for name, data in files.items():
            path = folder / f"report.{form}" / name if name else folder / f"report.{form}"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(data)
    return folder, forms


def found(path, made, files):
    """What a verification says of a report's file; the error's text where it is none."""
    try:
        claim = prove.claimed(path)
        proof = prove.compare(path, claim, made, lambda told: files if told is made else rendered(told, claim.form))
    except TickrouteError as error:
        return str(error)
    if proof.result == "identical":
        return ""
    return "; ".join(proof.differences) or f"{proof.result}: {proof.note}"


def altered(data, at):
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


@pytest.mark.parametrize("form", FORMS)
def test_a_byte_of_a_report_altered_is_found_and_placed(written, made, tmp_path, form):
    folder, forms = written
    target = tmp_path / f"report.{form}"
    for name, data in forms[form].items():
        (shutil.copytree if form == "parquet" else shutil.copy)(folder / f"report.{form}", target)
        path = target / name if name else target
        count = 3 if form == "parquet" else 40
        for n in range(count):
            at = (len(data) - 1) * n // (count - 1)
            path.write_bytes(altered(data, at))
            why = found(target, made, forms[form])
            places = ("byte", "cannot be read", "holds no report", "behind", "differ", "another build")
            assert any(place in why for place in places), (form, name, at, why)
        (shutil.rmtree if form == "parquet" else type(target).unlink)(target)


@pytest.mark.torture
@pytest.mark.parametrize("form", ["json", "html"])
def test_every_byte_of_a_report_altered_is_found(written, made, tmp_path, form):
    _, forms = written
    data = forms[form][""]
    for at in range(len(data)):
        (tmp_path / "report").write_bytes(altered(data, at))
        assert found(tmp_path / "report", made, forms[form]), at


def places(run, count):
    """(file, byte): spread over every file that a report follows from, and the ends of each."""
    for path in [*sorted((run / "journal").glob("*.seg")), run / "clock.jsonl", run / "journal" / "chain"]:
        size = path.stat().st_size
        for at in sorted({0, size - 1, *(size * n // count for n in range(count))}):
            yield path, at


def refused(run, told):
    """Why a report of a run is refused, or what differs from the one told."""
    try:
        now = make([run], "eu-2026", replays=0)
    except TickrouteError as error:
        return str(error)
    return "; ".join(prove.figures(told.parts, now.parts))


def test_a_byte_of_a_run_altered_is_found_and_placed(run, made, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    for path, at in places(copy, 8):
        data = path.read_bytes()
        path.write_bytes(altered(data, at))
        why = refused(copy, made)
        path.write_bytes(data)
        assert path.name in why or "chain" in why, (path.name, at, why)
    assert refused(copy, made) == ""


def test_no_report_is_made_where_the_chain_is_altered_cut_or_gone(run, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    chain = copy / "journal" / "chain"
    data = chain.read_bytes()
    lines = data.splitlines(keepends=True)
    begins = [sum(map(len, lines[:n])) for n in range(len(lines) + 1)]
    changed = [(n, altered(data, at)) for n, at in enumerate(begins[:-1], 1)]
    changed += [(n, altered(data, at - 1)) for n, at in enumerate(begins[1:], 1)]
    changed += [(len(lines), b"".join(lines[:-1])), (2, lines[0]), (1, b""), (len(lines), data[:-20])]
    for number, bad in changed:
        chain.write_bytes(bad)
        with pytest.raises(TamperedError, match="no report is made") as why:
            make([copy], "eu-2026", replays=0)
        assert str(why.value).startswith(f"{chain} line {number}: "), (number, why.value)
    chain.unlink()
    with pytest.raises(TamperedError, match="there is no chain"):
        make([copy], "eu-2026", replays=0)


def test_a_run_that_was_killed_may_have_the_last_line_of_its_chain_torn(tmp_path):
    """Its last segment is open; the one before it is closed, and its line half written."""
    path = small(tmp_path / "run", 160)
    last = sorted((path / "journal").glob("*.seg"))[-1]
    data = last.read_bytes()
    last.write_bytes(data[:56] + bytes(8) + data[64:])
    chain = path / "journal" / "chain"
    lines = chain.read_bytes().splitlines(keepends=True)
    chain.write_bytes(b"".join(lines[:-2]) + lines[-2][:70])
    report = make([path], "eu-2026", replays=0)
    assert report.runs[0].chain_head == lines[-3].split()[-1].decode()
    JournalWriter.resume(path).close()
    assert chain.read_bytes().splitlines(keepends=True)[:-1] == lines[:-1]
    make([path], "eu-2026", replays=0)


def unreadable(run):
    """Why the reader of journals refuses a run; empty where it does not."""
    try:
        with JournalReader(run) as reader:
            for _ in reader.chunks():
                pass
    except TickrouteError as error:
        return str(error)
    return ""


@pytest.mark.torture
@pytest.mark.timeout(1800)
def test_every_byte_of_a_run_altered_is_found(run, made, tmp_path):
    """Each byte of each file. `make` reads a journal by the same reader to its end, so what that refuses no report is
    made of: those bytes are not read again for one. For each of the others the report is made anew, and compared."""
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    anew: Counter[str] = Counter()
    for path in [*sorted((copy / "journal").glob("*.seg")), copy / "clock.jsonl", copy / "journal" / "chain"]:
        data = path.read_bytes()
        with path.open("r+b", buffering=0) as file:
            for at in range(len(data)):
                os.pwrite(file.fileno(), altered(data[at : at + 1], 0), at)
                if not (path.suffix == ".seg" and unreadable(copy)):
                    anew[path.name] += 1
                    assert refused(copy, made), (path.name, at)
                os.pwrite(file.fileno(), data[at : at + 1], at)
        assert path.read_bytes() == data
    assert refused(copy, made) == ""
    print(f"\nreports made anew, by file: {dict(anew)}")


def test_what_the_reader_refuses_no_report_is_made_of(run, made, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    for path, at in places(copy, 8):
        data = path.read_bytes()
        path.write_bytes(altered(data, at))
        if why := unreadable(copy):
            assert refused(copy, made) == why
        path.write_bytes(data)


def forge(run, target):
    """A run with one fill changed, and every CRC, link and hash made anew, by the engine's own writer."""
    with JournalReader(run) as reader:
        writer = JournalWriter(target, 1 << 16, reader.manifest)
        changed = False
        run_id_ = reader.run_id
        for frame in reader.frames():
            if frame.kind in (Kind.MANIFEST, Kind.PAD):
                continue
            payload = frame.payload.copy()
            if not changed and int(payload.view("<u2")[1]) == Template.FILL and frame.seq > 100:
                payload.view(DTYPES[Template.FILL])["last_qty"] += 1
                changed = True
            seq = -1
            while seq < 0:
                seq = append(writer.table, int(frame.kind), int(frame.last), frame.batch_index, frame.input_seq,
                             int(payload.ctypes.data), len(payload))  # fmt: skip
        writer.close()
    assert changed
    # The forger keeps the run's id, too: the headers, their CRCs and the chain are made for it.
    _rename(target, run_id_)
    rows = [sample(START_NS + n * 10**9, 1_000, 2_000) for n in range(20)]
    clock_log(target, run_id_.hex(), rows)


def _rename(target, run_id_):
    """Give a forged run another run's id."""
    with JournalReader(target) as reader:
        manifest = reader.manifest
    for path in sorted((target / "journal").glob("*.seg")):
        memory = np.frombuffer(bytearray(path.read_bytes()), dtype=np.uint8)
        address = int(memory.ctypes.data)
        end = int(end_of(address))
        memory[40:56] = np.frombuffer(run_id_, dtype=np.uint8)
        memory[36:40].view("<u4")[0] = header_crc(address) & 0xFFFFFFFF
        memory[56:64].view("<u8")[0] = end_word(address, end) & 0xFFFFFFFFFFFFFFFF
        path.write_bytes(memory.tobytes())
    links = [journal_chain.manifest_link(run_id_, manifest)]
    text = f"manifest {links[0].digest} {links[0].chain}\n"
    for n, path in enumerate(sorted((target / "journal").glob("*.seg"))):
        digest = journal_chain.file_digest(path)
        links.append(journal_chain.Link(n, digest, journal_chain.linked(links[-1].chain, digest)))
        text += f"{path.name} {digest} {links[-1].chain}\n"
    (target / "journal" / "chain").write_text(text)


def test_what_was_made_anew_throughout_is_found_against_the_seal(run, made, tmp_path, capsys):
    seal_file, forged = tmp_path / "run.seal", tmp_path / "run"
    seal_file.write_bytes(sealing.to_bytes(sealing.seal(run)))
    forge(run, forged)
    again = make([forged], "eu-2026", replays=0)  # nothing in the run itself contradicts anything
    assert again.figures_sha256 != made.figures_sha256
    assert again.runs[0].run_id == made.runs[0].run_id
    assert main(["seal", "verify", str(seal_file), str(forged)]) == 3
    assert "bytes" in capsys.readouterr().err
    with pytest.raises(sealing.SealError, match="sealed"):
        make([forged], "eu-2026", replays=0, seals=[seal_file])
    sealed = make([run], "eu-2026", replays=0, seals=[seal_file])
    assert sealed.runs[0].sealed_to == sealed.runs[0].last_seq
    assert made.runs[0].sealed_to == -1
    assert any("No seal" in text for text in made.parts[1].missing)


def test_a_seal_is_signed_and_a_changed_one_is_refused(run, tmp_path, capsys):
    key, public, seal_file = tmp_path / "key.pem", tmp_path / "public.pem", tmp_path / "run.seal"
    _keys(key, public)
    assert main(["seal", str(run), "--output", str(seal_file), "--key", str(key)]) == 0
    assert main(["seal", "verify", str(seal_file), str(run), "--key", str(public)]) == 0
    other, other_public = tmp_path / "other.pem", tmp_path / "other-public.pem"
    _keys(other, other_public)
    assert main(["seal", "verify", str(seal_file), str(run), "--key", str(other_public)]) == 2
    data = seal_file.read_bytes()
    for n in range(60):
        seal_file.write_bytes(altered(data, (len(data) - 2) * n // 59))
        assert main(["seal", "verify", str(seal_file), str(run), "--key", str(public)]) in (2, 3)
    assert main(["seal", str(run), "--output", str(seal_file), "--key", str(public)]) == 3
    capsys.readouterr()


def _keys(private, public):
    from cryptography.hazmat.primitives import serialization as s
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.generate()
    private.write_bytes(key.private_bytes(s.Encoding.PEM, s.PrivateFormat.PKCS8, s.NoEncryption()))
    public.write_bytes(key.public_key().public_bytes(s.Encoding.PEM, s.PublicFormat.SubjectPublicKeyInfo))


def test_a_run_that_goes_on_is_sealed_up_to_a_frame(tmp_path):
    live = Made(tmp_path / "run")
    for n in range(1, 6):
        live.order(n, START_NS + n * 1_000)
    seal_file = tmp_path / "run.seal"
    made = sealing.seal(live.run_dir)
    seal_file.write_bytes(sealing.to_bytes(made))
    for n in range(6, 300):
        live.order(n, START_NS + n * 1_000)
    path = live.close()
    report = make([path], "eu-2026", replays=0, seals=[seal_file])
    assert report.runs[0].sealed_to == made.body.last_seq < report.runs[0].last_seq
    assert any("sealed; what follows" in text for text in report.parts[1].missing)
    data = bytearray(segment_path(path, 0).read_bytes())
    data[64 + FRAME_HEADER + 5] ^= 1
    segment_path(path, 0).write_bytes(bytes(data))
    assert "bytes 0 to" in str(sealing.compare(made, path))


def test_a_clock_log_cut_off_is_found_against_the_seal(run, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    made = sealing.seal(copy)
    log = copy / "clock.jsonl"
    log.write_bytes(b"".join(log.read_bytes().splitlines(keepends=True)[:-3]))
    assert "clock.jsonl" in str(sealing.compare_files(made, copy))
    log.unlink()
    rows = [sample(START_NS + n * 10**9, 1_007, 2_000) for n in range(20)]
    again = ChainedLog(log, run_id(copy))
    for row in rows:
        again.append(row)
    again.close()
    assert "clock.jsonl: bytes" in str(sealing.compare_files(made, copy))


@cache
def _openssl():
    return shutil.which("openssl")


def test_keys_are_those_of_openssl(run, tmp_path):
    if _openssl() is None:
        pytest.skip("openssl is not installed")
    key, public = tmp_path / "seal.key", tmp_path / "seal.pub"
    subprocess.run([_openssl(), "genpkey", "-algorithm", "ed25519", "-out", key], check=True, capture_output=True)
    subprocess.run([_openssl(), "pkey", "-in", key, "-pubout", "-out", public], check=True, capture_output=True)
    signed = sealing.sign(sealing.seal(run), key)
    assert signed.public_key == sealing.public_key(public)
