"""The commands of docs/skeletons.md, in order, on a small folder."""

import csv
import json
import pathlib
import re
import shlex
import sys

import numpy as np
import pytest
from absl import flags

from vpn_jax.jobs import command_line

ROOT = pathlib.Path(__file__).parents[1]
PAGE = ROOT / "docs" / "skeletons.md"
# What makes a job small enough for a test.
SMALL = {
  "prepare": ("--config.prepare.workers=0",),
  "train": (
    "--config.train.steps=2", "--config.train.batch_size=4",
    "--config.train.eval_batch_size=4", "--config.train.tensorboard=False",
    "--config.data.example.pose_steps=4", "--config.data.threads=2",
  ),
  "figures": ("--config.figures.only=confusion,gains,joints,attention",),
  "explain": ("--config.explain.clips_per_class=1",),
}  # fmt: skip


def commands():
  """The commands of the page as lists of words, without `python launch.py`."""
  blocks = re.findall(r"^```(\w*)\n(.*?)^```", PAGE.read_text(), re.M | re.S)
  plain = "".join(text for language, text in blocks if not language)
  lines = plain.replace("\\\n", " ").splitlines()
  assert all(line.startswith("python launch.py ") for line in lines)
  return [shlex.split(line)[2:] for line in lines]


def run(words, monkeypatch):
  """Runs one command in this process."""
  job = next((w.partition("=")[2] for w in words if w.startswith("--job=")), "train")
  argv = ["launch.py", *words, *SMALL.get(job, ())]
  monkeypatch.setattr(sys, "argv", argv)
  values = flags.FlagValues()
  command_line.define_flags(values)
  command_line.run(command_line.parse(argv, values), values)
  return job


@pytest.fixture
def folder(tmp_path, monkeypatch):
  """my/poses and my/new below the current folder: people who wave or nod."""
  rng = np.random.default_rng(0)
  rest = rng.normal(0.0, 0.2, (25, 3))
  for label, joint in (("wave", 7), ("nod", 3)):
    for person in ("anna", "ben", "carl", "new"):
      for i in range(3):
        joints = np.repeat(rest[None], 10 + i, axis=0)
        joints[:, joint, 0] += 0.2 * np.sin(np.arange(len(joints)) + i)
        joints += rng.normal(0.0, 0.01, joints.shape)
        place = "my/new" if person == "new" else f"my/poses/{label}"
        path = tmp_path / place / f"{person}_{label}{i}.npz"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(path, world=joints, fps=30)
  (tmp_path / "configs").symlink_to(ROOT / "configs")
  monkeypatch.chdir(tmp_path)
  return tmp_path


@pytest.mark.filterwarnings("ignore:.*load_module:DeprecationWarning")
def test_every_command(folder, plain_operations, monkeypatch, capsys):
  done = [run(words, monkeypatch) for words in commands()]
  assert done == [
    "prepare", "prepare", "train", "train", "fuse", "figures", "explain", "report",
    "predict",
  ]  # fmt: skip
  printed = capsys.readouterr().out
  assert "attention: left out, the network has no attention" in printed
  summaries = [
    json.loads((folder / "runs" / run / "summary.json").read_text())["result"]
    for run in ("joint", "bone", "joint+bone")
  ]
  assert [result["clips"] for result in summaries] == [6, 6, 6]
  assert (folder / "data" / "custom" / "contact_sheet.png").exists()
  drawn = {path.stem for path in (folder / "runs" / "bone" / "figures").glob("*.png")}
  assert drawn == {"confusion", "gains", "joints"}
  methods = json.loads((folder / "runs" / "joint" / "explanations.json").read_text())
  assert list(methods["methods"]) == ["joint activations"]
  assert (folder / "runs" / "joint" / "report.html").exists()
  with open("scores.csv") as file:
    rows = list(csv.DictReader(file))
  assert [row["clip"] for row in rows] == [
    f"new_{label}{i}.npz" for label in ("nod", "wave") for i in range(3)
  ]
  assert {row["predicted"] for row in rows} <= {"wave", "nod"}
