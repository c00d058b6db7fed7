"""Late fusion: weighted means by hand, clips matched by name, runs in the tables."""

import csv
import dataclasses
import json

import numpy as np
import pytest
from fake_run import RESULT

from configs import ntu120
from vpn_jax.evaluation import fusion
from vpn_jax.evaluation import predictions as predictions_lib
from vpn_jax.evaluation.predictions import Predictions
from vpn_jax.jobs import fuse
from vpn_jax.jobs import tables as tables_job
from vpn_jax.results import tables
from vpn_jax.training import run_summary

FIRST = Predictions(
  names=("x", "y"),
  labels=np.array([0, 1]),
  scores=np.float32([[0.5, 0.25, 0.25], [0.25, 0.25, 0.5]]),
  class_names=("sit", "walk", "eat"),
)
# The same clips in another order; y is a maximum over views, its sum is 2.
SECOND = Predictions(
  names=("y", "x"),
  labels=np.array([1, 0]),
  scores=np.float32([[0.5, 1.0, 0.5], [0.25, 0.5, 0.25]]),
  class_names=("sit", "walk", "eat"),
)


@pytest.mark.parametrize(
  ("weights", "expected"),
  [
    # y of SECOND is [1/4, 1/2, 1/4] after the division by 2
    ((1, 1), [[3 / 8, 3 / 8, 1 / 4], [1 / 4, 3 / 8, 3 / 8]]),
    ((3, 1), [[7 / 16, 5 / 16, 1 / 4], [1 / 4, 5 / 16, 7 / 16]]),
    ((0, 2), [[1 / 4, 1 / 2, 1 / 4], [1 / 4, 1 / 2, 1 / 4]]),
  ],
)
def test_weighted_mean_by_hand(weights, expected):
  fused = fusion.fuse([FIRST, SECOND], weights)
  assert fused.names == ("x", "y")
  np.testing.assert_array_equal(fused.labels, [0, 1])
  assert fused.scores.dtype == np.float32
  np.testing.assert_allclose(fused.scores, expected, rtol=1e-6)


def changed(predictions, **fields):
  return dataclasses.replace(predictions, **fields)


@pytest.mark.parametrize(
  ("second", "words"),
  [
    (
      changed(SECOND, names=("y", "z")),
      "predictions 2 has 2 clips, expected the 2 of predictions 1 (x, z are not in "
      "both): evaluate both on the same records",
    ),
    (
      changed(SECOND, labels=np.array([2, 0])),
      "predictions 2 has y as eat, expected walk as in predictions 1, and so for 1 "
      "clips: evaluate",
    ),
    (
      changed(SECOND, class_names=("sit", "walk", "run")),
      "predictions 2 has 3 classes, expected the 3 of predictions 1 (eat, run are not "
      "in both): evaluate",
    ),
    (
      changed(SECOND, class_names=("walk", "sit", "eat")),
      "expected the 3 of predictions 1 (in another order): evaluate",
    ),
    (
      changed(SECOND, scores=np.zeros((2, 3), np.float32)),
      "predictions 2 has scores of 0.0 to 0.0, expected a softmax: run --job=evaluate",
    ),
  ],
)
def test_runs_that_do_not_fit_are_refused(second, words):
  with pytest.raises(ValueError) as error:
    fusion.fuse([FIRST, second], (1, 1))
  assert words in str(error.value)


@pytest.mark.parametrize(
  ("weights", "words"),
  [
    ((1,), r"got 1 weights \(1,\), expected 2: give one for each"),
    ((1, -1), r"weights are \(1, -1\), expected numbers that are not negative"),
    ((0, 0), r"weights are \(0, 0\), expected .* with one above 0"),
    ((float("nan"), 1), r"weights are \(nan, 1\), expected"),
  ],
)
def test_weights_without_a_mean_are_refused(weights, words):
  with pytest.raises(ValueError, match=words):
    fusion.fuse([FIRST, SECOND], weights)


def test_one_run_is_not_fused():
  with pytest.raises(ValueError, match=r"got 1 run\(s\) to fuse, expected two or more"):
    fusion.fuse([FIRST], (1,))


@pytest.mark.parametrize(
  ("workdirs", "expected"),
  [
    (("runs/vpn", "runs/pose"), "runs/vpn+pose"),
    (("runs/vpn/", "elsewhere/pose", "b"), "runs/vpn+pose+b"),
    (("runs/vpn/seed1", "runs/pose/seed1"), "runs/vpn+pose/seed1"),
    (("runs/vpn/seed0", "runs/vpn/seed1"), "runs/vpn+vpn/seed0+seed1"),
  ],
)
def test_default_output(workdirs, expected):
  assert str(fuse.default_output(workdirs)) == expected


