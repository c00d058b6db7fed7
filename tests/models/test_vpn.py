"""The whole network: sizes of every row, who learns from what, and messages."""

import functools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import common
from vpn_jax.inputs import example
from vpn_jax.models import attention, networks
from vpn_jax.results import paper
from vpn_jax.training import losses

# Parameters by part at 64x224x224, 60 classes, 20 poses of 25 joints, by hand:
TRUNK = 12_272_704 + 7_280  # convolutions and betas of Inception-v1 inflated
HEAD = 1024 * 60 + 60
INPUT = 2 * 25 * 3  # normalization of every coordinate, with scale
POSE = (
  INPUT
  + 20 * 3 * 64  # W_t
  + 9 * (67 * 64 + 64 * 64 + 64 * 128)  # three 3x3 convolutions; 67 = 64 + 3
  + 2 * (64 + 64 + 128)  # BatchNorm with scale
)
H = 5 * 6 * 128  # 20x25 pooled twice
NORM = 2 * 256  # before a tanh, with scale
SPATIAL = H * 256 + 256 + NORM + 256 * 49 + 49
TEMPORAL = H * 256 + 256 + NORM + 256 * 8 + 8
EMBEDDING = 7 * 7 * 1024 * 256 + 49 * 256

# Three LSTMs, four gates each: the input's kernel, the state's, one bias.
LSTM = INPUT + 4 * ((75 * 512 + 512**2 + 512) + 2 * (512 * 512 + 512**2 + 512))
STEPS = 20 * 512  # h* of the LSTM
LSTM_SPATIAL = STEPS * 256 + 256 + NORM + 256 * 49 + 49
LSTM_TEMPORAL = STEPS * 256 + 256 + NORM + 256 * 8 + 8

# Backbones over joints: test_joint_blocks.py. h* has 256 channels.
BLOCKS = {"ST-GCN++": 1_382_976, "CTR-GCN": 1_427_552, "AGCN": 3_446_270}
BLOCK_SPATIAL = 256 * 256 + 256 + NORM + 256 * 49 + 49
BLOCK_TEMPORAL = 256 * 256 + 256 + NORM + 256 * 8 + 8

RNX = 47_383_360 + 2 * 68_928  # weights, scales and biases: test_resnext3d.py
RNX_HEAD = 2048 * 60 + 60
RNX_TEMPORAL = H * 256 + 256 + NORM + 256 * 4 + 4  # 4 steps
RNX_EMBEDDING = 7 * 7 * 2048 * 256 + 49 * 256
# theta, phi and g to half of Mixed_4e's 528 channels, and back.
NON_LOCAL = 3 * (528 * 264 + 264) + 264 * 528 + 528
# Separable STA and P-I3D take the last step of the LSTM, 512 numbers.
LAST_SPATIAL = 512 * 256 + 256 + NORM + 256 * 49 + 49
LAST_TEMPORAL = 512 * 256 + 256 + NORM + 256 * 8 + 8
PARTS = 512 * 128 + 128 + 128 * 3 + 3

