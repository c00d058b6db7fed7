"""Two small runs on the noise clips, for all tests of figures: a baseline and VPN."""

import contextlib
import dataclasses
import io
import pathlib

import fake_run
import numpy as np
import pytest

from vpn_jax import ops
from vpn_jax.evaluation import predictions as predictions_lib
from vpn_jax.figures.runs import Runs
from vpn_jax.inputs import protocol_data
from vpn_jax.jobs import figures as figures_job
from vpn_jax.training.provenance import Provenance

# The answers of the runs for the two test clips of each class, a to d.
ANSWERS = {"base": "bb ba cd dd", "vpn": "ab bb cc cd"}


@dataclasses.dataclass(frozen=True)
class Drawn:
  """The figures of both runs: their files, what was printed, and the runs."""

  folder: pathlib.Path
  printed: list[str]
  runs: Runs


def write_predictions(folder, part, answers):
  """Scores of 0.6, 0.62, ... for the answers of a run, so that no two clips tie."""
  answers = answers.split()
  counts, rows = dict.fromkeys(range(len(answers)), 0), []
  for i, clip in enumerate(part.clips):
    label = clip["label"]
    named = "abcd".index(answers[label][counts[label]])
    counts[label] += 1
    top = 0.6 + 0.02 * i
    rows.append(np.where(np.arange(4) == named, top, (1 - top) / 3))
  predictions_lib.write(
    folder / "test",
    predictions_lib.Predictions(
      names=tuple(clip["name"] for clip in part.clips),
      labels=np.array([clip["label"] for clip in part.clips]),
      scores=np.array(rows, np.float32),
      class_names=part.class_names,
    ),
  )
  text = '{"step": 1, "train/classification_loss": 1.5, "train/accuracy": 25.0}\n'
  (folder / "metrics.jsonl").write_text(text)


@pytest.fixture(scope="session")
def drawn(make_config, tmp_path_factory):
  """Draws every figure of two runs, once."""
  folder = tmp_path_factory.mktemp("runs")
  c = make_config()
  c.model.num_classes = 4
  index, parts = protocol_data.open_parts(c.data, ("test",))
  provenance = Provenance.of(index, parts["test"].protocol)
  with ops.use_formulation("plain"):
    for name, answers in ANSWERS.items():
      one = c.copy_and_resolve_references()
      if name == "base":
        one.model.update(attention="none", embedding=False)
      fake_run.save_network(one, folder / name, provenance)
      write_predictions(folder / name, parts["test"], answers)
    workdirs = str(folder / "base"), str(folder / "vpn")
    with contextlib.redirect_stdout(io.StringIO()) as printed:
      figures_job.run(c, ",".join(workdirs))
  runs = figures_job.open_runs(c, workdirs)
  return Drawn(folder / "vpn" / "figures", printed.getvalue().splitlines(), runs)


@pytest.fixture(autouse=True)
def _plain(plain_operations):
  """For what the tests of this folder draw themselves."""
