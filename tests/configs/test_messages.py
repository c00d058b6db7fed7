"""Fields that messages name: each is in a configuration, and setting it helps."""

import ast
import pathlib
import re

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import pytest

from configs import custom, synthetic
from vpn_jax.datasets import registry
from vpn_jax.inference.options import Options
from vpn_jax.inputs import multi_view
from vpn_jax.models import pose_backbone
from vpn_jax.records import prepare
from vpn_jax.training import losses

ROOT = pathlib.Path(__file__).parents[2] / "vpn_jax"
FIELD = re.compile(r"\bconfig\.([A-Za-z_][\w.]*)")


def texts(tree):
  """(line, text) of every string; a placeholder ends the name of a field."""
  for node in ast.walk(tree):
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
      yield node.lineno, node.value
    elif isinstance(node, ast.JoinedStr):
      yield (
        node.lineno,
        "".join(v.value if isinstance(v, ast.Constant) else "{}" for v in node.values),
      )


def known(configs, field):
  """Whether one of these configurations has a field, whose name may be cut."""
  names = [name for name in field.split(".") if name]
  for config in configs:
    block = config
    for name in names:
      if not isinstance(block, ml_collections.ConfigDict) or name not in block:
        break
      block = block[name]
    else:
      return True
  return False


def test_every_field_that_a_message_names_exists():
  args = ("split", "split,model=p_i3d", "split,model=pose", "split,frozen=True")
  args += ("split,model=student",)
  configs = [*map(custom.get_config, args), synthetic.get_config("cs")]
  named, unknown = 0, []
  for path in sorted(ROOT.rglob("*.py")):
    for line, text in texts(ast.parse(path.read_text())):
      for field in FIELD.findall(text):
        named += 1
        if not known(configs, field.rstrip(".")) and not field.endswith("to_dict"):
          unknown.append(f"{path.relative_to(ROOT)}:{line}: config.{field}")
  assert named > 200
  assert unknown == []
  assert not known(configs, "data.persons")
  assert not known(configs, "data.pose_steps")


def pose_net(steps=8, persons=1):
  """Shapes of the pose backbone on one clip of `steps` poses of two people."""
  net = pose_backbone.PoseBranch(skeleton="kinect_v2", persons=persons)
  pose = np.zeros((1, steps, 50, 3), np.float32)
  return jax.eval_shape(lambda: net.init(jax.random.key(0), pose, train=False))


def scores(**fields):
  return multi_view.Inference(**fields)


def smoothed(label_smoothing):
  logits, labels = jnp.zeros((1, 2)), jnp.zeros(1, jnp.int32)
  return losses.classification_loss(logits, labels, label_smoothing=label_smoothing)


@pytest.mark.parametrize(
  ("call", "wrong", "right", "words"),
  [
    (pose_net, {"steps": 3, "persons": 2}, {"steps": 8, "persons": 2},
     r"raise config\.data\.example\.pose_steps"),
    (pose_net, {"persons": 1}, {"persons": 2},
     r"set config\.data\.skeleton and config\.data\.example\.persons"),
    (scores, {"size": 64}, {"views": "full", "size": 64}, "size is 64 and views is"),
    (scores, {"windows": 0}, {"windows": 1}, r"config\.inference\.windows is 0"),
    (smoothed, {"label_smoothing": 1.0}, {"label_smoothing": 0.1}, "label_smoothing"),
    (Options, {"pose": "a.npz", "window_stride": -1},
     {"pose": "a.npz", "window_stride": 0}, "window_stride is -1"),
    (Options, {}, {"pose": "a.npz"}, r"--config\.predict\.pose="),
    (prepare.parse_shard, {"text": "3/3"}, {"text": "2/3"}, r"config\.data\.shard"),
  ],
)  # fmt: skip
def test_setting_the_field_of_a_message_helps(call, wrong, right, words):
  with pytest.raises((ValueError, FileNotFoundError), match=words):
    call(**wrong)
  call(**right)


def opened(tmp_path, **fields):
  """A dataset of one npz of image joints in pixels, with these fields of the config."""
  (tmp_path / "raw" / "wave").mkdir(parents=True, exist_ok=True)
  joints = np.full((4, 17, 2), 300.0, np.float32)
  np.savez(tmp_path / "raw" / "wave" / "a.npz", image=joints)
  c = custom.get_config("split,model=pose")
  c.data.update(raw=str(tmp_path / "raw"), skeleton="coco_17", **fields)
  dataset = registry.open_dataset(c.data)
  return dataset, dataset.clips()[0][0]


def test_units_of_image_joints(tmp_path):
  """The remedy of the message, on the route that gave it."""
  from vpn_jax.datasets.base import BadClip

  dataset, clip = opened(tmp_path)
  with pytest.raises(BadClip, match="image_units=pixel"):
    dataset.read(clip)
  dataset, clip = opened(tmp_path, image_units="pixel")
  np.testing.assert_array_equal(dataset.read(clip).image_joints, 300)


@pytest.mark.parametrize(
  ("fields", "words"),
  [
    ({"index": "a.csv"}, "index is 'a.csv', which a folder .* does not use"),
    ({"world_joints": "a.npz"}, "world_joints is 'a.npz', which a folder"),
    ({"allow_absolute": True}, "allow_absolute is True, which a folder"),
    (
      {"raw": "x.pkl", "image_units": "pixel"},
      "image_units is .*, which a prep",
    ),
    ({"raw": "", "index": "a.csv", "pattern": "(.*)"}, "pattern is .*, which an index"),
    ({"pose_model": "a.task"}, "pose_model is 'a.task', but nothing is estimated"),
    ({"pose": "mediapipe", "image_units": "pixel"}, "image_units .* are estimated"),
  ],
)
def test_fields_that_a_route_does_not_use_are_refused(fields, words, tmp_path):
  c = custom.get_config("split,model=pose")
  c.data.update({"raw": str(tmp_path), **fields})
  with pytest.raises(ValueError, match=words):
    registry.open_dataset(c.data)
