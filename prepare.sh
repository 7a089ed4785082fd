#!/usr/bin/env bash
# The one entry of the project: sets it up, runs the course, tests it, gets data. `bash prepare.sh --help` says how.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
venv=$here/.venv
needed_mb=9500 # 8.0 GB installed; beside it the downloads of a part of that, later what the course or the tests write

usage() {
    cat <<'HELP'
Usage: bash prepare.sh [COMMAND]

  (no command)       set up: make .venv and install the exact versions of requirements.lock into it
  run                set up, then run the course's notebooks; ends with a page to open
      --profile P      smoke (does it run?), mini (minutes on a laptop, the default), photos (chapters 01, 02, 03,
                       08 and 09 on Flickr8k, some hours) or full (real data)
      --only 01,02     only these notebooks
  test [OPTION ...]  set up, then the linter and all tests; options go to pytest
  data NAME          set up, then get a data set: flickr8k, flickr30k, coco, vizwiz, deepfashion or personality
      --check          only check the folder that you filled yourself
  lavis              an environment of its own for LAVIS/worker.py: 7 GB, Python 3.10, git
  -h, --help         this text

Needs Python 3.11, 3.12 or 3.13 (PYTHON=/path/to/python chooses one), bash and 9.5 GB of disk.
HELP
}

say() { printf '%s\n' "$*" >&2; }
die() {
    say "prepare.sh: $*"
    exit 1
}

# Print the first Python of a fitting version that runs and can make a virtual environment.
find_python() {
    local candidate version found="" candidates=(python3.13 python3.12 python3.11 python3 python)
    [ -z "${PYTHON:-}" ] || candidates=("$PYTHON")
    for candidate in "${candidates[@]}"; do
        version=$("$candidate" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) || {
            [ -z "${PYTHON:-}" ] || found=", PYTHON=$PYTHON, which does not run"
            continue
        }
        case $version in
            3.11 | 3.12 | 3.13) ;;
            *) found="$found, $candidate is $version" && continue ;;
        esac
        if "$candidate" -c 'import ensurepip, venv' 2>/dev/null; then
            printf '%s\n' "$candidate"
            return
        fi
        die "$candidate is Python $version without its venv module; install it" \
            "(Debian, Ubuntu: sudo apt install python$version-venv), then call again"
    done
    found=${found:-, none that runs}
    die "needs Python 3.11, 3.12 or 3.13, found ${found#, }; install one," \
        "or name it: PYTHON=/path/to/python3.12 bash prepare.sh"
}

# What a finished set-up depends on; a change of any of it means there is something to do.
fingerprint() { printf '%s %s %s\n' "$(cksum <"$here/requirements.lock")" "$(cksum <"$here/pyproject.toml")" "$here"; }

is_ready() {
    [ -f "$venv/ready" ] && [ "$(cat "$venv/ready")" = "$(fingerprint)" ] && "$venv/bin/python" -c '' 2>/dev/null
}

# A set-up that was finished once can be brought up to date; one that was broken off, or moved, is made afresh.
can_update() {
    [ -f "$venv/ready" ] && [[ $(cat "$venv/ready") == *" $here" ]] &&
        "$venv/bin/python" -m pip --version >/dev/null 2>&1
}

# Hold a lock on file descriptor 9 until this script ends, however it ends; a second caller waits.
take_lock() {
    exec 9>>"$here/.venv.lock"
    "$1" - <<'PYTHON'
import fcntl, sys
try:
    fcntl.flock(9, fcntl.LOCK_EX | fcntl.LOCK_NB)
except BlockingIOError:
    print("Another prepare.sh is setting up: waiting for it", file=sys.stderr)
    fcntl.flock(9, fcntl.LOCK_EX)
PYTHON
}

check_disk() {
    local free
    free=$(df -Pm "$here" | awk 'NR == 2 { print $4 }')
    [ "$free" -ge "$needed_mb" ] ||
        die "needs $needed_mb MB of free disk, found $free MB under $here; make room, then call again"
}

# Run pip; when it fails, say in one line why. Its own words are kept in .venv/pip.log.
pip_install() {
    mkdir -p "$venv/tmp"
    TMPDIR=$venv/tmp PYTHONUNBUFFERED=1 "$venv/bin/python" -m pip install --disable-pip-version-check \
        --progress-bar off --no-cache-dir "$@" 2>"$venv/pip.log" | show_progress || explain_pip
    rm -rf "$venv/tmp"
}

