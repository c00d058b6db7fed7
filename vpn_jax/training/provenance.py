"""What a network belongs to: data, protocol and code; and whether other data fits."""

import dataclasses
import hashlib
import importlib.metadata
import json
import pathlib
import platform
import subprocess
import types
from collections.abc import Iterable, Mapping

from absl import logging

from vpn_jax.datasets import protocols, skeleton_files, skeletons
from vpn_jax.inputs import pipeline
from vpn_jax.records import store

# What must agree to test a network, and moreover to go on training it.
TO_TEST = (
  "dataset", "class_names", "skeleton", "skeleton_digest", "crop", "protocol",
)  # fmt: skip
TO_RESUME = (*TO_TEST, "validation", "index_digest", "corrections")
# What must agree to start from a part of it on the same dataset: else the clips that
# test now may have trained it.
TO_START = ("crop", "protocol")
# Settings that fix which clips a step draws.
PLACE_IN_DATA = ("seed", "train.batch_size", "data.balanced")
# Of settings that checkpoints did not always have, what they were before.
_BEFORE = {
  "data.balanced": False, "data.corrections": "", "data.correct_test": False,
  "data.example.missing": "zero", "model.pose.align_by": "first",
  "init.network": "none", "model.bn_frozen": False,
}  # fmt: skip
# Settings that fix which parameters there are.
PARAMETERS = (
  "network", "model.attention_norm", "model.guide", "model.head",
  "model.pose_classifier", "model.pose.input_norm", "model.pose.kind",
  "model.pose.blocks", "model.pose.block_features",
)  # fmt: skip
_PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "numpy")


@dataclasses.dataclass(frozen=True)
class Provenance:
  """What a network was trained on.

  Attributes:
    dataset: its name.
    class_names: in logit order.
    skeleton, skeleton_digest: see `skeletons`.
    crop: the crop recipe of the records.
    protocol: which clips test and which do not: attribute, not_test, test and classes.
    validation: which of the latter validate: attribute and values.
    index_digest: of the records.
    skeleton_definition: `skeleton_files.definition(skeleton)`.
    corrections: digest of the labels that were corrected for training; "" for none.
  """

  dataset: str
  class_names: tuple[str, ...]
  skeleton: str
  skeleton_digest: str
  crop: dict
  protocol: dict
  validation: dict
  index_digest: str
  skeleton_definition: dict | None = None
  corrections: str = ""

  @classmethod
  def of(
    cls,
    index: store.Index,
    protocol: protocols.Protocol,
    corrected: Mapping[str, str] = types.MappingProxyType({}),
  ) -> "Provenance":
    """The provenance of training on the records of an index by a protocol.

    Args:
      corrected: clip -> class, of the clips that do not train with their label.
    """
    p = protocol
    own = () if p.validation_attribute else p.validation
    made = cls(
      dataset=index.dataset,
      class_names=protocols.class_names(p, index.class_names),
      skeleton=index.skeleton,
      skeleton_digest=skeletons.get(index.skeleton).digest(),
      crop=dict(index.crop),
      protocol={
        "attribute": p.attribute,
        "not_test": _sorted({*p.train, *own}),
        "test": p.test and _sorted(p.test),
        "classes": p.classes,
      },
      validation={
        "attribute": p.validation_attribute or p.attribute,
        "values": _sorted(p.validation),
      },
      index_digest=index.digest(),
      skeleton_definition=skeleton_files.definition(index.skeleton),
      corrections=_digest(corrected),
    )
    return cls.from_dict(made.to_dict())

  def to_dict(self) -> dict:
    return dataclasses.asdict(self)

  @classmethod
  def from_dict(cls, values: dict) -> "Provenance":
    """Also from JSON, which knows no tuples; registers a skeleton of one's own."""
    values = json.loads(json.dumps(values))
    skeleton_files.restore(values.get("skeleton_definition"), "the checkpoint")
    return cls(**{**values, "class_names": tuple(values["class_names"])})

  def differences(self, data: "Provenance", names: tuple[str, ...]) -> list[str]:
    """Which of these attributes differ, a line each that names both sides.

    The poses of records without frames are those of records with frames, whatever the
    crop of these.
    """
    found = []
    for name in names:
      ours, theirs = getattr(self, name), getattr(data, name)
      if name == "crop" and "none" in (ours.get("kind"), theirs.get("kind")):
        continue
      if isinstance(ours, dict):  # only the entries that differ
        keys = sorted({*ours, *theirs})
        keys = [k for k in keys if ours.get(k) != theirs.get(k)]
        ours, theirs = ({k: d.get(k) for k in keys} for d in (ours, theirs))
      if ours != theirs:
        found.append(f"{name}: the checkpoint has {ours!r}, the data {theirs!r}")
    return found

  def check(
    self,
    data: "Provenance",
    names: tuple[str, ...] = TO_TEST,
    on_mismatch="refuse",
    *,
    may_lack_classes: bool = False,
  ) -> None:
    """Refuses data that this network does not fit, or warns.

    Args:
      data: what it is to be used on.
      names: what must agree.
      on_mismatch: "refuse", or "warn" of what differs. Another number of classes or
        joints is refused in any case.
      may_lack_classes: whether data with some of the classes fit all the same.
    Raises: ValueError that names both sides and the remedy.
    """
    if on_mismatch not in ("refuse", "warn"):
      raise ValueError(
        f"config.on_mismatch is {on_mismatch!r}, expected 'refuse' or 'warn'."
      )
    found = self.differences(data, names)
    if not found:
      return
    joints, theirs = (skeletons.get(p.skeleton).num_joints for p in (self, data))
    as_many = len(self.class_names) == len(data.class_names)
    if may_lack_classes:
      as_many |= set(data.class_names) < set(self.class_names)
    fits = "class_names" not in names or (joints == theirs and as_many)
    remedy = "prepare the records the same way or use the run that belongs to them"
    if fits and on_mismatch == "warn":
      for line in found:
        logging.warning("%s.", line)
      return
    if fits:
      remedy += "; --config.on_mismatch=warn goes on all the same"
    raise ValueError(f"{'; '.join(found)}: {remedy}.")

  def check_part(
    self, index: store.Index, part: pipeline.Part, on_mismatch="refuse"
  ) -> None:
    """`check` before this network is used on a part, which may lack classes.

    Numbers the classes of the part as the network does.
    """
    data = Provenance.of(index, part.protocol)
    self.check(data, on_mismatch=on_mismatch, may_lack_classes=True)
    if set(part.class_names) <= set(self.class_names):
      part.number_as(self.class_names)

  def check_start(self, data: "Provenance", on_mismatch="refuse") -> None:
    """`check` before a part of this network starts another one.

    On another dataset anything may differ: that is what fine-tuning is for. Datasets of
    one's own are the same when their records are.
    """
    same = self.dataset == data.dataset != "custom"
    if same or self.index_digest == data.index_digest:
      self.check(data, TO_START, on_mismatch)
      seen = self._trained_on(data.validation)
      if seen:
        logging.warning(
          "It was trained on clips that validate now (%s %s): the best step and the "
          "temperature will look better than they are.",
          data.validation["attribute"],
          seen,
        )

  def _trained_on(self, validation: dict) -> list:
    """The values of a validation part, `validation`, that this network did not have."""
    same = self.validation["attribute"] == validation["attribute"]
    held_out = self.validation["values"] if same else []
    return [value for value in validation["values"] if value not in held_out]


