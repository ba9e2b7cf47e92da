"""The bytes of a recorded file, block by block, however it is packed: plain, gzip, zstd, xz. By content, not name.

`more(consumed)` drops what the decoder has taken, and gives a window with what is left and the next block: a message
is never cut but at the end of the file. Memory is one block and the largest message, however long the file.

Worst case: a message larger than the window makes it grow, up to `MOST_BYTES`; beyond that the file is refused.
"""

from __future__ import annotations

import gzip
import lzma
import zlib
from pathlib import Path
from typing import IO, Any, Final

import numpy as np
import zstandard

from gateways.feeds.report import FeedError

BLOCK: Final = 1 << 20
MOST_BYTES: Final = 1 << 26
#: Packed bytes that are unpacked at once.
_PACKED: Final = 1 << 15
_MAGICS: Final = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd", b"\xfd7zXZ\x00": "xz"}
_DAMAGE: Final = (EOFError, zlib.error, gzip.BadGzipFile, lzma.LZMAError, zstandard.ZstdError)
_EMPTY: Final = np.zeros(0, dtype=np.uint8)


def packing_of(head: bytes) -> str:
    """`gzip`, `zstd`, `xz`, or "" for plain bytes; skippable zstd frames count as zstd."""
    if len(head) >= 4 and head[1:4] == b"\x2a\x4d\x18" and head[0] & 0xF0 == 0x50:
        return "zstd"
    return next((name for magic, name in _MAGICS.items() if head.startswith(magic)), "")


def head_of(path: str | Path, size: int = 4096) -> bytes:
    """The first bytes of what a file holds, unpacked: for finding out what it is."""
    with Source(path) as source:
        return source.more(0)[:size].tobytes()


class _Zstd:
    """Frames of zstd one after another. The library's own reader takes a cut frame for the end of the file."""

    def __init__(self, raw: IO[bytes]) -> None:
        self._raw, self._left = raw, b""
        self._frame: Any = None

    def read(self, least: int) -> bytes:
        """At least so many bytes, fewer at the end alone; EOFError where it is within a frame."""
        parts, size = [], 0
        while size < least:
            data = self._left or self._raw.read(_PACKED)
            self._left = b""
            if not data:
                if self._frame is not None:
                    raise EOFError("the file ends within a frame")
                break
            if self._frame is None:
                self._frame = zstandard.ZstdDecompressor().decompressobj()
            parts.append(self._frame.decompress(data))
            size += len(parts[-1])
            if self._frame.eof:
                self._left, self._frame = self._frame.unused_data, None
        return b"".join(parts)

    def close(self) -> None:
        """Nothing of its own is open."""


class Source:
    """A file that is being read. FeedError where it cannot be read or its packing is damaged; a context manager."""

    def __init__(self, path: str | Path, block: int = BLOCK) -> None:
        self.path = Path(path)
        self._block = block
        #: Bytes of the file, for a progress bar beside `position`.
        self.size = 0
        #: Bytes of the file that were read, packed as they are.
        self.position = 0
        #: Where the window begins, in bytes as unpacked.
        self.offset = 0
        #: Whether all has been read: what is left in the window is the end.
        self.ended = False
        self._window: np.ndarray[Any, np.dtype[np.uint8]] = _EMPTY
        try:
            self._raw: IO[bytes] = self.path.open("rb")
            self.size = self.path.stat().st_size
            self.packing = packing_of(self._raw.read(8))
            self._raw.seek(0)
        except OSError as error:
            raise FeedError(path, 0, "", f"cannot be read: {error.strerror}", "check the path") from error
        self._file: Any = self._raw
        if self.packing == "gzip":
            self._file = gzip.GzipFile(fileobj=self._raw)
        elif self.packing == "xz":
            self._file = lzma.LZMAFile(self._raw)  # noqa: SIM115  closed by `close`
        elif self.packing == "zstd":
            self._file = _Zstd(self._raw)

    def more(self, consumed: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
        """Drop the first `consumed` bytes of the last window; a uint8 window that begins with what was left.

        It is longer than that, unless `ended`. Views of the last window stay good.
        """
        left = self._window[consumed:]
        self.offset += consumed
        if left.size > MOST_BYTES:
            raise self.wrong(0, "", f"a message is longer than {MOST_BYTES} bytes", "name the right file")
        try:
            data = self._file.read(max(self._block, left.size))
        except _DAMAGE as error:
            at = left.size
            raise self.wrong(
                at, "", f"the {self.packing} data are damaged or cut: {error}", "fetch it again"
            ) from error
        except OSError as error:
            raise self.wrong(left.size, "", f"cannot be read: {error}", "check the disk") from error
        self.ended, self.position = not data, self._raw.tell()
        block = np.frombuffer(data, dtype=np.uint8)
        self._window = np.concatenate((left, block)) if left.size else block
        return self._window

    def wrong(self, at: int, value: str, why: str, remedy: str) -> FeedError:
        """The error of what is wrong at byte `at` of the window; it names the place as unpacked, and the file's own."""
        packed = self._raw.tell() if self.packing and not self._raw.closed else -1
        return FeedError(self.path, 0, value, why, remedy, offset=self.offset + at, packed=packed)

    def close(self) -> None:
        """Close the file. Twice is once."""
        self._file.close()
        self._raw.close()

    def __enter__(self) -> Source:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