# Of pip's many lines keep what tells how far it is.
show_progress() {
    awk '/^ *Downloading .*\([0-9.]+ [MG]B\)/ { sub(/^ *Downloading /, "  "); sub(/-[^ ]* /, " "); print; fflush() }' >&2
}

# Install requirements.lock part by part, so that the disk never holds all downloads beside what is installed of them.
install_lock() {
    local part
    rm -rf "$venv/parts"
    mkdir "$venv/parts"
    split -l 8 "$here/requirements.lock" "$venv/parts/"
    for part in "$venv/parts/"*; do
        pip_install --no-deps -r "$part"
    done
    rm -rf "$venv/parts"
}

explain_pip() {
    local log=$venv/pip.log
    if grep -qE 'No space left|Disk quota' "$log"; then
        die "the disk is full: make $needed_mb MB of room, then call again"
    elif grep -qE 'Retrying|ConnectionError|ConnectTimeout|ReadTimeout|Max retries|ProxyError' "$log"; then
        die "the package index cannot be reached: connect to the net (HTTPS_PROXY and PIP_INDEX_URL are honoured)," \
            "then call again"
    fi
    grep '^ERROR' "$log" >&2 || true
    die "pip could not install requirements.lock: see $log, then call again"
}

set_up() {
    is_ready && return
    local python
    python=$(find_python)
    take_lock "$python"
    is_ready && exec 9>&- && return # another call has done it while this one waited
    if ! can_update; then
        check_disk
        say "Setting up in $venv with $("$python" -V): 8 GB, some minutes"
        "$python" -m venv --clear "$venv" || die "could not make $venv: see above, then call again"
    fi
    rm -f "$venv/ready"
    install_lock
    pip_install --no-deps --no-build-isolation -e "$here"
    fingerprint >"$venv/ready"
    exec 9>&-
}

run_course() {
    local profile=mini only=""
    while [ $# -gt 0 ]; do
        case $1 in
            --profile) profile=${2:-} && shift ;;
            --profile=*) profile=${1#*=} ;;
            --only) only=${2:-} && [ -n "$only" ] && shift || die "--only needs numbers, such as 01,02" ;;
            --only=*) only=${1#*=} ;;
            *) die "run does not know $1; it takes --profile smoke|mini|photos|full and --only 01,02" ;;
        esac
        shift || true
    done
    case $profile in
        smoke | mini | photos | full) ;;
        *) die "the profile is ${profile:-missing}, expected smoke, mini, photos or full" ;;
    esac
    set_up
    export CAPTIONING_PROFILE=$profile
    "$venv/bin/python" -m captioning.course.run --only "$only"
}

run_tests() {
    set_up
    cd "$here"
    "$venv/bin/ruff" check .
    "$venv/bin/ruff" format --check .
    "$venv/bin/python" -m pytest "$@" # ends with 5, an error like any other, when it finds no tests
}

# LAVIS needs old versions of everything, so it lives apart from the course (LAVIS/README.md).
set_up_lavis() {
    local python=${PYTHON:-python3.10} home=$here/LAVIS
    "$python" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 10))' 2>/dev/null ||
        die "LAVIS needs Python 3.10, and $python is none; install it, or name it: PYTHON=/path/to/python3.10"
    command -v git >/dev/null || die "LAVIS is installed from its source repository: install git, then call again"
    [ -x "$home/.venv/bin/python" ] || "$python" -m venv "$home/.venv" || die "could not make $home/.venv: see above"
    "$home/.venv/bin/python" -m pip install --disable-pip-version-check -r "$home/requirements.txt" ||
        die "pip could not install LAVIS/requirements.txt: see above"
    "$home/.venv/bin/python" -m pip install --disable-pip-version-check --no-deps \
        "git+https://github.com/salesforce/LAVIS.git" ||
        die "the source of LAVIS cannot be had: connect to the net, then call again"
    say "Ready: $home/.venv/bin/python $home/worker.py"
}

case ${1:-} in
    "")
        set_up
        say "Ready. Next: bash prepare.sh run"
        ;;
    run) run_course "${@:2}" ;;
    test) run_tests "${@:2}" ;;
    data)
        [ $# -ge 2 ] || die "data needs the name of a data set: see bash prepare.sh --help"
        set_up
        "$venv/bin/python" -m captioning data "${@:2}"
        ;;
    lavis) set_up_lavis ;;
    -h | --help | help) usage ;;
    *) die "there is no command $1; there are: run, test, data NAME, lavis, --help (no command: set up)" ;;
esac
