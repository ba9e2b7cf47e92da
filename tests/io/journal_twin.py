"""The journal's format once more, in plain Python over bytes: writes and reads what the kernels write and read."""

from __future__ import annotations

import struct
from typing import NamedTuple

from engine.io.twins import crc32c_bytes

HEADER = struct.Struct("<8siiqqII16sII")
FRAME = struct.Struct("<iIqIBBHq")
MANIFEST, INPUT, OUTPUT, OBSERVATION, PAD = 1, 2, 3, 4, 5


class Frame(NamedTuple):
    """A frame's header fields that callers choose or see, and its payload."""

    seq: int
    kind: int
    flags: int
    batch_index: int
    input_seq: int
    payload: bytes


class JournalTwin:
    """Builds the segments of a journal, as bytes, from the same calls that `append` takes."""

    def __init__(self, segment_bytes: int, run_id: bytes, manifest: bytes) -> None:
        self.size = segment_bytes
        self.run_id = run_id
        self.segments: list[bytearray] = []
        self.seq = 0
        self.crc = 0
        self._begin()
        self.append(MANIFEST, 1, 0, -1, manifest)

    def _begin(self) -> None:
        fields = (1, len(self.segments), self.size, self.seq, self.crc)
        checked = HEADER.pack(b"TICKJRNL", *fields, 0, self.run_id, 0, 0)
        header_crc = crc32c_bytes(crc32c_bytes(0, checked[8:36]), checked[40:56])
        self.segments.append(bytearray(HEADER.pack(b"TICKJRNL", *fields, header_crc, self.run_id, 0, 0)))

    def _end(self, end: int) -> None:
        segment = self.segments[-1]
        header_crc = HEADER.unpack_from(segment)[6]
        struct.pack_into("<II", segment, 56, end, crc32c_bytes(header_crc, struct.pack("<Q", end)))

    def append(self, kind: int, flags: int, batch_index: int, input_seq: int, payload: bytes) -> int:
        span = (len(payload) + 32 + 31) // 32 * 32
        if len(self.segments[-1]) + span > self.size:
            rest = self.size - len(self.segments[-1])
            if rest:
                self._write(PAD, 0, 0, -1, bytes(rest - 32))
            self._end(self.size | 2)
            self._begin()
        return self._write(kind, flags, batch_index, input_seq, payload)

    def _write(self, kind: int, flags: int, batch_index: int, input_seq: int, payload: bytes) -> int:
        length = len(payload) + 32
        tail = struct.pack("<qIBBHq", self.seq, self.crc, kind, flags, batch_index, input_seq) + payload
        crc = crc32c_bytes(0, struct.pack("<iI", length, len(self.segments) - 1) + tail)
        self.segments[-1] += struct.pack("<iI", length, crc) + tail + bytes(-length % 32)
        self.crc = crc
        self.seq += 1
        return self.seq - 1

    def files(self, *, closed: bool) -> list[bytes]:
        """The segment files, at their full size."""
        if closed:
            self._end(len(self.segments[-1]) | 1)
        return [bytes(segment.ljust(self.size, b"\0")) for segment in self.segments]


def parse(files: list[bytes]) -> list[Frame]:
    """All frames of a journal without damage, pads too; AssertionError at anything that is not as it should be."""
    frames: list[Frame] = []
    crc = 0
    for number, data in enumerate(files):
        magic, version, segment, size, first_seq, before, header_crc, _, end, end_crc = HEADER.unpack_from(data)
        assert (magic, version, segment, size) == (b"TICKJRNL", 1, number, len(data))
        assert (first_seq, before) == (len(frames), crc)
        assert header_crc == crc32c_bytes(crc32c_bytes(0, data[8:36]), data[40:56])
        offset = HEADER.size
        while offset < size and data[offset : offset + 4] != bytes(4):
            length, frame_crc, seq, before, kind, flags, index, cause = FRAME.unpack_from(data, offset)
            assert (seq, before) == (len(frames), crc)
            body = data[offset + 8 : offset + length]
            crc = crc32c_bytes(0, struct.pack("<iI", length, number) + body)
            assert crc == frame_crc
            frames.append(Frame(seq, kind, flags, index, cause, body[24:]))
            offset += (length + 31) // 32 * 32
        assert not any(data[offset:])
        assert end == 0 or end_crc == crc32c_bytes(header_crc, struct.pack("<Q", end))
        assert end in (0, offset | (1 if number == len(files) - 1 else 2))
    return frames