GCN = TRUNK + POSE
FROZEN = TRUNK + LSTM
# A student's attention is computed from 8 steps of f.
STUDENT_SPATIAL = 8 * 1024 * 256 + 256 + NORM + 256 * 49 + 49
STUDENT_TEMPORAL = 8 * 1024 * 256 + 256 + NORM + 256 * 8 + 8
TWO_STREAMS = 2 * 1024 * 60 + 60  # the classifier behind A_S f and A_T f
TIME_KEPT = 8 * 1024 * 60 + 60  # the steps of f
AT_JOINTS = 8 * 1024 * 60 + 60  # the mean and 7 parts of the body
ALIGNED = H * 256 + 256 + NORM + 256 * 25 + 25  # a weight for each joint
COUNTS = {
  "pose alone": POSE + H * 60 + 60,
  "pose alone, LSTM": LSTM + STEPS * 60 + 60,
  **{
    f"pose alone, {name}": INPUT + count + 256 * 60 + 60
    for name, count in BLOCKS.items()
  },
  "I3D": TRUNK + HEAD,
  "I3D, continued": TRUNK + HEAD,
  "I3D+NL": TRUNK + NON_LOCAL + HEAD,
  "P-I3D": 3 * TRUNK + LSTM + PARTS + HEAD,
  "Separable STA": FROZEN + LAST_SPATIAL + LAST_TEMPORAL + TWO_STREAMS,
  "RNX3D101": RNX + RNX_HEAD,
  "VPN, RNX3D101": RNX + POSE + SPATIAL + RNX_TEMPORAL + RNX_EMBEDDING + RNX_HEAD,
  "VPN without embedding": GCN + SPATIAL + TEMPORAL + HEAD,
  "VPN without coupler, LSTM": (
    FROZEN + LSTM_SPATIAL + LSTM_TEMPORAL + EMBEDDING + TWO_STREAMS
  ),
  "VPN without coupler": GCN + SPATIAL + TEMPORAL + EMBEDDING + TWO_STREAMS,
  "VPN, LSTM": FROZEN + LSTM_SPATIAL + LSTM_TEMPORAL + EMBEDDING + HEAD,
  "VPN": GCN + SPATIAL + TEMPORAL + EMBEDDING + HEAD,
  **{
    f"VPN, {name}": (
      TRUNK + INPUT + count + BLOCK_SPATIAL + BLOCK_TEMPORAL + EMBEDDING + HEAD
    )
    for name, count in BLOCKS.items()
  },
  "VPN, kl_fp": GCN + SPATIAL + TEMPORAL + EMBEDDING + HEAD,
  "VPN, kl_pf": GCN + SPATIAL + TEMPORAL + EMBEDDING + HEAD,
  "VPN, contrastive": GCN + SPATIAL + TEMPORAL + EMBEDDING + HEAD,
  "VPN, kl_bi": GCN + SPATIAL + TEMPORAL + EMBEDDING + HEAD,
  "VPN, spatial attention, without embedding, LSTM": FROZEN + LSTM_SPATIAL + HEAD,
  "VPN, spatial attention, LSTM": FROZEN + LSTM_SPATIAL + EMBEDDING + HEAD,
  "VPN, spatial attention, without embedding": GCN + SPATIAL + HEAD,
  "VPN, spatial attention": GCN + SPATIAL + EMBEDDING + HEAD,
  "Student": TRUNK + STUDENT_SPATIAL + STUDENT_TEMPORAL + HEAD,
  "I3D, time kept": TRUNK + TIME_KEPT,
  "VPN, time kept, without embedding": GCN + SPATIAL + TEMPORAL + TIME_KEPT,
  "I3D, joint features": TRUNK + AT_JOINTS,
  "VPN, joint features, without embedding": GCN + SPATIAL + TEMPORAL + AT_JOINTS,
  "VPN, aligned attention, without embedding": (
    GCN + SPATIAL + TEMPORAL + ALIGNED + HEAD
  ),
  "VPN, aligned attention, joint features, without embedding": (
    GCN + SPATIAL + TEMPORAL + ALIGNED + AT_JOINTS
  ),
}


def build(row, **fields):
  arg = common.parse_arg(",".join(filter(None, ["cs", row])), protocols=("cs",))
  c = common.recipe(arg)
  c.model.num_classes = 60
  c.model.update(fields)
  return networks.build(c.network, c.model.to_dict())


def shapes(model, frames=64, size=224, steps=20, joints=25, batch=2):
  settings = example.Settings(frames, size, steps, inputs=model.inputs)
  made = settings.example_shapes(joints)
  made = {
    name: jax.ShapeDtypeStruct((batch, *x.shape), x.dtype) for name, x in made.items()
  }
  return jax.eval_shape(
    model.init_with_output, jax.random.key(0), *networks.inputs(model, made)
  )


