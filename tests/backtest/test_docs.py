"""The page on backtests: its columns are those of the tables, its settings those of the file, its example runs."""

from __future__ import annotations

import ast
import inspect
import re
import tomllib
from pathlib import Path

import msgspec

from replay import backtest
from replay.backtest.schemas import SCHEMAS
from replay.backtest.settings import Backtest, FeedFile, load
from replay.sweep.table import COLUMNS

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGE = (DOCS / "backtest.md").read_text(encoding="utf-8")


def test_every_column_is_on_the_page():
    for name, schema in SCHEMAS.items():
        section = PAGE.partition(f"### {name}\n")[2].partition("\n#")[0]
        told = re.findall(r"^\| (\w+) \| (\S[^|]*?) \| (.*) \|$", section, re.MULTILINE)
        assert [(column, doc) for column, _, doc in told] == [
            (field.name, field.metadata[b"doc"].decode()) for field in schema
        ], name


def _table(name):
    return PAGE.partition(f"| `{name}` |")[2].partition("\n\n")[0]


def test_every_setting_is_on_the_page_and_in_the_example():
    names = {field.encode_name for field in msgspec.structs.fields(Backtest)}
    of_file = {field.encode_name for field in msgspec.structs.fields(FeedFile)}
    assert set(re.findall(r"^\| `(\w+)` \|", _table("[[backtest.feed]]"), re.MULTILINE)) == of_file
    table = _table("[backtest]")
    assert set(re.findall(r"`(\w+)`", table.replace("tickroute send", ""))) >= names
    example = tomllib.loads((DOCS / "backtest.toml").read_text(encoding="utf-8"))
    assert set(example["backtest"]) == names - {"parents", "feed"}
    assert load(DOCS / "backtest.toml").backtest.orders == 500


def test_links_of_the_page_are_there():
    for link in re.findall(r"\]\(([^)#]+)", PAGE):
        assert (DOCS / link).exists(), link


def test_the_columns_of_a_sweep_are_on_the_page():
    section = PAGE.partition("### sweep\n")[2].partition("\n#")[0]
    told = re.findall(r"^\| (\w+) \| (\S[^|]*?) \| (.*) \|$", section, re.MULTILINE)
    assert [(column, doc) for column, _, doc in told if column != "column"] == [(name, doc) for name, _, doc in COLUMNS]


def test_the_example_in_python_is_what_there_is():
    """Its calls fit the functions that they name."""
    code = PAGE.partition("```python\n")[2].partition("```")[0]
    calls = [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Call)]
    made = [(node.func.attr, node) for node in calls if isinstance(node.func, ast.Attribute)]
    ours = [(name, node) for name, node in made if ast.unparse(node.func) == f"backtest.{name}"]
    assert {name for name, _ in ours} == {"run", "read", "compare", "sweep"}
    for name, node in ours:
        function = inspect.signature(getattr(backtest, name))
        function.bind(*node.args, **{str(word.arg): word.value for word in node.keywords})
