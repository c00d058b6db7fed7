"""Equal answers: to the stored scores of I3D, and to the same network on the host.

The stored scores are those of a clip of Kinetics, computed by two programs at highest
precision (tests/weights/test_pretrained.py). The network on the host is VPN with its
loss and all gradients, of noise, in the form for a CPU.
"""

import os
import pathlib

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import step
from benchmarks.gpu_check import plan as plan_lib
from benchmarks.gpu_check import programs
from vpn_jax import ops

COLUMNS = ("error", "limit", "largest difference", "top-1", "as stored")
ROOT = pathlib.Path(__file__).parents[2]
REFERENCE = "GPU_CHECK_REFERENCE"  # the variable that names the file of stored scores
_FILE = "shared/data/i3d/cricket_gif79.npz"
# Case -> type, precision of products, limits of ||x - stored|| / ||stored|| of logits
# and of Mixed_5c. On a CPU bfloat16 differs by 0.006 and 0.012.
CASES = {
  "kinetics float32": ("float32", "highest", 1e-4, 1e-4),
  "kinetics TF32": ("float32", "default", 5e-3, 1e-2),
  "kinetics bfloat16": ("bfloat16", "default", 2e-2, 4e-2),
}
_LARGEST = 1e-3  # of logits and Mixed_5c in float32
# Of the network on the host. A sum that rounding puts on the other side of zero, before
# a ReLU, changes what lies in front of it by percents.
_HOST = {"loss": 1e-3, "logits": 1e-3, "gradients": 2e-2}


def cases(plan: plan_lib.Plan) -> list[dict]:
  return [{"case": name} for name in plan.parity]


def error(found, expected) -> float:
  """||found - expected|| / ||expected||, in float64; NaN stays NaN."""
  found, expected = (np.asarray(x, np.float64) for x in (found, expected))
  return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


def measure(plan: plan_lib.Plan, case: dict) -> list[dict]:
  if case["case"] == "host":
    return _host(plan)
  return _kinetics(*CASES[case["case"]])


def _reference() -> pathlib.Path:
  given = os.environ.get(REFERENCE)
  paths = [pathlib.Path(given)] if given else [ROOT / _FILE, ROOT.parent / _FILE]
  found = next((path for path in paths if path.is_file()), None)
  if found is None:
    raise plan_lib.Skip(
      f"no {' or '.join(map(str, paths))}: set {REFERENCE} to cricket_gif79.npz"
    )
  return found


def _kinetics(dtype, precision, logits_limit, features_limit) -> list[dict]:
  from vpn_jax.models import i3d
  from vpn_jax.weights import pretrained

  stored = np.load(_reference())
  try:
    variables, _ = pretrained.load_i3d()
  except FileNotFoundError as e:
    raise plan_lib.Skip(str(e)) from None
  frames = i3d.normalize_frames(stored["frames_uint8"][None]).astype(dtype)
  with jax.default_matmul_precision(precision):
    apply = jax.jit(i3d.KineticsI3D(dtype=jnp.dtype(dtype)).apply)
    logits, out = apply(jax.device_put(variables), frames)
  top, expected = int(np.argmax(logits)), int(np.argmax(stored["logits"]))
  rows = [
    _row("logits", logits[0], stored["logits"], logits_limit),
    _row("Mixed_5c", out["Mixed_5c"][0], stored["Mixed_5c"], features_limit),
  ]
  rows[0].update({"top-1": top, "as stored": expected})
  if top != expected:
    rows[0]["failed"] = f"top-1 is {top}, expected {expected}"
  if precision == "highest":
    for row in rows:
      if not row["largest difference"] <= _LARGEST:
        row["failed"] = f"differs by more than {_LARGEST}"
  return rows


def _row(what: str, found, expected, limit: float) -> dict:
  found = np.asarray(found, np.float32)
  row = {"what": what, "error": error(found, expected), "limit": limit}
  row["largest difference"] = float(np.max(np.abs(found - expected)))
  if not row["error"] <= limit:  # also of NaN
    row["failed"] = f"error {row['error']:.3g}, expected {limit:g} or less"
  return row


def _host(plan: plan_lib.Plan) -> list[dict]:
  """Loss, logits and gradients of one step, here and on the host."""
  from vpn_jax.models import networks
  from vpn_jax.training import losses

  try:
    host = jax.devices("cpu")[0]
  except RuntimeError as e:
    raise plan_lib.Skip(f"JAX has no CPU here: {e}") from None
  config = programs.configuration(plan, "vpn", "float32")
  if not plan.narrow:  # one of each kind of layer, in full width
    config.data.example.update(num_frames=8, frame_size=64)
    config.model.update(endpoint="Mixed_3b", frozen_until="")
  config.model.dropout = config.model.pose.dropout = 0.0  # drawn otherwise elsewhere
  model = networks.build(config.network, config.model.to_dict())
  batch = step.noise_batch(config, 4)
  variables = programs.noise(step.shapes(config))

  def loss(params, batch_stats, batch):
    (logits, out), _ = model.apply(
      {"params": params, "batch_stats": batch_stats},
      *networks.inputs(model, batch),
      train=True,
      mutable=["batch_stats"],
    )
    terms, _ = losses.total_loss(logits, out, batch["label"], **config.loss.to_dict())
    return jnp.mean(terms), logits

  found = {}
  for form, device in (("plain", jax.devices()[0]), ("cpu", host)):
    args = jax.device_put(
      (variables["params"], variables["batch_stats"], batch), device
    )
    # A function of its own: JAX remembers what it traced, not in which form.
    function = jax.value_and_grad(lambda *args: loss(*args), has_aux=True)
    with ops.use_formulation(form), jax.default_matmul_precision("highest"):
      (value, logits), gradient = jax.device_get(jax.jit(function)(*args))
    found[form] = {"loss": value, "logits": logits, "gradients": gradient}
  rows = []
  for what, expected in found["cpu"].items():
    flat, expected = (
      np.concatenate([np.ravel(x) for x in jax.tree.leaves(tree)])
      for tree in (found["plain"][what], expected)
    )
    rows.append(_row(f"{what} of VPN", flat, expected, _HOST[what]))
  return rows
