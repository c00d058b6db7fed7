"""The suite itself: what takes a worker with it ends the run, by name and in time."""

import os
import pathlib
import re
import subprocess
import sys

import machine
import pytest

ROOT = pathlib.Path(__file__).parents[1]
LIMIT = 120  # seconds; it takes 3 to 10
FINE = "import time\ndef test_a(): time.sleep(0.1)\ndef test_b(): time.sleep(0.1)\n"
DEADLY = """
import os, signal, time
def test_before(): pass
def test_deadly(): {}
def test_after(): pass
"""


def run(folder, *options):
  """Runs the tests of a folder as `make test` does, but for its own options."""
  given = re.search(r"-m pytest (-n .*)", (ROOT / "Makefile").read_text())[1].split()
  settings = ["-c", str(ROOT / "pyproject.toml"), f"--rootdir={folder}"]
  environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")}
  return subprocess.run(
    [sys.executable, "-m", "pytest", *given, *settings, *options, str(folder)],
    cwd=folder,
    env=environment,
    capture_output=True,
    text=True,
    timeout=LIMIT,
    check=False,
  )


@pytest.mark.parametrize(
  ("fate", "options"),
  [
    ("os.kill(os.getpid(), signal.SIGSEGV)", ()),
    ("time.sleep(600)", ("-o", "faulthandler_timeout=5")),
  ],
)
def test_a_worker_that_dies_ends_the_suite(fate, options, tmp_path):
  """With several files left: a new worker in its place could leave them undone."""
  (tmp_path / "test_a.py").write_text(DEADLY.format(fate))
  for name in "bcde":
    (tmp_path / f"test_{name}.py").write_text(FINE)
  done = run(tmp_path, *options)
  assert done.returncode == 1, done.stdout + done.stderr
  assert "crashed while running 'test_a.py::test_deadly'" in done.stdout
  assert "FAILED test_a.py::test_deadly" in done.stdout
  assert 'test_a.py", line 4 in test_deadly' in done.stderr  # where it was


def test_the_report_begins_with_processor_and_versions(tmp_path):
  (tmp_path / "test_a.py").write_text(FINE)
  (tmp_path / "conftest.py").write_text(
    f"import sys\nsys.path.append({str(ROOT / 'tests')!r})\n"
    "from machine import header as pytest_report_header\n"
  )
  done = run(tmp_path)
  assert done.returncode == 0, done.stdout + done.stderr
  assert "\n".join(machine.header()) in done.stdout


def test_the_processor_and_what_it_can(tmp_path):
  path = tmp_path / "cpuinfo"
  path.write_text(
    "processor\t: 0\ncpu family\t: 25\nmodel\t\t: 17\nmodel name\t: AMD EPYC\n"
    "flags\t\t: fpu fma avx avx2 avx512f amx_bf16 constant_tsc\n\n"
    "processor\t: 1\nmodel name\t: another\n"
  )
  want = "AMD EPYC (family 25, model 17): amx_bf16 avx avx2 avx512f fma"
  assert machine.processor(path) == want
  path.write_text("processor\t: 0\nBogoMIPS\t: 50.00\n")  # an ARM's has no names
  assert machine.processor(path).endswith(":")
  assert machine.processor(tmp_path / "none")
