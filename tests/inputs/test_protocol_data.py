"""The data of a configuration: which labels its parts have, which clips it refuses."""

import numpy as np
import pytest

from vpn_jax.inputs import protocol_data


def corrected_data(make_config, tmp_path, **settings):
  """The data block, and a file that moves a clip of each part from a class to b."""
  c = make_config()
  _, parts = protocol_data.open_parts(c.data)
  names = {
    which: next(clip["name"] for clip in one.clips if clip["label"] == 0)
    for which, one in parts.items()
  }
  path = tmp_path / "wrong.csv"
  path.write_text("clip,class\n" + "".join(f"{n},b\n" for n in names.values()))
  with c.unlocked():
    c.data.update(corrections=str(path), **settings)
  return c.data, names, parts


def labels(part):
  return {clip["name"]: clip["label"] for clip in part.clips}


def test_corrected_labels_train_and_do_not_test(make_config, tmp_path):
  data, names, before = corrected_data(make_config, tmp_path)
  _, parts = protocol_data.open_parts(data)
  assert {which: one.corrected for which, one in parts.items()} == {
    "train": {names["train"]: "b"}, "test": {},
  }  # fmt: skip
  assert labels(parts["train"]) == labels(before["train"]) | {names["train"]: 1}
  assert labels(parts["test"]) == labels(before["test"])
  one = parts["train"]
  batch = next(one.eval_batches(len(one)))
  np.testing.assert_array_equal(batch["label"], list(labels(one).values()))


def test_corrected_labels_of_the_test(make_config, tmp_path):
  data, names, before = corrected_data(make_config, tmp_path, correct_test=True)
  _, parts = protocol_data.open_parts(data, ("test",))
  assert parts["test"].corrected == {names["test"]: "b"}
  assert labels(parts["test"]) == labels(before["test"]) | {names["test"]: 1}


def test_a_correction_of_a_clip_that_is_not_there(make_config, tmp_path):
  data, _, _ = corrected_data(make_config, tmp_path)
  path = tmp_path / "wrong.csv"
  path.write_text("clip,class\nnobody,b\n")
  with pytest.raises(ValueError, match="names 'nobody', which is not a clip of"):
    protocol_data.open_parts(data)
