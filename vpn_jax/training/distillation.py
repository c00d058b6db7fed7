"""A student without poses learns from a network that has them.

The student (`guide="features"` of `vpn.VPN`) computes its attention from f instead of
the pose. In training it also follows a finished network, the teacher, on the same
clips: its scores, what its classifier is given, and its A_ST. Nothing of the teacher is
needed afterwards.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from vpn_jax import device_mesh
from vpn_jax.models import backbones, networks
from vpn_jax.training import checkpoint, losses
from vpn_jax.training.provenance import Provenance

KINDS = ("euclidean", "contrastive")
# Settings of an example that a teacher must have been trained with.
SHOWN = (
  "num_frames", "frame_size", "region", "pose_steps", "pose_window", "persons",
  "coordinates", "missing",
)  # fmt: skip


def check_named(workdir: str) -> None:
  """ValueError when no teacher is named."""
  if not workdir:
    raise ValueError(
      "config.init.teacher is '', expected the workdir of a finished run of VPN, which "
      "a student (model=student) learns from: train one first."
    )


def load_teacher(
  workdir: str, data: Provenance, example: dict, on_mismatch: str = "refuse"
) -> tuple[object, dict]:
  """The network of a finished run and its variables on the host.

  Args:
    workdir: of the run, `config.init.teacher`.
    data: what the student trains on.
    example: `config.data.example` of the student, whose examples the teacher sees too.
    on_mismatch: as for `Provenance.check_start`.
  Raises: ValueError for "", for a network without scores of the same classes, or one
    that was trained on other clips of these records, or other examples of them.
  """
  check_named(workdir)
  with checkpoint.reading(workdir) as runs:
    step = runs.best_step()
    about = runs.about(step)
    variables = runs.restore_variables(step)
  theirs = about.provenance
  shown = about.config["data"]["example"]
  for name in SHOWN:
    if shown.get(name, example[name]) != example[name]:
      raise ValueError(
        f"the teacher in {workdir} was trained with config.data.example.{name} "
        f"{shown[name]!r}, the student has {example[name]!r}: both see the same "
        "examples, so give both the same."
      )
  if tuple(theirs.class_names) != tuple(data.class_names):
    raise ValueError(
      f"the teacher in {workdir} has the classes {list(theirs.class_names)}, the "
      f"records {list(data.class_names)}: train a teacher on the same classes."
    )
  try:
    theirs.check_start(data, on_mismatch)
  except ValueError as e:
    raise ValueError(f"the run in {workdir} cannot be the teacher: {e}") from e
  model = networks.build(about.config["network"], about.config["model"])
  return model, jax.tree.map(np.asarray, variables)


def make_teacher(
  model, variables: dict, student, student_variables: dict, devices: Mesh
) -> Callable[[dict], dict]:
  """The function batch -> what a student learns of the teacher on these clips.

  Args:
    model, variables: of the teacher, from `load_teacher`.
    student: the network that trains; where it takes features instead of frames, the
      teacher does too.
    student_variables: its {"params", "batch_stats"} before training.
    devices: of the run; the batch is split over them.
  Returns: jitted; `scores` float [B, K], and where the teacher has them `pooled` [B, C]
    and `attention` [B, T, M, N].
  Raises: ValueError when features cannot serve both, or the batch lacks an input.
  """
  if getattr(student, "from_features", False):
    layer = student.features_of or student.endpoint
    _check_same_layers(model, variables, student, student_variables, layer)
    model = model.clone(from_features=True, features_of=layer)

  def apply(variables, given):
    logits, out = model.apply(variables, *given, train=False)
    kept = {name: out[name] for name in ("pooled", "attention") if name in out}
    return {"scores": jax.nn.softmax(logits.astype(jnp.float32), axis=-1), **kept}

  whole, split = device_mesh.whole(devices), device_mesh.split(devices)
  jitted = jax.jit(apply, in_shardings=(whole, split), out_shardings=split)
  variables = jax.device_put(variables, whole)
  return lambda batch: jitted(variables, networks.inputs(model, batch))


def _check_same_layers(model, variables, student, student_variables, layer) -> None:
  """ValueError unless the features of the student are also the teacher's."""
  of_teacher = getattr(model, "backbone", None), getattr(model, "width", None)
  same = of_teacher == (student.backbone, student.width)
  if same:
    trees = [
      [
        backbones.until(student.backbone, tree["backbone"], layer)
        for tree in v.values()
      ]
      for v in (variables, student_variables)
    ]
    equal = functools.partial(np.allclose, rtol=0, atol=1e-6)
    same = jax.tree.structure(trees[0]) == jax.tree.structure(trees[1]) and all(
      map(equal, jax.tree.leaves(trees[0]), jax.tree.leaves(trees[1]))
    )
  if not same:
    raise ValueError(
      f"the student trains on features of {layer} that are computed once, and the "
      "layers of the teacher up to there have other weights: start both from the same "
      "ones, or set config.features.cached to False."
    )


