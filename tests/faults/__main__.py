"""Makes faults happen while commands run, and prints a table of what was tried and what held.

python tests/faults            all of it, some minutes
python tests/faults --short    each once, about a minute
python tests/faults --only killed --seed 7
"""

import argparse
import random
import sys
import tempfile
import time
import traceback
from pathlib import Path

import pages
import stage
import trials
from rich.console import Console
from rich.table import Table

TRIALS = {  # how often each is tried; once in the short form
    trials.server_goes_away: 10,
    trials.killed_captioning: 30,
    trials.killed_training: 20,
    trials.killed_rebuild: 10,
    trials.killed_archives: 5,
    trials.killed_between_two_renames: 1,
    trials.signals_while_captioning: 40,
    trials.signals_while_training: 40,
    trials.two_captionings: 3,
    trials.two_rebuilds: 3,
    trials.two_trainings: 3,
    trials.lock_of_a_killed_one: 5,
    trials.full_while_captioning: 10,
    trials.full_while_scoring: 1,
    trials.full_while_evaluating: 1,
    trials.full_while_training: 10,
    trials.full_while_rebuilding: 10,
    trials.full_while_packing: 5,
    trials.small_file_system: 1,
    trials.closed_folder: 1,
    trials.other_users: 1,
    trials.cut_archives: 1,
    trials.odd_names: 1,
    pages.page_shows_its_examples_only: 1,
    pages.page_of_many_visitors: 1,
    pages.page_with_a_password: 1,
    pages.page_that_is_ended: 3,
}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--short", action="store_true")
    options.add_argument("--only", default="", help="part of a name")
    options.add_argument("--seed", type=int, default=0)
    chosen = options.parse_args()
    table, failed, begun = Table("fault", "tried", "held", "seconds"), 0, time.monotonic()
    with tempfile.TemporaryDirectory(prefix="faults-", ignore_cleanup_errors=True) as place:
        made = stage.build(Path(place))
        for trial, times in TRIALS.items():
            name = trial.__name__.replace("_", " ")
            if chosen.only.replace("_", " ") in name:
                times = 1 if chosen.short else times
                started = time.monotonic()
                held = sum(holds(trial, made, chosen.seed + number) for number in range(times))
                failed += times - held
                table.add_row(name, str(times), str(held), f"{time.monotonic() - started:.0f}")
                print(f"{name}: {held} of {times}", file=sys.stderr, flush=True)
    table.caption = f"{time.monotonic() - begun:.0f} seconds"
    Console().print(table)
    sys.exit(f"not held: {failed}" if failed else 0)


def holds(trial, made: stage.Stage, seed: int) -> bool:
    try:
        trial(made, random.Random(seed))
    except Exception:  # whatever went wrong, the others are tried too
        print(f"{trial.__name__}, seed {seed}:\n{traceback.format_exc()}", file=sys.stderr, flush=True)
        return False
    return True


if __name__ == "__main__":
    main()
