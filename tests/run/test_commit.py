"""The commit of a checkout, of a worktree, with packed references, and of no checkout at all."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from engine.run import manifest
from engine.run.commit import commit
from tests.replay.desk import config

GIT = shutil.which("git")


def git(folder, *words):
    name = ["-c", "user.name=a", "-c", "user.email=a@b"]
    done = subprocess.run([str(GIT), *name, *words], cwd=folder, check=True, capture_output=True, text=True, timeout=60)
    return done.stdout.strip()


@pytest.fixture
def house(tmp_path):
    """A repository with two commits."""
    folder = tmp_path / "house"
    folder.mkdir()
    git(folder, "init", "-q", "-b", "main")
    for n in range(2):
        (folder / "a").write_text(str(n))
        git(folder, "add", "a")
        git(folder, "commit", "-q", "-m", str(n))
    return folder


@pytest.mark.skipif(GIT is None, reason="git is not installed")
def test_it_is_what_git_says(house, tmp_path):
    head = git(house, "rev-parse", "HEAD")
    assert commit(house) == head
    git(house, "worktree", "add", "-q", "-b", "side", str(tmp_path / "side"), "HEAD~1")
    assert commit(tmp_path / "side") == git(house, "rev-parse", "HEAD~1")
    git(house, "pack-refs", "--all")
    commit.cache_clear()
    assert commit(house) == head
    git(house, "checkout", "-q", "--detach", "HEAD~1")
    commit.cache_clear()
    assert commit(house) == git(house, "rev-parse", "HEAD")


def test_what_is_no_checkout_has_none(tmp_path):
    assert commit(tmp_path) == ""
    (tmp_path / ".git").mkdir()
    commit.cache_clear()
    (tmp_path / ".git/HEAD").write_text("ref: refs/heads/gone\n")
    assert commit(tmp_path) == ""
    commit.cache_clear()
    (tmp_path / ".git/HEAD").write_bytes(b"\xff\xfe nothing")
    assert commit(tmp_path) == ""


def test_the_manifest_has_commit_and_host():
    run = manifest.make(config(), 1, 0, host={"boot": {"isolcpus": "3"}})
    again = manifest.from_bytes(manifest.to_bytes(run))
    assert (again.commit, again.host) == (commit(), {"boot": {"isolcpus": "3"}})
    assert manifest.make(config(), 1, 0).host == {}
