"""Skeletons: joint names, bones and left/right pairs.

The known ones are in `skeleton_layouts`. One of your own comes from a JSON file
(`find`) or a call of `register`.
"""

import dataclasses
import hashlib
import json
import pathlib
import reprlib

import numpy as np

from vpn_jax.datasets import skeleton_layouts

Pairs = tuple[tuple[str, str], ...]

MAX_JOINTS = 512
_MAX_BYTES = 1 << 20  # of a JSON file
_FIELDS = ("name", "joints", "bones", "origin", "roles", "mirror")
_ROLES = (
  "left_hand", "right_hand", "left_hip", "right_hip", "left_shoulder", "right_shoulder",
  "left_elbow", "right_elbow", "left_knee", "right_knee", "left_ankle", "right_ankle",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Skeleton:
  """What the network needs to know about a body.

  Attributes:
    name: key in `SKELETONS`.
    joints: joint names in the order of the arrays.
    bones: pairs of joint names: the edges with weight alpha of the graph.
    origin: joints whose mean in the first valid frame becomes (0, 0, 0).
    roles: (role, joint) where a joint of another name plays a role: LCR-Net and
      BlazePose have wrists instead of "left_hand" and "right_hand".
    mirror_pairs: joints that a flip exchanges; () for those whose names differ in the
      words "left" and "right" alone.
  """

  name: str
  joints: tuple[str, ...]
  bones: Pairs
  origin: tuple[str, ...]
  roles: Pairs = ()
  mirror_pairs: Pairs = ()

  def __post_init__(self):
    for field in ("joints", "origin"):
      object.__setattr__(self, field, tuple(getattr(self, field)))
    for field in ("bones", "mirror_pairs"):
      object.__setattr__(self, field, tuple(map(tuple, getattr(self, field))))
    roles = tuple(sorted(map(tuple, self.roles)))  # equal whatever their order
    object.__setattr__(self, "roles", roles)
    if len(set(self.joints)) != len(self.joints):
      raise ValueError(f"skeleton {self.name}: a joint name appears twice; rename it.")
    paired = [j for pair in self.mirror_pairs for j in pair]
    for what, named in (
      ("bones or origin name", [j for b in self.bones for j in b] + list(self.origin)),
      ("roles name", [joint for _, joint in self.roles]),
      ("mirror pairs name", paired),
    ):
      unknown = sorted(set(named) - set(self.joints))
      if unknown:
        raise ValueError(
          f"skeleton {self.name}: {what} {unknown}, expected names among "
          f"its joints {list(self.joints)}."
        )
    if len(set(paired)) != len(paired):
      raise ValueError(
        f"skeleton {self.name}: a joint is in two mirror pairs, expected each once."
      )

  def __reduce__(self):
    # A process that receives a skeleton knows it by name from then on.
    return _registered, tuple(getattr(self, f.name) for f in dataclasses.fields(self))

  @property
  def num_joints(self) -> int:
    return len(self.joints)

  def index(self, joint: str) -> int:
    """The position of a joint in the arrays; ValueError for an unknown one."""
    if joint not in self.joints:
      raise ValueError(f"skeleton {self.name} has no joint {joint!r}: {self.joints}.")
    return self.joints.index(joint)

  def bone_indices(self) -> np.ndarray:
    """The positions of both ends of each bone, int [bones, 2]."""
    ends = [[self.index(a), self.index(b)] for a, b in self.bones]
    return np.array(ends, int).reshape(-1, 2)

  def origin_indices(self) -> np.ndarray:
    return np.array([self.index(j) for j in self.origin])

  def hands(self) -> tuple[int, int]:
    """The positions of the joints of the left and the right hand."""
    return self._sides("hand")

  def hips(self) -> tuple[int, int]:
    """Positions of the left and the right hip."""
    return self._sides("hip")

  def shoulders(self) -> tuple[int, int]:
    """Positions of the left and the right shoulder."""
    return self._sides("shoulder")

  def _sides(self, part: str) -> tuple[int, int]:
    roles, found = dict(self.roles), []
    for role in (f"left_{part}", f"right_{part}"):
      joint = roles.get(role, role)
      if joint not in self.joints:
        raise ValueError(
          f"skeleton {self.name} has no {role} among its joints {self.joints}: name "
          f"the joint in its roles, as {{{role!r}: ...}}."
        )
      found.append(self.index(joint))
    return found[0], found[1]

  def limbs(self) -> tuple[tuple[int, ...], ...]:
    """Positions of the joints of each arm and each leg; () where there are none.

    An arm is the shoulder and all that hangs on the elbow, a leg the hip and all that
    hangs on the knee.
    """
    try:
      roots = *self.shoulders(), *self.hips()
      starts = *self._sides("elbow"), *self._sides("knee")
    except ValueError:
      return ()
    found = []
    for root, start in zip(roots, starts):
      limb, ends = {root}, [start]
      while ends:
        limb.add(end := ends.pop())
        bones = [bone for bone in self.bone_indices() if end in bone]
        ends += {int(joint) for bone in bones for joint in bone} - limb
      found.append(tuple(sorted(limb)))
    return tuple(found)

  def hops(self) -> np.ndarray:
    """Bones between each joint and the nearest joint of the origin, int [J].

    A part of the body that no bone connects to the origin, as the face of BlazePose,
    counts from the first of its joints, which is one hop away.
    """
    hops = np.full(self.num_joints, -1)
    frontier = self.origin_indices()
    hops[frontier] = 0
    bones = self.bone_indices()
    both = np.concatenate([bones, bones[:, ::-1]])
    while (hops < 0).any():
      if not len(frontier):
        frontier = np.flatnonzero(hops < 0)[:1]
        hops[frontier] = 1
      reached = both[np.isin(both[:, 0], frontier)]
      new = reached[hops[reached[:, 1]] < 0]
      hops[new[:, 1]] = hops[new[:, 0]] + 1
      frontier = np.unique(new[:, 1])
    return hops

  def parents(self) -> np.ndarray:
    """The joint that each one hangs on, int [J], as a tree from the origin.

    It is the first neighbour that is one hop nearer to the origin. The root is the
    first joint of the origin and its own parent. The other joints of the origin, and
    the first one of a part without a bone to it, hang on the root.
    """
    hops, bones = self.hops(), self.bone_indices()
    parents = np.full(self.num_joints, self.origin_indices()[0])
    for child, parent in np.concatenate([bones, bones[:, ::-1]])[::-1]:
      if hops[parent] == hops[child] - 1:
        parents[child] = parent
    return parents

  def mirror(self) -> np.ndarray:
    """The order of joints after a horizontal flip, int [J].

    `pose[..., skeleton.mirror(), :]` has at `left_x` what was at `right_x`.
    """
    swap = {"left": "right", "right": "left"}
    words = ["_".join(swap.get(w, w) for w in j.split("_")) for j in self.joints]
    if self.mirror_pairs:
      other = dict([*self.mirror_pairs, *(pair[::-1] for pair in self.mirror_pairs)])
      words = [other.get(j, j) for j in self.joints]
    return np.array(
      [self.index(w) if w in self.joints else i for i, w in enumerate(words)]
    )

  def digest(self) -> str:
    """Eight hex digits over joints, bones, origin and, if given, mirror pairs."""
    content = [self.joints, self.bones, self.origin]
    if self.mirror_pairs:
      content.append(self.mirror_pairs)
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:8]

  def to_dict(self) -> dict:
    """The content of its JSON file; see `from_dict`."""
    return {
      "name": self.name,
      "joints": list(self.joints),
      "bones": [list(bone) for bone in self.bones],
      "origin": list(self.origin),
      "roles": dict(self.roles),
      "mirror": [list(pair) for pair in self.mirror_pairs],
    }


