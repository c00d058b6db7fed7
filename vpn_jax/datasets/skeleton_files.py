"""A skeleton of one's own: in a JSON file, and stored with what was made by it."""

import json
import pathlib
import reprlib

from vpn_jax.datasets import skeletons, text_files

MAX_JOINTS = 512
_MAX_BYTES = 1 << 20  # of a JSON file
_FIELDS = ("name", "joints", "bones", "origin", "roles", "mirror")
_ROLES = (
  "left_hand", "right_hand", "left_hip", "right_hip", "left_shoulder", "right_shoulder",
  "left_elbow", "right_elbow", "left_knee", "right_knee", "left_ankle", "right_ankle",
)  # fmt: skip


def find(name_or_file: str) -> skeletons.Skeleton:
  """Returns a skeleton by its name, or registers that of a JSON file.

  Args:
    name_or_file: name in `skeletons.SKELETONS`, or a path that ends in .json; see
      `from_dict`.
  Raises: FileNotFoundError without the file; ValueError for an unknown name or a file
    that is not a skeleton.
  """
  if not name_or_file.endswith(".json"):
    return skeletons.get(name_or_file)
  path = pathlib.Path(name_or_file)
  if not path.is_file():
    raise FileNotFoundError(
      f"no file {path}: config.data.skeleton is the name of a skeleton, one of "
      f"{sorted(skeletons.SKELETONS)}, or a JSON file of its joints and bones."
    )
  if path.stat().st_size > _MAX_BYTES:
    raise ValueError(f"{path} has more than 1 MB, expected a skeleton: check the path.")
  try:
    content = json.loads(text_files.decode(path.read_bytes()))
  except (ValueError, RecursionError) as e:
    raise ValueError(f"{path} is not JSON ({e}): write a skeleton as JSON.") from e
  return skeletons.register(from_dict(content, str(path)))


def definition(name: str) -> dict | None:
  """What must be stored beside the name of a skeleton to know it elsewhere.

  Returns: `Skeleton.to_dict()`; None for a skeleton of `skeleton_layouts`.
  """
  return None if name in skeletons.BUILT_IN else skeletons.get(name).to_dict()


def restore(content: dict | None, what: str) -> None:
  """Registers what `definition` returned.

  Raises: ValueError, which names `what`, if it is damaged or differs from the skeleton
    of that name in this process.
  """
  if content is not None:
    try:
      skeletons.register(from_dict(content, what))
    except ValueError as e:
      raise ValueError(f"{what}: {e}") from e


def from_dict(content, what: str) -> skeletons.Skeleton:
  """Makes a skeleton from the content of a JSON file, without registering it.

  Args:
    content: a dict of `name`, `joints` (names), `bones` (pairs of names) and, where the
      names of the joints do not tell, `origin` (names; by default the hips), `roles`
      (role -> joint) and `mirror` (pairs of names).
    what: names the file in messages.
  Raises: ValueError with got, expected, remedy.
  """
  if not isinstance(content, dict):
    raise ValueError(f"{what} holds {_brief(content)}, expected an object {_FIELDS}.")
  unknown = [key for key in content if key not in _FIELDS]
  lacking = [key for key in ("name", "joints", "bones") if key not in content]
  if unknown or lacking:
    raise ValueError(
      f"{what} has the fields {_brief(list(content))}, expected name, joints, bones "
      f"and, optionally, {_FIELDS[3:]}: {'add ' if lacking else 'remove '}"
      f"{_brief(lacking or unknown)}."
    )
  name = content["name"]
  if not _is_word(name):
    raise ValueError(f"{what}: name is {_brief(name)}, expected a short word.")
  joints = _words(content["joints"], f"{what}: joints")
  if not 2 <= len(joints) <= MAX_JOINTS:
    raise ValueError(
      f"{what} has {len(joints)} joints, expected 2 to {MAX_JOINTS}: check the file."
    )
  roles = content.get("roles", {})
  if not (
    isinstance(roles, dict)
    and all(role in _ROLES and _is_word(joint) for role, joint in roles.items())
  ):
    raise ValueError(
      f"{what}: roles are {_brief(roles)}, expected joints by their roles, which are "
      f"among {_ROLES}."
    )
  hips = [roles.get(hip, hip) for hip in ("left_hip", "right_hip")]
  origin = content.get("origin") or (hips if set(hips) <= set(joints) else None)
  if origin is None:
    raise ValueError(
      f"{what} has no origin and no hips: name the joints at the middle of the body, "
      'such as "origin": ["pelvis"].'
    )
  return skeletons.Skeleton(
    name,
    joints,
    _pairs(content["bones"], f"{what}: bones"),
    _words(origin, f"{what}: origin"),
    tuple(roles.items()),
    _pairs(content.get("mirror", []), f"{what}: mirror"),
  )


def _is_word(value) -> bool:
  return isinstance(value, str) and 0 < len(value) <= 60 and value.isprintable()


def _words(values, what: str) -> tuple[str, ...]:
  if not (isinstance(values, list) and all(map(_is_word, values))):
    raise ValueError(f"{what} are {_brief(values)}, expected a list of names.")
  return tuple(values)


def _pairs(values, what: str) -> skeletons.Pairs:
  if not (
    isinstance(values, list)
    and all(isinstance(p, list) and len(p) == 2 and _is_word(p[0]) for p in values)
    and all(_is_word(p[1]) and p[0] != p[1] for p in values)
  ):
    raise ValueError(
      f"{what} are {_brief(values)}, expected a list of pairs of different joints."
    )
  return tuple((a, b) for a, b in values)


def _brief(value) -> str:
  return reprlib.repr(value)[:100]
