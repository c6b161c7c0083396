"""Functions in copies of a process, when that process is killed."""

import subprocess
import sys

import psutil

from tests.polling import until

SLEEPING = """
import os, time
from gradebook.pipelines.process.forks import map_in_forks

def sleep(_):
    print(os.getpid(), flush=True)
    time.sleep(600)

map_in_forks(sleep, [1])
"""


def test_a_copy_ends_with_the_process_that_started_it_even_if_that_is_killed():
    parent = subprocess.Popen([sys.executable, "-c", SLEEPING], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    copy = psutil.Process(int(parent.stdout.readline()))
    parent.kill()
    parent.wait()
    until(lambda: has_ended(copy))


def has_ended(process: psutil.Process) -> bool:
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