def leave(folder, arg, predictions, command="python launch.py", **fields):
  """A finished run with its predictions."""
  config = ntu120.get_config(arg)
  config.update(fields)
  predictions_lib.write(folder / "test", predictions)
  run_summary.write_summary(folder, config.to_dict(), RESULT, command)


def job(config, workdirs):
  fuse.run(config, workdirs)


def test_fused_runs_have_a_row_of_their_own(tmp_path, capsys):
  for seed in (0, 1):
    leave(tmp_path / "vpn" / f"seed{seed}", "cs1", FIRST, seed=seed)
    leave(tmp_path / "pose" / f"seed{seed}", "cs1,model=pose", SECOND, seed=seed)
    job(None, f"{tmp_path}/vpn/seed{seed},{tmp_path}/pose/seed{seed}")
  out = tmp_path / "vpn+pose" / "seed1"
  said = f"{out}, VPN + pose alone: top-1 100.0, top-5 100.0, mean class 100.0 on 2 "
  assert said in capsys.readouterr().out
  files = {path.name for path in (out / "test").iterdir()}
  assert files == {"metrics.json", "predictions.csv", "confusion.csv", "scores.npz"}
  np.testing.assert_allclose(predictions_lib.read(out / "test").scores.sum(axis=1), 1.0)
  summary = json.loads((out / "summary.json").read_text())
  assert summary["seed"] == 1
  assert [part["seed"] for part in summary["parts"]] == [1, 1]
  assert [part["row"] for part in summary["parts"]] == ["VPN", "pose alone"]
  assert summary["result"]["eval_clips_per_second"] == pytest.approx(15.0)

  tables_job.run(None, str(tmp_path))
  with (tmp_path / "tables.csv").open(newline="") as f:
    lines = [line for line in csv.DictReader(f) if line["table"] == "Late fusion"]
  (line,) = lines
  # by hand above: both clips are ties, which go to the first class
  assert (line["row"], line["dataset"], line["protocol"]) == (
    *("VPN + pose alone", "ntu120"),
    "cs1",
  )
  assert (line["seeds"], line["parameters"], line["minutes"]) == ("2", "5.00 M", "4.0")
  assert (line["ours"], line["paper"]) == ("100.0 ± 0.0", "-")


def test_weights_and_changed_parts_stand_on_lines_of_their_own(tmp_path):
  command = "python launch.py --config=configs/ntu120.py:cs1,model=pose,size=tiny"
  leave(tmp_path / "vpn", "cs1", FIRST)
  leave(tmp_path / "pose", "cs1,model=pose", SECOND, command)
  config = ntu120.get_config("cs1")
  config.fuse.update(weights="3,1", output=str(tmp_path / "heavy"))
  job(config, f"{tmp_path}/vpn,{tmp_path}/pose")
  made = tables.gather(run_summary.read_summaries(tmp_path))
  (line,) = made["Late fusion"]
  assert line["row"] == "VPN + pose alone (pose alone: size=tiny; weights 3:1)"


def test_old_metrics_have_the_usual_inference(tmp_path):
  predictions_lib.write(tmp_path, FIRST, {"views": "three"})
  assert predictions_lib.read_inference(tmp_path).views == "three"
  assert predictions_lib.read_inference(tmp_path).windows == 1
  (tmp_path / "metrics.json").write_text("{")
  with pytest.raises(ValueError, match=r"damaged .* run --job=evaluate"):
    predictions_lib.read_inference(tmp_path)


def test_messages(tmp_path):
  leave(tmp_path / "vpn", "cs1", FIRST)
  leave(tmp_path / "pose", "cs1,model=pose", SECOND)
  leave(tmp_path / "cs2", "cs2", SECOND)
  with pytest.raises(FileNotFoundError, match=r"no .*none/summary.json: finished runs"):
    job(None, f"{tmp_path}/vpn,{tmp_path}/none")
  with pytest.raises(ValueError, match="cs2 is of ntu120 cs2, expected ntu120 cs1 as"):
    job(None, f"{tmp_path}/vpn,{tmp_path}/cs2")
  with pytest.raises(ValueError, match=r"got 0 run\(s\) to fuse"):
    job(None, "")
  config = ntu120.get_config("cs1")
  config.fuse.output = str(tmp_path / "pose")
  with pytest.raises(ValueError, match="pose holds a trained run, expected a folder"):
    job(config, f"{tmp_path}/vpn,{tmp_path}/pose")
  config.fuse.output = str(tmp_path / "both")
  job(config, f"{tmp_path}/vpn,{tmp_path}/pose")
  with pytest.raises(ValueError, match="both is one of the runs to fuse"):
    job(config, f"{tmp_path}/vpn,{tmp_path}/both")
  config.fuse.weights = "1,a"
  with pytest.raises(
    ValueError, match=r"config.fuse.weights is '1,a', expected a numb"
  ):
    job(config, f"{tmp_path}/vpn,{tmp_path}/pose")
