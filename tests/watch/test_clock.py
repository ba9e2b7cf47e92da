"""Clock evidence: what each source says, what counts as within, steps, and a sampler against a clock that is set."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from engine.run.config_beside import Clock
from engine.run.host import Timex
from replay.watch import clock_sources
from replay.watch.chained import rows
from replay.watch.clock_sampler import CLOCK_FILE, Pair, Sampler, read_pair, reasons, step_between
from replay.watch.clock_sources import (
    Reading,
    chrony_clock,
    chrony_reading,
    kernel_clock,
    kernel_reading,
    ptp_clock,
    ptp_reading,
)

RUN = "00112233445566778899aabbccddeeff"
CHRONY = (
    "A29FC87B,ntp.example,3,1700000000.123456789,{system},-0.000000096,0.000010,12.3,0.001,0.02,{delay},{dispersion},"
    "64.2,{leap}\n"
)
PTP = """sending: GET TIME_STATUS_NP
	506b4b.fffe.112233-0 seq 0 RESPONSE MANAGEMENT TIME_STATUS_NP
		master_offset              {offset}
		ingress_time               1700000000123456789
		gmPresent                  {present}
	506b4b.fffe.112233-1 seq 0 RESPONSE MANAGEMENT PORT_DATA_SET
		portState               {state}
"""


def known(reading: Reading | None) -> Reading:
    assert reading is not None
    return reading


def chrony(system="0.000000106", delay="0.000200000", dispersion="0.000017795", leap="Normal"):
    return CHRONY.format(system=system, delay=delay, dispersion=dispersion, leap=leap)


def test_chrony_is_bounded_as_its_manual_says_and_exact_to_the_nanosecond():
    assert chrony_reading(chrony()) == Reading(
        "chrony", -106, 106 + 17_795 + 100_000, True, "stratum 3, leap Normal, reference ntp.example"
    )
    assert known(chrony_reading(chrony(system="-0.123456789"))).offset_ns == 123_456_789
    lost = known(chrony_reading(chrony(leap="Not synchronised")))
    assert (lost.synchronised, lost.offset_ns) == (False, None)


@pytest.mark.parametrize(
    "said", ["", "506 Cannot talk to daemon\n", chrony(system="nan"), chrony(delay="1e-5"), ",,,,,,,,,,,,,"]
)
def test_what_chrony_does_not_say_is_unknown(said):
    assert chrony_reading(said) is None


def test_ptp_has_an_offset_and_no_bound():
    good = ptp_reading(PTP.format(offset=-37, present="true", state="SLAVE"))
    assert good == Reading("ptp", -37, None, True, "port SLAVE")
    assert not known(ptp_reading(PTP.format(offset=5, present="true", state="LISTENING"))).synchronised
    assert not known(ptp_reading(PTP.format(offset=5, present="false", state="SLAVE"))).synchronised
    assert ptp_reading("no answer") is None
    assert ptp_clock(37, folder=Path("/nowhere")) is None


def test_the_kernel_is_asked_without_privilege():
    found = kernel_clock()
    assert found is not None
    assert found.reading.source == "kernel"
    assert found.reading.error_bound_ns is not None
    assert found.reading.error_bound_ns >= 0


def test_the_kernels_offset_is_unknown_where_it_is_not_synchronised():
    row = Timex(offset=2_000, status=0x2001, maxerror=90, freq=65536 * 3)
    assert kernel_reading(row, 0).reading[1:4] == (-2_000, 90_000, True)
    assert kernel_reading(row, 0).freq_ppb == 3000
    row.status = 0x0001
    assert kernel_reading(row, 0).reading.offset_ns == -2_000_000, "microseconds without STA_NANO"
    row.status |= 0x0040
    assert kernel_reading(row, 5).reading[1:4] == (None, 90_000, False)


def test_missing_data_is_never_good():
    known = Reading("chrony", 99_000, 100_000, True, "")
    assert reasons(known, 0, 100_000) == ()
    assert reasons(known._replace(offset_ns=-100_001), 0, 100_000) == ("OFFSET",)
    assert reasons(known._replace(error_bound_ns=100_001), 0, 100_000) == ("BOUND",)
    assert reasons(known._replace(error_bound_ns=None), 0, 100_000) == ("NO_BOUND",)
    assert reasons(known, -100_001, 100_000) == ("STEP",)
    assert reasons(Reading("none", None, None, False, ""), 0, 100_000) == ("UNSYNCHRONISED", "NO_OFFSET", "NO_BOUND")


def test_a_step_moves_one_clock_and_slewing_both():
    one = Pair(1_000_000_000_000, 5_000_000_000, 300)
    assert step_between(None, one) == 0
    assert step_between(one, Pair(1_001_000_050_000, 6_000_050_000, 300)) == 0
    assert step_between(one, Pair(1_001_000_001_500, 6_000_000_000, 300)) == 0, "less than reading them can tell"
    assert step_between(one, Pair(1_001_000_150_000, 6_000_000_000, 300)) == 150_000
    assert step_between(one, Pair(998_000_000_000, 6_000_000_000, 300)) == -3_000_000_000
    pair = read_pair()
    assert pair.bracket_ns >= 0


def test_a_sampler_writes_what_a_program_says_and_a_step_is_an_excursion(tmp_path, monkeypatch):
    """A program in the place of chronyc, and a clock that is set by 250 us between two samples."""
    program = tmp_path / "chronyc"
    program.write_text(f"#!/bin/sh\ncat <<'END'\n{chrony(delay='0.000020000')}END\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    found = chrony_clock()
    assert found is not None
    assert found.offset_ns == -106
    pairs = iter(
        [
            Pair(10**18, 10**9, 50),
            Pair(10**18 + 10**9, 2 * 10**9, 50),
            Pair(10**18 + 2 * 10**9 + 250_000, 3 * 10**9, 50),
        ]
    )
    monkeypatch.setattr("replay.watch.clock_sampler.read_pair", lambda: next(pairs))
    sampler = Sampler(tmp_path, RUN, Clock(sources=["ptp", "chrony"]), lambda monotonic_ns: monotonic_ns + 7)
    samples = [sampler.take() for _ in range(3)]
    head = sampler.head
    sampler.close()
    assert [sample.why for sample in samples] == [(), (), ("STEP",)]
    lines = list(rows(tmp_path / CLOCK_FILE, RUN, head))
    assert [line["source"] for line in lines] == ["chrony"] * 3
    assert [line["step_ns"] for line in lines] == [0, 0, 250_000]
    assert [line["within"] for line in lines] == [True, True, False]
    assert [line["clock_ns"] for line in lines] == [10**9 + 7, 2 * 10**9 + 7, 3 * 10**9 + 7]
    assert lines[0]["offset_ns"] == -106
    assert lines[0]["error_bound_ns"] == 106 + 17_795 + 10_000
    assert json.dumps(lines[0])


def test_a_program_that_hangs_is_given_up(tmp_path, monkeypatch):
    program = tmp_path / "chronyc"
    program.write_text("#!/bin/sh\nexec sleep 30\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    monkeypatch.setattr(clock_sources, "PROGRAM_S", 0.1)
    assert chrony_clock() is None
