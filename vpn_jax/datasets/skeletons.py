"""Skeletons: joint names, bones and left/right pairs.

The known ones are in `skeleton_layouts`. One of your own comes from a JSON file
(`skeleton_files`) or a call of `register`.
"""

import dataclasses
import hashlib
import json

import numpy as np

from vpn_jax.datasets import skeleton_layouts

Pairs = tuple[tuple[str, str], ...]


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

  def parts(self) -> tuple[tuple[int, ...], ...]:
    """Positions of the joints of parts of the body: hands, limbs, and all others.

    The joint of each hand is also in its arm. A skeleton without hands or limbs by name
    has the others alone.
    """
    limbs = self.limbs()
    try:
      hands = tuple((hand,) for hand in self.hands())
    except ValueError:
      hands = ()
    taken = {joint for limb in limbs for joint in limb}
    others = tuple(i for i in range(self.num_joints) if i not in taken)
    return tuple(part for part in (*hands, *limbs, others) if part)

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
    """The content of its JSON file; see `skeleton_files.from_dict`."""
    return {
      "name": self.name,
      "joints": list(self.joints),
      "bones": [list(bone) for bone in self.bones],
      "origin": list(self.origin),
      "roles": dict(self.roles),
      "mirror": [list(pair) for pair in self.mirror_pairs],
    }


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


BUILT_IN = tuple(layout["name"] for layout in skeleton_layouts.ALL)
for _layout in skeleton_layouts.ALL:
  register(Skeleton(**_layout))
