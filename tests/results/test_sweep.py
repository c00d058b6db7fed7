"""The processes that share the runs of a sweep, and the job."""

import pathlib
import subprocess
import sys
import time

import pytest

from configs import synthetic
from vpn_jax.jobs import sweep as sweep_job
from vpn_jax.results import sweep, sweep_plan
from vpn_jax.training import run_summary

# Replaces launch.py: records its start, fails on demand, leaves a summary.
PROGRAM = """
import os, pathlib, sys, time
words = dict(w.partition("=")[::2] for w in sys.argv[1:])
folder = pathlib.Path(words["--workdir"])
with open(folder.parents[3] / "started", "a") as f:
  f.write(str(folder) + "\\n")
needs = [words.get("--config.init.backbone"), words.get("--config.init.pose_backbone")]
for need in ",".join(filter(None, needs)).split(","):
  assert not need or pathlib.Path(need, "summary.json").exists(), need
if words.get("--config.fail") in folder.parts:
  raise SystemExit("asked to fail")
time.sleep(0.05)
(folder / "summary.json").write_text("{}")
"""


def planned(folder, rows, **settings):
  settings = {"protocols": ("cs", "cv"), "seeds": (0,), **settings}
  return sweep_plan.plan("configs/synthetic.py:cs", str(folder), rows=rows, **settings)


@pytest.fixture
def program(tmp_path):
  (tmp_path / "program.py").write_text(PROGRAM)
  return {"program": (sys.executable, str(tmp_path / "program.py")), "wait": 0.05}


def started(folder):
  path = folder / "started"
  return path.read_text().splitlines() if path.exists() else []


def test_finished_runs_are_not_repeated(tmp_path, program):
  runs = planned(tmp_path, ("VPN", "VPN, LSTM"))
  assert sweep.work(runs, **program) == []
  assert sorted(started(tmp_path)) == sorted(r.workdir for r in runs)
  (pathlib.Path(runs[0].workdir) / "summary.json").unlink()
  assert sweep.work(runs, **program) == []
  assert started(tmp_path)[len(runs) :] == [runs[0].workdir]


def test_several_workers_share_the_runs(tmp_path, program):
  """Two processes of two lanes each: every run is started once."""
  runs = planned(tmp_path, ("VPN", "VPN, LSTM", "VPN, kl_bi"), seeds=(0, 1))
  with subprocess.Popen([sys.executable, "-c", WORKER, str(tmp_path)]) as other:
    assert sweep.work(runs, parallel=2, **program) == []
    assert other.wait() == 0
  assert all(r.done() for r in runs)
  assert sorted(started(tmp_path)) == sorted(r.workdir for r in runs)


WORKER = """
import sys, pathlib
from vpn_jax.results import sweep, sweep_plan
from vpn_jax.training import run_summary
folder = sys.argv[1]
runs = sweep_plan.plan("configs/synthetic.py:cs", folder, protocols=("cs", "cv"),
                  rows=("VPN", "VPN, LSTM", "VPN, kl_bi"), seeds=(0, 1))
program = (sys.executable, str(pathlib.Path(folder) / "program.py"))
assert not sweep.work(runs, parallel=2, wait=0.05, program=program)
"""


def test_a_failed_run_stops_only_its_dependents(tmp_path, program):
  flags = ("--config.fail=i3d",)
  runs = planned(tmp_path, ("VPN", "pose alone"), protocols=("cs",), flags=flags)
  lines = []
  failed = sweep.work(runs, say=lines.append, **program)
  assert failed == [str(tmp_path / "synthetic/cs/i3d/seed0")]
  first, second = lines
  assert first.startswith(f"{failed[0]}: failed with 1, see {failed[0]}/log, 0.0 min; ")
  assert second.endswith("pose/seed0: done, 0.0 min; 2 left")
  assert [pathlib.Path(r.workdir).parent.name for r in runs if r.done()] == ["pose"]
  assert "asked to fail" in (pathlib.Path(failed[0]) / "log").read_text()
  assert len(started(tmp_path)) == 2


def test_a_run_without_a_result_is_not_repeated_forever(tmp_path):
  """As of records without test clips, which leave no summary."""
  runs, lines = planned(tmp_path, ("I3D",), protocols=("cs",)), []
  found = sweep.work(runs, program=("true",), wait=0.05, say=lines.append)
  assert found == [runs[0].workdir]
  assert len(lines) == 1
  assert "it ended without a result" in lines[0]


