"""Damaged results of a run: an exported network, summaries and metrics."""

import json
import zipfile

import fuzzing
import numpy as np
import pytest

from vpn_jax.analysis import training_curves
from vpn_jax.evaluation import predictions as predictions_lib
from vpn_jax.inference import serve
from vpn_jax.results import tables
from vpn_jax.training import run_summary

ABOUT = {"format": serve.FORMAT, "version": serve.VERSION, "classes": ["a", "b"]}
NETWORK = bytes(range(256)) * 8
SUMMARY = {
  "command": "python launch.py --config=configs/ntu60.py:cs '--workdir=a b'",
  "commit": "0123456",
  "row": "VPN",
  "dataset": "ntu60",
  "protocol": "cs",
  "seed": 0,
  "result": {
    "top1": 90.5,
    "mean_class": 89.5,
    "parameters": 24_000_000,
    "seconds": 3600.0,
    "train_clips_per_second": 4.5,
    "eval_clips_per_second": 9.5,
  },
}
METRICS = "".join(
  json.dumps({"step": i, "seconds": 1.5, "train/loss": 3.5 - i}) + "\n"
  for i in range(3)
)


@pytest.mark.parametrize("kind", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_an_exported_network(kind, tmp_path_factory):
  path = tmp_path_factory.mktemp("serve") / "vpn.zip"
  with zipfile.ZipFile(path, "w", kind) as members:
    members.writestr(serve.ABOUT, json.dumps(ABOUT))
    members.writestr(serve.NETWORK, NETWORK)
  whole = path.read_bytes()

  @fuzzing.fuzz(2.0)
  def damaged(steps):
    path.write_bytes(fuzzing.apply(whole, steps))
    got = fuzzing.value_or_none(lambda: serve.read(str(path)), "vpn.zip")
    assert got in (None, (ABOUT, NETWORK))  # both members have checksums

  damaged()


@pytest.mark.parametrize("about", [[], 3, "text", None, {"format": []}, {}])
def test_an_about_of_another_kind(about, tmp_path):
  with zipfile.ZipFile(tmp_path / "vpn.zip", "w") as members:
    members.writestr(serve.ABOUT, json.dumps(about))
    members.writestr(serve.NETWORK, NETWORK)
  with pytest.raises(ValueError, match=r"vpn\.zip (is damaged|has format and version)"):
    serve.read(str(tmp_path / "vpn.zip"))


def test_a_summary(tmp_path_factory):
  folder = tmp_path_factory.mktemp("runs")
  path, whole = (
    folder / run_summary.SUMMARY_FILE,
    json.dumps(SUMMARY, indent=1).encode(),
  )

  @fuzzing.fuzz(2.0)
  def damaged(steps):
    path.write_bytes(fuzzing.apply(whole, steps))
    made = fuzzing.value_or_none(
      lambda: tables.gather(run_summary.read_summaries(folder)),
      run_summary.SUMMARY_FILE,
    )
    if made is not None:
      lines = [line for lines in made.values() for line in lines]
      assert all(isinstance(word, str) for line in lines for word in line.values())

  damaged()


def test_metrics(tmp_path_factory):
  folder = tmp_path_factory.mktemp("metrics")

  @fuzzing.fuzz(2.0)
  def damaged(steps):
    (folder / "metrics.jsonl").write_bytes(fuzzing.apply(METRICS.encode(), steps))
    scalars = fuzzing.value_or_none(
      lambda: training_curves.read(folder), "metrics.jsonl"
    )
    for places, values in (scalars or {}).values():
      assert places.shape == values.shape
      assert places.dtype.kind == "i"

  damaged()


PREDICTIONS = predictions_lib.Predictions(
  names=("first", "second", "third"),
  labels=np.array([0, 1, 1]),
  scores=np.array([[0.75, 0.25], [0.5, 0.5], [0.25, 0.75]], np.float32),
  class_names=("sit", "stand"),
)


def test_predictions(tmp_path_factory):
  folder = tmp_path_factory.mktemp("test")
  predictions_lib.write(folder, PREDICTIONS)
  path = folder / "scores.npz"
  whole = path.read_bytes()

  @fuzzing.fuzz(2.0)
  def damaged(steps):
    path.write_bytes(fuzzing.apply(whole, steps))
    got = fuzzing.value_or_none(lambda: predictions_lib.read(folder), "scores.npz")
    if got is not None:  # every member has a checksum
      assert (got.names, got.class_names) == (
        PREDICTIONS.names,
        PREDICTIONS.class_names,
      )
      np.testing.assert_array_equal(got.labels, PREDICTIONS.labels)
      np.testing.assert_array_equal(got.scores, PREDICTIONS.scores)

  damaged()


@pytest.mark.parametrize(
  ("changed", "message"),
  [
    ({"labels": np.array([0, 1, 2])}, "labels beyond the 2 classes"),
    ({"labels": np.array([0, 1])}, r"3 names, labels \(2,\), scores \(3, 2\)"),
    ({"scores": np.zeros((3, 3))}, r"3 names, labels \(3,\), scores \(3, 3\)"),
    ({"names": None}, "KeyError"),
  ],
)
def test_predictions_that_do_not_fit_together(changed, message, tmp_path):
  predictions_lib.write(tmp_path, PREDICTIONS)
  with np.load(tmp_path / "scores.npz") as data:
    members = {**data, **changed}
  members = {name: x for name, x in members.items() if x is not None}
  np.savez(tmp_path / "scores.npz", **members)
  with pytest.raises(ValueError, match=rf"scores\.npz is damaged \(.*{message}"):
    predictions_lib.read(tmp_path)