def test_only_the_stream_of_other_rows_differs():
  others = {row: what.arg for row, what in paper.ROWS.items() if row not in COUNTS}
  assert all(",stream=" in arg for arg in others.values())


@pytest.mark.parametrize("row", COUNTS)
def test_parameters_of_the_full_network(row):
  (logits, _), variables = shapes(build(paper.ROWS[row].arg))
  assert logits.shape == (2, 60)
  assert sum(p.size for p in jax.tree.leaves(variables["params"])) == COUNTS[row]


def test_documented_parameters_are_these():
  text = (pathlib.Path(__file__).parents[2] / "docs" / "tables.md").read_text()
  section = text.split("## Every row at the size of the paper")[1].split("\n## ")[0]
  cells = [[c.strip() for c in line.split("|")] for line in section.splitlines()]
  documented = {c[1]: c[3] for c in cells if len(c) == 8 and c[1] in COUNTS}
  assert documented == {row: f"{count:,}" for row, count in COUNTS.items()}


def test_shapes_of_the_full_network():
  (_, out), _ = shapes(build(""))
  expected = {
    "features": (2, 8, 7, 7, 1024),
    "modulated": (2, 8, 7, 7, 1024),
    "spatial_logits": (2, 49),
    "spatial_attention": (2, 7, 7),
    "temporal_attention": (2, 8),
    "attention": (2, 8, 7, 7),
    "joint_features": (2, 20, 25, 64),
    "video_embedding": (2, 256),
    "pose_embedding": (2, 256),
  }
  assert {k: out[k].shape for k in expected} == expected


@pytest.mark.parametrize(
  ("skeleton", "steps"),
  [("lcrnet_13", 30), ("kinect_v1", 5), ("mediapipe_33", 20)],
)
def test_other_skeletons_fit(skeleton, steps):
  joints = {"lcrnet_13": 13, "kinect_v1": 20, "mediapipe_33": 33}[skeleton]
  (logits, _), _ = shapes(
    build("", pose={"skeleton": skeleton}), steps=steps, joints=joints
  )
  assert logits.shape == (2, 60)


SMALL = {
  "width": 0.125,
  "endpoint": "Conv3d_2b_1x1",
  "embedding_dim": 8,
  "attention_hidden": 8,
}


@pytest.fixture(autouse=True)
def _plain(plain_operations):
  """All here is about what is connected to what, the same in either form."""


@functools.cache
def small(row=""):
  """A narrow network with random weights, also where `init` puts zeros."""
  model = build(row, **SMALL)
  rng = np.random.default_rng(0)
  frames = jnp.asarray(rng.integers(0, 256, (2, 8, 32, 32, 3)), jnp.uint8)
  pose = jnp.asarray(rng.normal(size=(2, 4, 25, 3)), jnp.float32)
  variables = jax.jit(model.init)(jax.random.key(0), frames, pose)
  params = jax.tree.map(
    lambda x: x + 0.1 * rng.normal(size=x.shape).astype(np.float32),
    variables["params"],
  )
  variables = {"params": params, "batch_stats": variables["batch_stats"]}
  return model, variables, frames, pose


def apply(row="", frames=None, pose=None):
  model, variables, own_frames, own_pose = small(row)
  frames = own_frames if frames is None else frames
  pose = own_pose if pose is None else pose
  return jax.jit(model.apply)(variables, frames, pose)


def gradient(term):
  """Largest gradient of one term of the loss in each part of the network."""
  model, variables, frames, pose = small()

  def loss(params):
    logits, out = model.apply({**variables, "params": params}, frames, pose)
    _, terms = losses.total_loss(logits, out, jnp.array([0, 1]))
    return jnp.sum(terms[term])

  grads = jax.jit(jax.grad(loss))(variables["params"])
  return {
    part: max(float(jnp.abs(g).max()) for g in jax.tree.leaves(tree))
    for part, tree in grads.items()
  }