def test_a_signal_stops_the_runs_under_way(tmp_path):
  """The sweep forwards it, waits, and starts no other run."""
  (tmp_path / "program.py").write_text(SLOW)
  with subprocess.Popen([sys.executable, "-c", WORKER, str(tmp_path)]) as worker:
    while len(started(tmp_path)) < 2:
      assert worker.poll() is None
      time.sleep(0.02)
    worker.terminate()
    assert worker.wait() == 1  # of the exception, which this worker does not catch
  assert len(started(tmp_path)) == 2
  assert len(list(tmp_path.rglob("saved"))) == 2


SLOW = """
import pathlib, signal, sys, time
def stop(*_):
  (workdir / "saved").touch()
  sys.exit(75)
signal.signal(signal.SIGTERM, stop)
workdir = pathlib.Path([w for w in sys.argv if w.startswith("--workdir=")][0][10:])
with (pathlib.Path(__file__).parent / "started").open("a") as f:
  f.write(f"{workdir}\\n")
time.sleep(60)
"""


def test_the_job_writes_its_commands(tmp_path, monkeypatch, capsys):
  config = synthetic.get_config("cs")
  config.sweep.update(tables="1", seeds="0", dry_run=True)
  words = ["--config=configs/synthetic.py:cs", "--config.sweep.tables=1"]
  monkeypatch.setattr(sys, "argv", ["launch.py", *words, "--config.train.steps=7"])
  sweep_job.run(config, str(tmp_path))
  script = (tmp_path / sweep_job.SCRIPT_FILE).read_text().splitlines()
  assert script[0] == "# 5 runs, dependencies first"
  assert all(line.endswith("--config.train.steps=7") for line in script[1:])
  assert "sweep.tables" not in script[1]
  printed = capsys.readouterr().out
  assert [line for line in printed.splitlines() if line.startswith("to do")] == [
    f"to do {line}" for line in script[1:]
  ]


def test_a_fusion_among_the_rows_brings_its_parts(tmp_path, monkeypatch):
  config = synthetic.get_config("cs")
  config.sweep.update(rows="pose alone, ST-GCN++, four streams", seeds="0,1")
  words = ["launch.py", "--config=configs/synthetic.py:cs"]
  monkeypatch.setattr(sys, "argv", words)
  fused, folder = [], tmp_path / "synthetic" / "cs"

  def finish(runs, parallel, **_):
    assert parallel == 1
    for r in runs:
      path = pathlib.Path(r.workdir, run_summary.SUMMARY_FILE)
      path.parent.mkdir(parents=True)
      path.write_text("{}")
    return []

  monkeypatch.setattr(sweep, "work", finish)
  monkeypatch.setattr(sweep_job.tables_job, "run", lambda *_: None)
  monkeypatch.setattr(sweep_job.fuse, "fuse_runs", lambda g, **_: fused.append(g))
  sweep_job.run(config, str(tmp_path))
  names = ["", "_stream-bone", "_stream-joint_motion", "_stream-bone_motion"]
  assert fused == [
    [str(folder / f"pose_pose_backbone-stgcn{name}" / f"seed{seed}") for name in names]
    for seed in (0, 1)
  ]
  script = (tmp_path / sweep_job.SCRIPT_FILE).read_text().splitlines()
  assert script[0] == "# 8 runs, dependencies first"
  assert ":cs,model=pose,pose_backbone=stgcn,stream=bone_motion " in script[4]


def test_messages(tmp_path, monkeypatch):
  config = synthetic.get_config("cs")
  with pytest.raises(ValueError, match="--workdir is empty"):
    sweep_job.run(config, "")
  with pytest.raises(ValueError, match="expected a name without commas"):
    sweep_job.run(config, str(tmp_path / "a,b"))
  config.sweep.tables = "1,8"
  with pytest.raises(ValueError, match=r"tables '1,8' and seeds '0,1,2', expected"):
    sweep_job.run(config, str(tmp_path))
  config.sweep.update(tables="1", seeds="0", protocols="cs")
  words = ["launch.py", "--config=configs/synthetic.py:cs", "--config.fail=i3d"]
  monkeypatch.setattr(sys, "argv", [*words, "-config.seed", "5"])
  with pytest.raises(ValueError, match=r"--config\.seed=5 would be that of every run"):
    sweep_job.run(config, str(tmp_path))
  monkeypatch.setattr(sys, "argv", words)

  def fail(runs, **_):
    for r in runs[1:]:
      pathlib.Path(r.workdir).mkdir(parents=True)
    return [runs[0].workdir]

  monkeypatch.setattr(sweep, "work", fail)
  with pytest.raises(ValueError, match=r"1 of 5 runs failed \(.*i3d/seed0\): see"):
    sweep_job.run(config, str(tmp_path))
