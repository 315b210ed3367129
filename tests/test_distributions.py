"""What is built for others holds all that the repository holds: nobody gets half a house."""

import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BUILD = "from setuptools import build_meta as b; print(b.build_{kind}({out!r}))"


@pytest.fixture(scope="module")
def tracked():
    if not (ROOT / ".git").exists():
        pytest.skip("this is no checkout: nobody knows which files belong to it")
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True
    )
    return {name for name in listed.stdout.split("\0") if name and (ROOT / name).exists()}


@pytest.fixture(scope="module")
def copy(tracked, tmp_path_factory):
    """Copy the tracked files, so that building leaves nothing in the checkout."""
    folder = tmp_path_factory.mktemp("copy")
    for name in tracked:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    return folder


def built(kind, copy, out):
    code = BUILD.format(kind=kind, out=str(out))
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=copy, check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return out / done.stdout.split()[-1]


def test_the_source_distribution_holds_every_file_of_the_repository(tracked, copy, tmp_path):
    with tarfile.open(built("sdist", copy, tmp_path)) as file:
        names = {name.partition("/")[2] for name in file.getnames()}
    assert tracked - names == set()


def test_the_wheel_holds_every_file_of_the_package(tracked, copy, tmp_path):
    with zipfile.ZipFile(built("wheel", copy, tmp_path)) as file:
        names = set(file.namelist())
    assert {name for name in tracked if name.startswith("hivelearn/")} - names == set()