def test_embedding_loss_moves_both_branches():
  largest = gradient("embedding_loss")
  for part in ("backbone", "pose_backbone", "attention", "embedding"):
    assert largest[part] > 1e-6, part
  assert largest["classifier"] == 0


def test_attention_penalty_never_reaches_the_backbone():
  largest = gradient("attention_penalty")
  for part in ("backbone", "embedding", "classifier"):
    assert largest[part] == 0, part
  for part in ("pose_backbone", "attention"):
    assert largest[part] > 1e-6, part


def test_classification_loss_moves_all_but_the_embedding():
  largest = gradient("classification_loss")
  assert largest["embedding"] == 0
  for part in ("backbone", "pose_backbone", "attention", "classifier"):
    assert largest[part] > 1e-6, part


def test_modulation_is_the_formula_of_the_paper():
  _, out = apply()
  a_s, a_t, f = (
    np.asarray(out[k], np.float64)
    for k in ("spatial_attention", "temporal_attention", "features")
  )
  expected = np.zeros_like(f)
  for b in range(f.shape[0]):
    for t in range(f.shape[1]):
      for m in range(f.shape[2]):
        for n in range(f.shape[3]):
          expected[b, t, m, n] = f[b, t, m, n] * (1 + a_s[b, m, n] * a_t[b, t])
  np.testing.assert_allclose(out["modulated"], expected, rtol=1e-5, atol=1e-6)
  pooled = expected.mean(axis=(1, 2, 3))
  np.testing.assert_allclose(out["pooled"], pooled, rtol=1e-4, atol=1e-6)


def test_without_coupler_two_streams_are_concatenated():
  _, out = apply("coupler=False")
  f, width = out["features"], out["features"].shape[-1]
  spatial, temporal = out["modulated"][..., :width], out["modulated"][..., width:]
  a_s = out["spatial_attention"][:, None, :, :, None]
  a_t = out["temporal_attention"][:, :, None, None, None]
  np.testing.assert_allclose(spatial, f * a_s, rtol=1e-5, atol=1e-6)
  np.testing.assert_allclose(temporal, f * a_t, rtol=1e-5, atol=1e-6)


def test_spatial_attention_alone_is_the_same_at_all_times():
  _, out = apply("attention=spatial")
  assert "temporal_attention" not in out
  spread = np.ptp(np.asarray(out["attention"]), axis=1)
  np.testing.assert_array_equal(spread, 0)
  expected = out["features"] * (1 + out["attention"][..., None])
  np.testing.assert_allclose(out["modulated"], expected, rtol=1e-6)


def test_pose_changes_vpn_but_not_the_visual_backbone():
  other = small()[3] + 1.0
  assert np.abs(apply()[0] - apply(pose=other)[0]).max() > 1e-4
  row = "model=i3d"
  np.testing.assert_array_equal(apply(row)[0], apply(row, pose=other)[0])


def test_features_instead_of_frames_give_the_same():
  model, variables, frames, pose = small()
  logits, out = apply()
  head = model.clone(from_features=True)
  assert head.inputs == ("features", "pose")
  params = {k: v for k, v in variables["params"].items() if k != "backbone"}
  stats = {k: v for k, v in variables["batch_stats"].items() if k != "backbone"}
  variables = {"params": params, "batch_stats": stats}
  again, _ = jax.jit(head.apply)(variables, out["features"], pose)
  np.testing.assert_allclose(again, logits, rtol=1e-5, atol=1e-6)
  alone = build("model=i3d", **SMALL)
  assert alone.inputs == ("frames",)
  assert alone.clone(from_features=True).inputs == ("features",)


