"""Damaged checkpoints give an error of one line; weights never change silently."""

import json
import shutil

import fuzzing
import jax
import numpy as np
import pytest
from hypothesis import strategies as st

from vpn_jax.training import checkpoint, checksums
from vpn_jax.training.provenance import Provenance

STATE = {
  "params": {"a": {"kernel": np.arange(1200, dtype=np.float32).reshape(40, 30) / 7}},
  "batch_stats": {"m": np.ones(3, np.float32)},
  "step": np.int32(3),
}
PROVENANCE = Provenance(
  dataset="custom",
  class_names=("x", "y"),
  skeleton="kinect_v2",
  skeleton_digest="d",
  crop={"size": 3},
  protocol={"attribute": "subject"},
  validation={},
  index_digest="i",
)


def save(folder, steps=((3, 50.0), (6, 40.0))):
  """Checkpoints of the given (step, validation accuracy)."""
  runs = checkpoint.Checkpoints(folder)
  for step, accuracy in steps:
    runs.save(step, STATE, config={"a": 1}, provenance=PROVENANCE)
    if accuracy is not None:
      runs.set_evaluated(step, "validation", accuracy)
  runs.close()
  return folder


def read(folder):
  """Everything of the latest step, and the best step."""
  with checkpoint.reading(folder) as runs:
    step = runs.latest_step()
    return step, runs.best_step(), runs.about(step), runs.restore_variables(step)


def comparable(found):
  """The result of `read` for comparison."""
  step, best, about, variables = found
  return step, best, about.config, about.provenance, about.code, leaves(variables)


def leaves(variables):
  return [np.asarray(x).tolist() for x in jax.tree.leaves(variables)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  return save(tmp_path_factory.mktemp("run"))


def test_the_best_step_is_known_after_the_run(folder):
  step, best, about, variables = read(folder)
  assert (step, best) == (6, 3)
  assert (about.config, about.provenance) == ({"a": 1}, PROVENANCE)
  wanted = {k: STATE[k] for k in ("params", "batch_stats")}
  assert leaves(variables) == leaves(wanted)


@fuzzing.fuzz(1.0, steps=fuzzing.damages, which=st.integers(0, 2**20))
def test_any_file_damaged(folder, steps, which):
  want = read(folder)
  places = (folder / checkpoint.FOLDER / "6", folder / checksums.FOLDER)
  files = sorted(p for place in places for p in place.rglob("*") if p.is_file())
  path = files[which % len(files)]
  whole = path.read_bytes()
  try:
    path.write_bytes(fuzzing.apply(whole, steps))
    got = fuzzing.value_or_none(lambda: read(folder), str(folder))
  finally:
    path.write_bytes(whole)
  assert got is None or comparable(got) == comparable(want)


def test_changed_numbers_that_orbax_accepts(folder, tmp_path, capfd):
  """The largest file holds the compressed kernel: a flipped bit changes a number."""
  shutil.copytree(folder, tmp_path / "run")
  files = (tmp_path / "run" / checkpoint.FOLDER / "6").rglob("*")
  path = max((p for p in files if p.is_file()), key=lambda p: p.stat().st_size)
  data = path.read_bytes()
  path.write_bytes(fuzzing.damaged(data, "flip", len(data) // 3, 1))
  words = r"step 6 in .* checksum .* delete .*checkpoints/6 to go on from step 3\.$"
  with pytest.raises(ValueError, match=words) as caught:
    read(tmp_path / "run")
  assert str(caught.value).isprintable()
  assert capfd.readouterr() == ("", "")  # Orbax was not called
  with checkpoint.reading(tmp_path / "run") as runs:
    assert runs.about(3).provenance == PROVENANCE  # the other step is intact


def test_the_remedy_works(folder, tmp_path):
  shutil.copytree(folder, tmp_path / "run")
  step = tmp_path / "run" / checkpoint.FOLDER / "6"
  (step / "about" / "metadata").unlink()
  with pytest.raises(
    ValueError, match=r"6/about/metadata is gone.* delete (.*/6) to g"
  ):
    read(tmp_path / "run")
  shutil.rmtree(step)
  assert read(tmp_path / "run")[0] == 3
  shutil.rmtree(tmp_path / "run" / checkpoint.FOLDER / "3" / "state")
  with pytest.raises(ValueError, match="no other step is there: copy it again"):
    read(tmp_path / "run")


def test_damage_noticed_by_orbax_is_one_line_without_checksums(folder, tmp_path):
  """As for old runs, which have none."""
  shutil.copytree(folder, tmp_path / "run")
  shutil.rmtree(tmp_path / "run" / checksums.FOLDER)
  assert leaves(read(tmp_path / "run")[3]) == leaves(read(folder)[3])
  (tmp_path / "run" / checkpoint.FOLDER / "6" / "about" / "metadata").write_text("{")
  with pytest.raises(ValueError, match=r"step 6 in .* cannot be read \(JSONDecodeErr"):
    read(tmp_path / "run")


def test_damaged_accuracies_are_reported(folder, tmp_path):
  shutil.copytree(folder, tmp_path / "run")
  path = tmp_path / "run" / checkpoint.EVALUATED_FILE
  for text in ("{", "[]", '{"validation": {"x": 1}}', '{"validation": {"3": []}}'):
    path.write_text(text)
    with pytest.raises(ValueError, match=r"evaluated\.json is damaged .* or delete it"):
      read(tmp_path / "run")
  path.unlink()
  assert read(tmp_path / "run")[:2] == (6, 6)


def test_checksums_of_deleted_steps_are_deleted(tmp_path):
  save(tmp_path, [(1, 10.0), (2, 30.0), (3, 20.0)])
  names = {path.name for path in (tmp_path / checksums.FOLDER).iterdir()}
  assert names == {"2.json", "3.json"}
  content = json.loads((tmp_path / checksums.FOLDER / "2.json").read_text())
  assert "about/metadata" in content
