"""The command line: fast, lazily loaded, and never a traceback."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import time

import pytest

from cli import main as cli

PLANTED = ("fine", "wrong_use", "bad_config", "no_file", "a_bug", "interrupted", "app")


@pytest.fixture
def planted(monkeypatch):
    rows = {
        name: cli.Command(f"tests.cli.planted:{name}", f"planted {name}", ((f"x {name}", "so"),)) for name in PLANTED
    }
    monkeypatch.setattr(cli, "COMMANDS", cli.COMMANDS | rows)
    monkeypatch.delenv(cli.DEBUG, raising=False)


def in_python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)


def test_every_command_exists_and_has_an_example():
    for name, row in cli.COMMANDS.items():
        module, _, attribute = row.target.partition(":")
        assert getattr(importlib.import_module(module), attribute).__doc__, name
        assert row.examples, name
        assert all(line.startswith(f"tickroute {name}") for line, _ in row.examples), name


def test_help_is_fast_and_imports_nothing_heavy():
    times = []
    for _ in range(3):
        begin = time.perf_counter()
        done = in_python(
            "import cli.main, sys; cli.main.main(['--help']); print('numba' in sys.modules, 'typer' in sys.modules)"
        )
        times.append(time.perf_counter() - begin)
        assert done.returncode == 0
        assert done.stdout.splitlines()[-1] == "False False"
    assert min(times) < 0.5


@pytest.mark.parametrize("name", list(cli.COMMANDS))
def test_help_of_each_command_needs_no_kernels(name):
    done = in_python(f"import cli.main, sys; cli.main.main('{name} --help'.split()); print('numba' in sys.modules)")
    assert done.stdout.splitlines()[-1] == "False"
    assert "Usage: tickroute" in done.stdout


def test_overview_lists_every_command(capsys):
    assert cli.main(["--help"]) == 0
    text = capsys.readouterr().out
    for name, row in cli.COMMANDS.items():
        assert name in text
        assert row.summary in text
    assert max(map(len, text.splitlines())) <= 110
    assert cli.main([]) == 2


def test_version(capsys):
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("tickroute ")


def test_help_shows_tables_of_the_configuration_in_their_brackets(capsys):
    for name, said in (("backtest", "[backtest] table"), ("venues", "[simulation]"), ("venues", "[[feed]]")):
        assert cli.main([name, "--help"]) == 0
        assert said in " ".join(capsys.readouterr().out.replace("│", " ").split())


@pytest.mark.parametrize(("typed", "said"), [("doctr", "did you mean tickroute doctor?"), ("xyz", "--help lists")])
def test_unknown_command(typed, said, capsys):
    assert cli.main([typed]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.usefixtures("planted")
class TestPlanted:
    def test_fine(self, capsys):
        assert cli.main(["fine", "--word", "hello"]) == 0
        assert capsys.readouterr().out == "hello\n"
        assert cli.main(["fine", "--fail"]) == 3

    def test_help_joins_lines_and_shows_examples(self, capsys):
        assert cli.main(["fine", "-h"]) == 0
        text = capsys.readouterr().out
        assert "Another paragraph." in text
        assert "x fine   # so" in text

    def test_wrong_option(self, capsys):
        assert cli.main(["fine", "--wrod", "x"]) == 2
        assert "No such option" in capsys.readouterr().err

    def test_wrong_use(self, capsys):
        assert cli.main(["wrong_use"]) == 2
        assert capsys.readouterr().err == "error: speed = -1: must be above 0\n"

    def test_bad_config(self, capsys, tmp_path):
        path = tmp_path / "bad.toml"
        path.write_text("[engine]\ncor = 1\n", encoding="ascii")
        assert cli.main(["bad_config", str(path)]) == 2
        text = capsys.readouterr().err
        assert f"{path}:2: engine.cor: unknown key; did you mean engine.core?" in text
        assert "Traceback" not in text

    def test_no_file(self, capsys):
        assert cli.main(["no_file"]) == 1
        assert capsys.readouterr().err == "error: /nonexistent/file: No such file or directory\n"

    def test_a_bug_is_a_line_with_its_place(self, capsys, monkeypatch):
        assert cli.main(["a_bug"]) == 1
        text = capsys.readouterr().err
        assert "unexpected ZeroDivisionError" in text
        assert "planted.py:" in text
        assert len(text.splitlines()) == 1
        monkeypatch.setenv(cli.DEBUG, "1")
        with pytest.raises(ZeroDivisionError):
            cli.main(["a_bug"])

    def test_interrupted(self, capsys):
        assert cli.main(["interrupted"]) == 130
        assert "Traceback" not in capsys.readouterr().err

    def test_app_with_subcommands(self, capsys):
        assert cli.main(["app", "two"]) == 0
        assert capsys.readouterr().out == "two\n"


def test_a_closed_pipe_is_no_traceback():
    """`tickroute --help | head -0`: the reader has gone before the first byte."""
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "wb") as out:
        code = "import sys, cli.main; sys.exit(cli.main.main(['doctor', '--seconds', '0']))"
        done = subprocess.run([sys.executable, "-c", code], stdout=out, stderr=subprocess.PIPE, timeout=60, check=False)
    assert b"Traceback" not in done.stderr
    assert done.returncode in (0, 1)


WRITERS = [
    ["perf", "core", "--json"],
    ["verify", "nowhere", "--json"],
    ["report", "nowhere", "--html"],
    ["explain", "nowhere", "1", "--html"],
    ["machine", "sweep", "--diagram"],
    ["simulate", "--seeds", "1", "--keep"],
    ["run", "nowhere.toml", "--json"],
]


@pytest.mark.parametrize("arguments", WRITERS, ids=lambda row: f"{row[0]} {row[-1]}")
def test_a_file_that_cannot_be_written_is_refused_before_the_work(arguments, capsys, tmp_path):
    (tmp_path / "file").touch()
    began = time.perf_counter()
    for target, why in ((tmp_path / "file" / "x.svg", "cannot be written"), (tmp_path, "is a directory")):
        assert cli.main([*arguments, str(target)]) == 2
        assert capsys.readouterr().err.startswith(f"error: {target}: {why}")
    assert time.perf_counter() - began < 5


def test_the_folder_of_an_output_file_is_made(tmp_path):
    target = tmp_path / "new" / "place" / "found.json"
    assert cli.main(["perf", "--list", "--json", str(target)]) == 0
    assert target.read_bytes().startswith(b"{")
    assert [path.name for path in target.parent.iterdir()] == ["found.json"]