def test_attention_of_mean_one_is_t_times_that_of_sum_one():
  model, variables, frames, pose = small()
  _, own = apply()
  scaled = build("", **SMALL, attention_scale="mean")
  _, out = jax.jit(scaled.apply)(variables, frames, pose)
  steps = own["attention"].shape[1]
  np.testing.assert_allclose(out["attention"], steps * own["attention"], rtol=1e-5)
  np.testing.assert_allclose(out["temporal_attention"].sum(axis=1), 1.0, rtol=1e-5)
  expected = own["features"] * (1 + steps * own["attention"][..., None])
  np.testing.assert_allclose(out["modulated"], expected, rtol=1e-5, atol=1e-6)


def test_head_that_keeps_time_sees_the_order_of_the_steps():
  model = build("", **SMALL, head="time")
  _, _, frames, pose = small()
  (_, out), variables = jax.jit(model.init_with_output)(jax.random.key(0), frames, pose)
  f = out["modulated"]
  expected = np.asarray(f).mean(axis=(2, 3)).reshape(f.shape[0], -1)  # step by step
  np.testing.assert_allclose(out["pooled"], expected, rtol=1e-5, atol=1e-6)
  kernel = variables["params"]["classifier"]["kernel"]
  assert kernel.shape == (f.shape[1] * f.shape[-1], 60)


def test_classifier_of_the_pose_does_not_touch_the_prediction():
  model = build("", **SMALL, pose_classifier=True)
  _, variables, frames, pose = small()
  init = jax.jit(model.init)(jax.random.key(0), frames, pose)["params"]
  both = {**variables["params"], "pose_classifier": init["pose_classifier"]}
  logits, out = jax.jit(model.apply)({**variables, "params": both}, frames, pose)
  np.testing.assert_array_equal(logits, apply()[0])
  assert out["pose_logits"].shape == logits.shape

  def loss(params):
    logits, out = model.apply({**variables, "params": params}, frames, pose)
    _, terms = losses.total_loss(logits, out, jnp.array([0, 1]), pose_weight=1.0)
    return jnp.sum(terms["pose_loss"])

  grads = jax.jit(jax.grad(loss))(both)
  largest = {
    k: max(np.abs(g).max() for g in jax.tree.leaves(t)) for k, t in grads.items()
  }
  moved = {part for part, value in largest.items() if value > 1e-7}
  assert moved == {"pose_backbone", "pose_classifier"}


def test_normalized_input_does_not_depend_on_the_unit():
  """In training; metres or millimetres give the first layer the same numbers."""
  row = "model=pose"
  model = build(row)
  rng = np.random.default_rng(0)
  pose = rng.normal(size=(8, 20, 25, 3)).astype(np.float32)
  variables = jax.jit(model.init)(jax.random.key(0), pose)

  def outputs(model, pose):
    (logits, out), stats = model.apply(
      variables,
      pose,
      train=True,
      rngs={"dropout": jax.random.key(1)},
      mutable=["batch_stats"],
    )
    return out["joint_features"], stats["batch_stats"]["pose_backbone"].get(
      "input_norm"
    )

  metres, stats = outputs(model, pose + 2.0)
  millimetres, _ = outputs(model, 1000 * (pose + 2.0))
  np.testing.assert_allclose(metres, millimetres, atol=2e-3)
  flat = (pose + 2.0).reshape(-1, 75)
  np.testing.assert_allclose(stats["mean"], 0.1 * flat.mean(axis=0), rtol=1e-4)
  expected = 0.9 + 0.1 * flat.var(axis=0)
  np.testing.assert_allclose(stats["var"], expected, rtol=1e-4)
  plain = build(row, pose={"input_norm": "none"})
  assert (
    "input_norm"
    not in jax.eval_shape(plain.init, jax.random.key(0), pose)["params"][
      "pose_backbone"
    ]
  )
  apart = outputs(plain, pose)[0] - outputs(plain, 1000 * pose)[0]
  assert np.abs(apart).max() > 10


