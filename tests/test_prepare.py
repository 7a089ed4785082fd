"""prepare.sh with stand-ins for Python, pip, ruff and df: nothing is installed here."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from packaging.requirements import Requirement

REPOSITORY = Path(__file__).resolve().parents[1]

FAKE_PYTHON = f"""#!/usr/bin/env bash
echo "$(basename "$0") $*" >>"$CALLS"
case "$*" in
    *version_info*) echo "$VERSION" ;;
    *ensurepip*) exit "$VENV_STATUS" ;;
    "-m venv"*) sleep "$VENV_SECONDS"; mkdir -p "$4/bin"; cp "$0" "$4/bin/python"; cp "$0" "$4/bin/ruff" ;;
    "-m pip install"*)
        [ -z "$PIP_ERROR" ] || {{ echo "$PIP_ERROR" >&2; exit 1; }}
        [ ! -f "${{@: -1}}" ] || cat "${{@: -1}}" >>"$CALLS.installed"
        ;;
    "-m captioning.course.run"*) echo "profile $CAPTIONING_PROFILE" >>"$CALLS"; exit "$COURSE_STATUS" ;;
    "-m pytest"*) exit "$PYTEST_STATUS" ;;
    -) exec "{sys.executable}" - ;;
esac
"""
FAKE_DF = """#!/usr/bin/env bash
printf 'Filesystem 1048576-blocks Used Available Capacity Mounted\\n/dev/disk 99999 0 %s 0%% /\\n' "$FREE_MB"
"""
DEFAULTS = {
    "VERSION": "3.12",
    "VENV_STATUS": "0",
    "VENV_SECONDS": "0",
    "PIP_ERROR": "",
    "FREE_MB": "99999",
    "COURSE_STATUS": "0",
    "PYTEST_STATUS": "0",
}


class Clone:
    """A copy of what prepare.sh needs in a folder with a blank in its name, and the stand-ins on the PATH."""

    def __init__(self, folder):
        self.home, self.tools, self.calls = folder / "a clone", folder / "tools", folder / "calls"
        self.home.mkdir()
        self.tools.mkdir()
        self.calls.touch()
        for name in ("prepare.sh", "pyproject.toml", "requirements.lock"):
            shutil.copy(REPOSITORY / name, self.home)
        for name in ("python3.13", "python3.12", "python3.11", "python3", "python"):
            self.tool(name, FAKE_PYTHON)
        self.tool("df", FAKE_DF)

    def tool(self, name, text):
        (self.tools / name).write_text(text)
        (self.tools / name).chmod(0o755)

    def prepare(self, *arguments, **settings):
        """Call prepare.sh from another folder; returns the finished process."""
        inherited = {name: value for name, value in os.environ.items() if name != "PYTHON"}
        path = f"{self.tools}{os.pathsep}{os.environ['PATH']}"
        environment = inherited | DEFAULTS | {"PATH": path, "CALLS": str(self.calls)} | settings
        command = ["bash", str(self.home / "prepare.sh"), *arguments]
        return subprocess.run(command, env=environment, cwd=self.tools, capture_output=True, text=True, timeout=60)

    def refuses(self, *arguments, **settings):
        """The one line with which a call ended."""
        done = self.prepare(*arguments, **settings)
        lines = [line for line in done.stderr.splitlines() if not line.startswith("Setting up in ")]
        assert done.returncode == 1 and len(lines) == 1, (done.returncode, done.stderr)
        return lines[0]

    def count(self, call):
        return self.calls.read_text().count(call)


@pytest.fixture
def clone(tmp_path):
    return Clone(tmp_path)


@pytest.mark.parametrize("script", ["prepare.sh", ".ci/run"])
def test_is_bash(script):
    subprocess.run(["bash", "-n", str(REPOSITORY / script)], check=True)


def test_help(clone):
    said = clone.prepare("--help")
    assert said.returncode == 0 and not said.stderr
    for word in ("run", "--profile", "--only", "test", "data NAME", "--check"):
        assert word in said.stdout
    assert not clone.calls.read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fly"], "no command fly"),
        (["run", "--profile", "quick"], "the profile is quick, expected smoke, mini, photos or full"),
        (["run", "--profile"], "the profile is missing, expected smoke, mini, photos or full"),
        (["run", "--fast"], "run does not know --fast"),
        (["data"], "data needs the name of a data set"),
    ],
)
def test_what_it_does_not_know_is_refused_before_anything_is_installed(clone, arguments, message):
    assert message in clone.refuses(*arguments)
    assert not clone.calls.read_text()


@pytest.mark.parametrize("version", ["2.7", "3.9", "3.10", "3.14"])
def test_a_wrong_python(clone, version):
    message = clone.refuses(VERSION=version)
    assert f"needs Python 3.11, 3.12 or 3.13, found python3.13 is {version}" in message and "install one" in message


def test_a_named_python_that_does_not_run(clone):
    assert "found PYTHON=/no/python, which does not run" in clone.refuses(PYTHON="/no/python")


def test_a_python_on_the_path_that_does_not_run_is_passed_over(clone):
    clone.tool("python3.13", "#!/usr/bin/env bash\nexit 127\n")
    assert clone.prepare().returncode == 0
    assert clone.count("python3.12 -m venv") == 1


def test_a_named_python_with_a_blank_in_its_path(clone):
    named = clone.home / "my python"
    shutil.copy(clone.tools / "python3", named)
    assert clone.prepare(PYTHON=str(named)).returncode == 0
    assert clone.count("my python -m venv") == 1


def test_no_venv_module(clone):
    message = clone.refuses(VENV_STATUS="1")
    assert "without its venv module" in message and "sudo apt install python3.12-venv" in message


def test_no_disk(clone):
    message = clone.refuses(FREE_MB="500")
    assert "needs 9500 MB of free disk, found 500 MB" in message and str(clone.home) in message
    assert not (clone.home / ".venv").exists()


@pytest.mark.parametrize(
    ("said_by_pip", "message"),
    [
        ("WARNING: Retrying (Retry(total=0)) after connection broken by 'NewConnectionError'", "connect to the net"),
        ("ERROR: Could not install packages due to an OSError: No space left on device", "the disk is full"),
    ],
)
def test_pip_fails(clone, said_by_pip, message):
    assert message in clone.refuses(PIP_ERROR=said_by_pip)


def test_pip_fails_in_its_own_way(clone):
    said = clone.prepare(PIP_ERROR="ERROR: No matching distribution found for torch")
    assert said.returncode == 1
    assert "ERROR: No matching distribution found for torch" in said.stderr and "pip.log" in said.stderr


def test_a_second_call_has_nothing_to_do(clone):
    assert clone.prepare().returncode == 0
    assert clone.count("-m pip install") > 2  # the lock in parts, and the project
    clone.calls.write_text("")
    assert "Ready" in clone.prepare().stderr
    assert clone.calls.read_text() == "python -c \n"  # that the Python of .venv still runs


def test_a_set_up_that_was_broken_off_is_made_afresh(clone):
    clone.refuses(PIP_ERROR="Retrying")
    assert clone.prepare().returncode == 0
    assert clone.count("-m venv --clear") == 2


def test_other_versions_are_installed_into_what_is_there(clone):
    clone.prepare()
    with (clone.home / "requirements.lock").open("a") as lock:
        lock.write("another==1.0\n")
    assert clone.prepare(FREE_MB="500").returncode == 0
    assert clone.count("-m venv --clear") == 1
    assert clone.calls.with_name("calls.installed").read_text().endswith("another==1.0\n")


def test_parts_are_the_whole_lock(clone):
    assert clone.prepare().returncode == 0
    installed = clone.calls.with_name("calls.installed").read_text()
    assert installed == (clone.home / "requirements.lock").read_text()
    assert not (clone.home / ".venv/parts").exists()


def test_a_moved_clone_is_set_up_afresh(clone):
    clone.prepare()
    clone.home = clone.home.rename(clone.home.with_name("moved"))
    assert clone.prepare().returncode == 0
    assert clone.count("-m venv --clear") == 2


def test_of_two_at_once_one_waits_and_has_nothing_to_do(clone):
    with ThreadPoolExecutor(2) as pool:
        both = list(pool.map(lambda _: clone.prepare(VENV_SECONDS="1"), range(2)))
    assert [done.returncode for done in both] == [0, 0]
    assert clone.count("-m venv --clear") == 1
    assert sum("waiting for it" in done.stderr for done in both) == 1


def test_run(clone):
    assert clone.prepare("run", "--profile", "smoke", "--only=01,02").returncode == 0
    assert clone.calls.read_text().endswith("python -m captioning.course.run --only 01,02\nprofile smoke\n")
    assert clone.prepare("run", COURSE_STATUS="1").returncode == 1
    assert clone.count("profile mini") == 1


def test_data(clone):
    assert clone.prepare("data", "flickr8k", "--check").returncode == 0
    assert clone.count("python -m captioning data flickr8k --check") == 1


def test_test_fails_when_there_are_no_tests(clone):
    assert clone.prepare("test").returncode == 0
    assert clone.count("ruff check") == clone.count("ruff format --check") == 1
    no_tests_collected = "5"
    assert clone.prepare("test", PYTEST_STATUS=no_tests_collected).returncode != 0


def test_ci_calls_the_tests():
    assert re.search(r"^exec bash .*prepare\.sh\" test$", (REPOSITORY / ".ci/run").read_text(), re.M)
    assert os.access(REPOSITORY / ".ci/run", os.X_OK)


def test_the_lock_has_exact_versions_of_every_dependency_and_no_addresses():
    lines = (REPOSITORY / "requirements.lock").read_text().splitlines()
    pinned = [Requirement(line) for line in lines if not line.startswith("#")]
    assert all(re.fullmatch(r"==[^*,]+", str(requirement.specifier)) and not requirement.url for requirement in pinned)
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    wanted = project["dependencies"] + project["optional-dependencies"]["course"]
    for requirement in map(Requirement, wanted + project["optional-dependencies"]["dev"]):
        name = requirement.name.lower().replace("_", "-")
        versions = [str(pin.specifier)[2:] for pin in pinned if pin.name == name]
        assert versions and all(requirement.specifier.contains(version) for version in versions), requirement