def _digest(corrected: Mapping[str, str]) -> str:
  text = json.dumps(sorted(corrected.items()))
  return hashlib.sha256(text.encode()).hexdigest()[:16] if corrected else ""


def compare_settings(before: dict, now: dict) -> dict[str, tuple]:
  """The settings that changed since a checkpoint: name -> (old, new).

  None stands for a setting that one of them does not have.
  """

  def flat(tree, prefix=""):
    for name, value in tree.items():
      if isinstance(value, dict):
        yield from flat(value, f"{prefix}{name}.")
      else:
        yield prefix + name, value

  old, new = (dict(flat(json.loads(json.dumps(tree)))) for tree in (before, now))
  old = {name: value for name, value in _BEFORE.items() if name in new} | old
  changed = [name for name in {**old, **new} if old.get(name) != new.get(name)]
  # The name of the row, and where the other jobs write, say nothing of training.
  ours = ("row", "output")
  return {
    name: (old.get(name), new.get(name))
    for name in changed
    if name.partition(".")[0] not in ours
  }


def changed_settings(before: dict, now: dict) -> list[str]:
  """Settings that changed since the checkpoint that a run goes on from.

  Returns: "name: old -> new", a line each.
  Raises: ValueError for what fixes the order of the clips and the place among them, or
    which parameters there are.
  """
  changed = compare_settings(before, now)
  for name in PLACE_IN_DATA:
    if name in changed:
      old, new = changed[name]
      raise ValueError(
        f"config.{name} is {new}, the checkpoint was trained with {old}: going on "
        "would repeat or leave out clips, so keep it or start in another workdir."
      )
  for name in PARAMETERS:
    old, new = changed.get(name, (None, None))
    if old is not None:
      raise ValueError(
        f"config.{name} is {new!r}, the checkpoint was trained with {old!r} and has "
        f"its parameters: resume with --config.{name}={old}, or start in another "
        "workdir."
      )
  return [f"{name}: {old} -> {new}" for name, (old, new) in changed.items()]


def _sorted(values: Iterable[int | str]) -> list[int | str]:
  return sorted(values, key=lambda value: (isinstance(value, str), value))


def code_commit() -> str:
  """The commit of this code, with a "+" where files differ; "" without git."""
  git = ("git", "-C", str(pathlib.Path(__file__).parent))
  try:
    commit = subprocess.run(
      (*git, "rev-parse", "--short", "HEAD"), capture_output=True, text=True, check=True
    )
    changed = subprocess.run((*git, "diff", "--quiet", "HEAD"), check=False)
  except (OSError, subprocess.CalledProcessError):
    return ""
  return commit.stdout.strip() + ("+" if changed.returncode else "")


def code() -> dict[str, str]:
  """The commit of this code, and the versions of Python and of the packages."""
  versions = {name: importlib.metadata.version(name) for name in _PACKAGES}
  return {
    "commit": code_commit(),
    "python": platform.python_version(),
    **versions,
  }
