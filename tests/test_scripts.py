"""The batch jobs: what they start, on stand-ins for the queue's programs and for accelerate."""

import os
import shlex
import signal
import subprocess
import time
from pathlib import Path

import pytest

from conftest import write_program

SCRIPTS = Path(__file__).resolve().parents[1] / "scripts"
SAY = """
import os, sys, time
with open(os.environ["SAID"], "a") as file:
    file.write(repr([os.path.basename(sys.argv[0]), *sys.argv[1:]]) + "\\n")
"""
SLURM = {"SLURM_JOB_ID": "7", "SLURM_JOB_NODELIST": "n[1-2]", "SLURM_NODEID": "0", "SLURM_CPUS_PER_TASK": "2"}
ARGS = "train blip --lora --run 'output/a b'"


@pytest.fixture
def place(tmp_path):
    """A repository whose accelerate only notes how it was called, and a queue of stand-ins."""
    programs = tmp_path / "bin"
    programs.mkdir()
    (tmp_path / "repo" / ".venv" / "bin").mkdir(parents=True)
    write_program(tmp_path / "repo" / ".venv" / "bin" / "accelerate", SAY + "time.sleep(float(os.environ['WORK']))")
    write_program(programs / "scontrol", SAY + "print('n1\\nn2') if sys.argv[1] == 'show' else None")
    write_program(programs / "srun", "import os, sys\nos.execvp(sys.argv[2], sys.argv[2:])")
    write_program(programs / "qrsh", SAY + "import subprocess\nsys.exit(subprocess.call(sys.argv[3:]))")
    return tmp_path


def environment(place, work=0, **more):
    kept = {"PATH": f"{place / 'bin'}:{os.environ['PATH']}", "SAID": str(place / "said"), "WORK": str(work)}
    return kept | {"CAPTIONING_REPOSITORY": str(place / "repo"), "CAPTIONING_ARGS": ARGS} | more


def calls(place, program="accelerate.py"):
    found = [eval(line) for line in (place / "said").read_text().splitlines()]
    return [words[1:] for words in found if words[0] == program]


def options(words):
    """The options of accelerate launch, and what it is to run."""
    cut = words.index("-m")
    flags = {w: words[i + 1] for i, w in enumerate(words[:cut]) if w.startswith("--") and w != "--multi_gpu"}
    return flags | {"--multi_gpu": "--multi_gpu" in words}, words[cut:]


RUN = ["-m", "captioning", *shlex.split(ARGS)]


@pytest.mark.parametrize(("nodes", "gpus"), [(1, 1), (1, 4), (2, 8)])
def test_slurm_launches_as_many_processes_as_there_are_gpus(place, nodes, gpus):
    numbers = {"SLURM_JOB_NUM_NODES": str(nodes), "SLURM_GPUS_ON_NODE": str(gpus)}
    subprocess.run(["bash", SCRIPTS / "train.slurm"], env=environment(place, **SLURM, **numbers), check=True)
    [words] = calls(place)
    flags, what = options(words)
    assert what == RUN and words[0] == "launch"
    assert flags["--num_processes"] == str(nodes * gpus) and flags["--num_machines"] == str(nodes)
    assert flags["--main_process_ip"] == "n1" and flags["--multi_gpu"] == (nodes * gpus > 1)


def test_slurm_goes_back_into_the_queue_when_its_time_is_over(place):
    names = environment(place, 20, **SLURM, SLURM_JOB_NUM_NODES="1", SLURM_GPUS_ON_NODE="1")
    job = subprocess.Popen(["bash", SCRIPTS / "train.slurm"], env=names, start_new_session=True)
    wait_for(lambda: (place / "said").exists() and calls(place))
    job.send_signal(signal.SIGUSR1)
    assert job.wait(10) == 0
    assert ["requeue", "7"] in calls(place, "scontrol.py")


@pytest.mark.parametrize("gpus", ["0", "0,1,2"])
def test_grid_engine_takes_the_gpus_it_was_given(place, gpus):
    names = environment(place, JOB_ID="3", CUDA_VISIBLE_DEVICES=gpus)
    subprocess.run(["bash", SCRIPTS / "train.sge"], env=names, check=True)
    [words] = calls(place)
    flags, what = options(words)
    assert what == RUN and flags["--num_processes"] == str(len(gpus.split(",")))


def test_grid_engine_starts_a_launcher_on_each_host(place):
    (place / "hosts").write_text("h1 1 all.q\nh2 1 all.q\n")
    names = environment(place, JOB_ID="3", GPUS="2", PE_HOSTFILE=str(place / "hosts"))
    subprocess.run(["bash", SCRIPTS / "train.sge"], env=names, check=True)
    found = [options(words) for words in calls(place)]
    assert {flags["--machine_rank"] for flags, _ in found} == {"0", "1"}
    assert all(what == RUN and flags["--num_processes"] == "4" for flags, what in found)
    assert sorted(words[1] for words in calls(place, "qrsh.py")) == ["h1", "h2"]


def test_grid_engine_goes_back_into_the_queue_when_its_time_is_over(place):
    job = subprocess.Popen(
        ["bash", SCRIPTS / "train.sge"], env=environment(place, 20, JOB_ID="3"), start_new_session=True
    )
    wait_for(lambda: (place / "said").exists() and calls(place))
    job.send_signal(signal.SIGUSR2)
    assert job.wait(10) == 99


@pytest.mark.parametrize("script", ["train.slurm", "train.sge"])
def test_without_arguments_it_says_what_is_missing(place, script):
    names = environment(place, **SLURM, JOB_ID="3", SLURM_JOB_NUM_NODES="1")
    del names["CAPTIONING_ARGS"]
    found = subprocess.run(["bash", SCRIPTS / script], env=names, capture_output=True, text=True, check=False)
    assert found.returncode != 0 and "what to run" in found.stderr


def wait_for(there, seconds=15):
    end = time.monotonic() + seconds
    while not there():
        assert time.monotonic() < end
        time.sleep(0.05)