def test_settings_that_a_checkpoint_lacks_are_those_of_its_time():
  fields = build("").__dict__
  pose = {k: v for k, v in fields["pose"].items() if k != "input_norm"}
  old = {"num_classes": 60, "pose": pose}
  found, added = networks.with_missing_settings("vpn", old)
  assert added == {"attention_norm": "none", "pose.input_norm": "none"}
  assert found["pose"] == {**pose, "input_norm": "none"}
  network = networks.build("vpn", found)
  (_, _), variables = shapes(network)
  assert "spatial_norm" not in variables["params"]["attention"]
  assert "input_norm" not in variables["params"]["pose_backbone"]
  assert networks.with_missing_settings("vpn", found) == (found, {})
  _, added = networks.with_missing_settings("pose", old)
  assert added == {"pose.input_norm": "none"}


def test_messages():
  for name, value in (("attention_norm", "layer"), ("attention_scale", "max")):
    with pytest.raises(
      ValueError, match=rf"config.model.{name} is '{value}', expected"
    ):
      shapes(build("", **{name: value}))
  with pytest.raises(ValueError, match=r"config.model.head is 'flat', expected one of"):
    shapes(build("", head="flat"))
  with pytest.raises(ValueError, match=r"pose.input_norm is 'layer', expected one of"):
    shapes(build("", pose={"input_norm": "layer"}))
  with pytest.raises(ValueError, match="attention is 'temporal', expected one of"):
    shapes(build("", attention="temporal"))
  with pytest.raises(ValueError, match="backbone is 'c3d', expected one of"):
    shapes(build("", backbone="c3d"))
  with pytest.raises(ValueError, match="pose_backbone is 'tcn', expected one of"):
    shapes(build("", pose={"kind": "tcn"}))
  with pytest.raises(ValueError, match=r"embedding needs z1.*embedding=none"):
    shapes(build("", attention="none"))
  with pytest.raises(ValueError, match=r"got poses of 20 joints, expected 25"):
    shapes(build(""), joints=20)
  with pytest.raises(ValueError, match=r"config.network is 'c3d', expected one of"):
    networks.build("c3d", {})
  with pytest.raises(ValueError, match=r"unknown settings \['widht'\], expected"):
    networks.build("vpn", {"widht": 1.0})


def test_larger_frames_take_the_attention_of_training_resized():
  """Fully convolutional inference: 48 pixels for a network of 32."""
  model, variables, frames, pose = small()
  grid = apply()[1]["features"].shape[1:4]
  large = build("", **{**SMALL, "attention_grid": grid})
  wide = jnp.pad(frames, ((0, 0), (0, 0), (8, 8), (8, 8), (0, 0)))
  _, out = jax.jit(large.apply)(variables, wide, pose)
  assert out["features"].shape[2:4] == (12, 12) != grid[1:]
  _, own = apply()
  expected = attention.resize_spatial(own["spatial_attention"], (12, 12))
  np.testing.assert_allclose(out["spatial_attention"], expected, rtol=1e-6)
  np.testing.assert_array_equal(out["temporal_attention"], own["temporal_attention"])
  assert "video_embedding" not in out
  same, _ = jax.jit(large.apply)(variables, frames, pose)
  np.testing.assert_array_equal(same, apply()[0])
  with pytest.raises(ValueError, match="got features of 8 steps, expected 4 as in"):
    large.apply(variables, jnp.concatenate([frames, frames], axis=1), pose)


def test_last_step_of_the_lstm_is_what_separable_sta_takes():
  pose = {"recurrent_layers": 1, "recurrent_features": 6}
  model = build("model=separable_sta", **SMALL, pose=pose)
  (logits, out), variables = shapes(model, 8, 32, 4)
  assert out["pose_features"].shape == (2, 6)
  assert out["step_features"].shape == (2, 4, 6)
  assert out["modulated"].shape[-1] == 2 * out["features"].shape[-1]
  assert "embedding" not in variables["params"]
