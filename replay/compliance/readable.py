"""What can be read in a report, held to a rendering of what was made again: for reports whose bytes may differ.

A report of another build may be laid out otherwise and have other pictures, and is still to say the same: in a page
every word outside its pictures, and its data; of JSON every member; of Parquet every file's columns, cells and
metadata. What a PDF's pages show cannot be taken from them; nothing is said of it here.

Worst case: a page and its data are in memory twice.
"""

from __future__ import annotations

import io
import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, Final

#: Elements whose content is no text of the page.
_APART: Final = ("svg", "style", "script")
#: Attributes that people read, that take a page elsewhere, or that keep something from being seen.
_READ: Final = ("title", "alt", "href", "src", "style", "hidden")


def readable(path: Path, form: str, files: dict[str, bytes]) -> list[str]:
    """Where the report at `path` reads otherwise than `files`, which are its form's; the first place of each file."""
    if form == "pdf":
        return []
    found = []
    for name, data in files.items():
        file = path / name if name else path
        try:
            why = _file(file.read_bytes(), data, name, form)
        except (OSError, ValueError) as error:
            why = f"cannot be read: {error}"
        if why:
            found.append(f"{file}: {why}")
    if form == "parquet":
        found += [f"{file}: should not be there" for file in sorted(path.iterdir()) if file.name not in files]
    return found


def _file(old: bytes, new: bytes, name: str, form: str) -> str:
    """What reads otherwise; empty where nothing does."""
    if name.endswith(".parquet"):
        return _table(old, new)
    if form == "html":
        return _page(old.decode(), new.decode())
    return _data(json.loads(old), json.loads(new))


def _data(old: Any, new: Any) -> str:
    """The first members that differ, those that the format does not know too."""
    if old == new:
        return ""
    if not isinstance(old, dict) or not isinstance(new, dict):
        return "its data are not those of a report"
    names = [name for name in sorted(old.keys() | new.keys()) if old.get(name) != new.get(name)]
    return f"in its data these differ from what was made again: {', '.join(names)}"


def _table(old: bytes, new: bytes) -> str:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        told, made = pq.read_table(io.BytesIO(old)), pq.read_table(io.BytesIO(new))
    except pa.ArrowException as error:
        raise ValueError(str(error)) from error
    if told.schema.metadata != made.schema.metadata or told.column_names != made.column_names:
        return "its columns or what it says of itself differ"
    wrong = [name for name in made.column_names if not told[name].equals(made[name])]
    return f"column {wrong[0]} differs" if wrong else ""


def _page(old: str, new: str) -> str:
    told, made = _Words(), _Words()
    for page, text in ((told, old), (made, new)):
        page.feed(text)
        page.close()
    place = "its beginning"
    for n in range(max(len(told.words), len(made.words))):
        has = told.words[n] if n < len(told.words) else "nothing"
        should = made.words[n] if n < len(made.words) else "nothing"
        if has != should:
            same = next((k for k, (a, b) in enumerate(zip(has, should, strict=False)) if a != b), len(should))
            at = max(same - 20, 0)
            return f"behind {place!r} it says {has[at : at + 60]!r}, and made again {should[at : at + 60]!r}"
        place = has[:60] if has.startswith(("Table ", "Figure ", "From ")) else place
    return _data(told.data(), made.data())


class _Words(HTMLParser):
    """Every word of a page outside its pictures, in order; what it declares, comments and attributes that are read."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.words: list[str] = []
        self._apart: list[str] = []
        self._script: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """An element begins."""
        if tag in _APART:
            self._apart.append(tag)
        elif not self._apart:
            self.words += [f"{name}={value}" for name, value in attrs if name in _READ or name.startswith("on")]

    def handle_endtag(self, tag: str) -> None:
        """An element ends."""
        if self._apart and self._apart[-1] == tag:
            self._apart.pop()

    def handle_data(self, data: str) -> None:
        """Text: a page's, or the report's data."""
        if self._apart[-1:] == ["script"]:
            self._script.append(data)
        elif not self._apart and (text := " ".join(data.split())):
            self.words.append(text)

    def data(self) -> Any:
        """What is in its scripts, as JSON. ValueError where it is none."""
        return json.loads("".join(self._script).replace("<\\/", "</"))