def from_dict(content, what: str) -> Skeleton:
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
  return Skeleton(
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


def _pairs(values, what: str) -> Pairs:
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


SKELETONS: dict[str, Skeleton] = {}


def register(skeleton: Skeleton) -> Skeleton:
  """Registers a skeleton by its name; refuses another one of the same name."""
  known = SKELETONS.get(skeleton.name)
  if known is not None and known != skeleton:
    raise ValueError(f"skeleton {skeleton.name!r} is registered already: rename yours.")
  SKELETONS[skeleton.name] = skeleton
  return skeleton


def _registered(*fields) -> Skeleton:
  return register(Skeleton(*fields))


def get(name: str) -> Skeleton:
  """Returns a registered skeleton; ValueError lists the known ones."""
  if name not in SKELETONS:
    raise ValueError(
      f"unknown skeleton {name!r}, expected one of {sorted(SKELETONS)}; "
      "skeletons.register adds your own."
    )
  return SKELETONS[name]


def find(name_or_file: str) -> Skeleton:
  """Returns a skeleton by its name, or registers that of a JSON file.

  Args:
    name_or_file: name in `SKELETONS`, or a path that ends in .json; see `from_dict`.
  Raises: FileNotFoundError without the file; ValueError for an unknown name or a file
    that is not a skeleton.
  """
  if not name_or_file.endswith(".json"):
    return get(name_or_file)
  path = pathlib.Path(name_or_file)
  if not path.is_file():
    raise FileNotFoundError(
      f"no file {path}: config.data.skeleton is the name of a skeleton, one of "
      f"{sorted(SKELETONS)}, or a JSON file of its joints and bones."
    )
  if path.stat().st_size > _MAX_BYTES:
    raise ValueError(f"{path} has more than 1 MB, expected a skeleton: check the path.")
  try:
    content = json.loads(path.read_bytes())
  except (ValueError, RecursionError) as e:
    raise ValueError(f"{path} is not JSON ({e}): write a skeleton as JSON.") from e
  return register(from_dict(content, str(path)))


def definition(name: str) -> dict | None:
  """What must be stored beside the name of a skeleton to know it elsewhere.

  Returns: `Skeleton.to_dict()`; None for a skeleton of `skeleton_layouts`.
  """
  return None if name in _BUILT_IN else get(name).to_dict()


def restore(content: dict | None, what: str) -> None:
  """Registers what `definition` returned.

  Raises: ValueError, which names `what`, if it is damaged or differs from the skeleton
    of that name in this process.
  """
  if content is not None:
    try:
      register(from_dict(content, what))
    except ValueError as e:
      raise ValueError(f"{what}: {e}") from e


_BUILT_IN = tuple(layout["name"] for layout in skeleton_layouts.ALL)
for _layout in skeleton_layouts.ALL:
  register(Skeleton(**_layout))