def distillation_loss(
  logits: jax.Array,
  out: dict,
  teacher: dict,
  *,
  scores: float = 1.0,
  features: float = 1.0,
  attention: float = 1.0,
  kind: str = "euclidean",
  temperature: float = 0.1,
) -> tuple[jax.Array, dict]:
  """How far a student is from its teacher, per clip; 0 for a student of itself.

  Args:
    logits: of the student, float [B, K].
    out: what it returned beside them, with `pooled` [B, C] and `attention`.
    teacher: of `make_teacher`; no gradient reaches it.
    scores: weight of D_KL(teacher || student) of the softmax scores.
    features: weight of the distance of what both classifiers are given.
    attention: weight of the squared difference of both A_ST, the mean over [T, M, N].
    kind: of the distance of features: "euclidean", eq. 4 of unit vectors, or
      "contrastive", with the other clips of the batch as negatives, whose minimum is
      not 0.
    temperature: of "contrastive".
  Returns: float [B] and its terms by name, each [B].
  Raises: ValueError for an unknown kind, or for a weight of what one of the two does
    not have, or has in another shape (at trace time).
  Source: after the feature-level and attention-level distillation of VPN++ (Das et al.,
    2021), which the paper announces as future work; the distance of scores is that of
    Hinton et al., 2015, at temperature 1.
  """
  if kind not in KINDS:
    raise ValueError(f"config.distillation.kind is {kind!r}, expected one of {KINDS}.")
  teacher = jax.lax.stop_gradient(teacher)
  terms = {}
  loss = jnp.zeros(logits.shape[0], jnp.float32)
  if scores:
    known = teacher["scores"]
    log_known = jnp.log(jnp.maximum(known, 1e-30))
    apart = log_known - jax.nn.log_softmax(logits.astype(jnp.float32), axis=-1)
    terms["teacher_scores"] = jnp.sum(known * apart, axis=-1)
    loss = loss + scores * terms["teacher_scores"]
  if features:
    ours, theirs = _both("features", "pooled", out, teacher)
    terms["teacher_features"] = losses.alignment_loss(
      kind, ours, theirs, temperature=temperature
    )
    loss = loss + features * terms["teacher_features"]
  if attention:
    ours, theirs = _both("attention", "attention", out, teacher)
    terms["teacher_attention"] = jnp.mean((ours - theirs) ** 2, axis=(1, 2, 3))
    loss = loss + attention * terms["teacher_attention"]
  return loss, terms


def _both(weight: str, name: str, out: dict, teacher: dict) -> tuple:
  ours, theirs = out.get(name), teacher.get(name)
  shapes = [None if x is None else x.shape[1:] for x in (ours, theirs)]
  if None in shapes or shapes[0] != shapes[1]:
    raise ValueError(
      f"{name} of the student has the shape {shapes[0]}, of the teacher {shapes[1]}, "
      f"expected the same: set config.distillation.{weight} to 0, or choose a "
      "teacher with the backbone, size and head of the student."
    )
  return ours, theirs
