"""Locks that end with their process, on a folder of records and on a workdir."""

import errno
import fcntl
import os
import signal
import subprocess
import sys

import pytest

from vpn_jax import file_locks

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
HOLD = """
import sys
from vpn_jax import file_locks
with file_locks.FileLock(sys.argv[1], "") as lock:
  lock.hold(range(2, 4))
  print("held", flush=True)
  sys.stdin.read()
"""


def test_another_process_holds_some_bytes_until_it_is_killed(tmp_path):
  process = subprocess.Popen(
    [sys.executable, "-c", HOLD, str(tmp_path)],
    env={**os.environ, "PYTHONPATH": ROOT},
    stdin=subprocess.PIPE,
    stdout=subprocess.PIPE,
  )
  with process, file_locks.FileLock(tmp_path, "it is busy") as lock:
    assert process.stdout.readline() == b"held\n"
    lock.hold(range(0, 2))
    lock.hold(range(0))  # nothing
    with lock.held(range(4, 9)):
      pass
    with pytest.raises(file_locks.Held, match="it is busy"):
      lock.hold(range(3, 5))
    process.send_signal(signal.SIGKILL)
    process.wait()
    with lock.held(range(3, 5), wait=True):
      pass


def test_a_file_system_without_locks(tmp_path, monkeypatch):
  def refuse(*_):
    raise OSError(errno.ENOLCK, "No locks available")

  monkeypatch.setattr(fcntl, "lockf", refuse)
  with file_locks.FileLock(tmp_path, "") as lock:
    lock.hold(range(1))
