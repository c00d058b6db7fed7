"""Augmentation of poses in training: turned, scaled, noisy, incomplete, retimed.

Everything acts on the pose alone. The flip of `example.Settings`, which mirrors frames
and poses together, stays there.
"""

import dataclasses

import numpy as np

from vpn_jax.datasets import skeletons


@dataclasses.dataclass(frozen=True)
class Augmentation:
  """What is drawn for a training clip; `Augmentation(**config.data.example.augment)`.

  Each is off at 0 (`temporal_crop` at 1) and then draws nothing.

  Attributes:
    rotation: largest angles about the x, y and z axes, degrees, each drawn uniformly
      from [-angle, angle]. Camera axes: y is vertical, z the depth. The turns about z
      and x come first, so that the one about y turns the body on its own feet.
    scale: largest relative change of the size, drawn uniformly.
    noise: standard deviation of Gaussian noise on each coordinate of each joint and
      step, metres; joints that are not known stay zeros.
    joint_drop: probability that a joint is dropped, that is, zero in all steps.
    limb_drop: probability that one limb is dropped, a random one of
      `Skeleton.limbs`.
    temporal_crop: smallest part of the window that the poses are sampled from, as a
      fraction, drawn uniformly, as is its start. A shorter part plays more slowly.
    speed: largest relative change of the speed: within the part it goes linearly from
      1 - s to 1 + s, s drawn uniformly from [-speed, speed].
  """

  rotation: tuple[float, float, float] = (0.0, 0.0, 0.0)
  scale: float = 0.0
  noise: float = 0.0
  joint_drop: float = 0.0
  limb_drop: float = 0.0
  temporal_crop: float = 1.0
  speed: float = 0.0

  def __post_init__(self):
    name = "config.data.example.augment"
    object.__setattr__(self, "rotation", tuple(self.rotation))  # JSON has lists
    if len(self.rotation) != 3 or not all(0 <= a <= 180 for a in self.rotation):
      raise ValueError(
        f"{name}.rotation is {self.rotation}, expected three angles of 0 to 180 "
        "degrees, about x, y and z."
      )
    for field in ("scale", "speed"):
      if not 0 <= getattr(self, field) < 1:
        raise ValueError(
          f"{name}.{field} is {getattr(self, field)}, expected a relative change of 0 "
          "or more, below 1."
        )
    for field in ("joint_drop", "limb_drop"):
      if not 0 <= getattr(self, field) <= 1:
        raise ValueError(
          f"{name}.{field} is {getattr(self, field)}, expected a probability, 0 to 1."
        )
    if self.noise < 0:
      raise ValueError(f"{name}.noise is {self.noise}, expected metres, 0 or more.")
    if not 0 < self.temporal_crop <= 1:
      raise ValueError(
        f"{name}.temporal_crop is {self.temporal_crop}, expected a fraction above 0, "
        "up to 1."
      )


OFF = Augmentation()


@dataclasses.dataclass(frozen=True)
class Change:
  """What was drawn for a clip.

  Attributes:
    part: start and end of the part of the window that is sampled, as fractions.
    speed: s, see `Augmentation`.
    matrix: of rotation and scale together, float32 [3, 3]; None for neither.
    dropped: positions of joints that become zero.
    noise: seed of the noise.
    noise_metres: its standard deviation.
  """

  part: tuple[float, float] = (0.0, 1.0)
  speed: float = 0.0
  matrix: np.ndarray | None = None
  dropped: tuple[int, ...] = ()
  noise: int = 0
  noise_metres: float = 0.0


NO_CHANGE = Change()


def check(settings: Augmentation, skeleton: skeletons.Skeleton) -> None:
  """Raises ValueError when limbs of a skeleton without limbs are to be dropped."""
  if settings.limb_drop and not skeleton.limbs():
    raise ValueError(
      f"config.data.example.augment.limb_drop is {settings.limb_drop} and skeleton "
      f"{skeleton.name!r} has no limbs, expected shoulders, elbows, hips and "
      "knees: name them in its roles, or set limb_drop to 0."
    )


def draw(
  settings: Augmentation,
  skeleton: skeletons.Skeleton,
  rng: np.random.Generator,
) -> Change:
  """Draws the change of a clip; nothing for what is off.

  The skeleton has limbs where some are dropped; see `check`.
  """
  s, made = settings, {}
  if s.temporal_crop < 1:
    length = rng.uniform(s.temporal_crop, 1.0)
    start = rng.uniform(0.0, 1.0 - length)
    made["part"] = start, start + length
  if s.speed:
    made["speed"] = rng.uniform(-s.speed, s.speed)
  matrix = None
  if any(s.rotation):
    largest = np.radians(s.rotation)
    matrix = rotation(rng.uniform(-largest, largest))
  if s.scale:
    size = rng.uniform(1.0 - s.scale, 1.0 + s.scale)
    matrix = size * (np.eye(3) if matrix is None else matrix)
  if matrix is not None:
    made["matrix"] = matrix.astype(np.float32)
  dropped = np.zeros(skeleton.num_joints, bool)
  if s.joint_drop:
    dropped |= rng.random(skeleton.num_joints) < s.joint_drop
  if s.limb_drop and rng.random() < s.limb_drop:
    limbs = skeleton.limbs()
    dropped[list(limbs[rng.integers(len(limbs))])] = True
  made["dropped"] = tuple(np.flatnonzero(dropped).tolist())
  if s.noise:
    made.update(noise=int(rng.integers(2**63)), noise_metres=s.noise)
  return Change(**made)


def rotation(angles: np.ndarray) -> np.ndarray:
  """The matrix of turns about z, then x, then y, float64 [3, 3].

  Args:
    angles: about x, y and z, radians. A positive one turns y to z, z to x, x to y.
  """
  (cx, cy, cz), (sx, sy, sz) = np.cos(angles), np.sin(angles)
  about_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
  about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
  about_z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
  return about_y @ about_x @ about_z


def apply(change: Change, pose: np.ndarray) -> np.ndarray:
  """Changes centred poses, float32 [S, persons, J, 3], metres; the time is sampled.

  Rotation and scale keep the origin, which is that of the main actor for everybody.
  """
  known = (pose != 0).any(axis=-1, keepdims=True)  # zeros: nobody was seen
  if change.matrix is not None:
    pose = pose @ change.matrix.T
  if change.noise_metres:
    normal = np.random.default_rng(change.noise).standard_normal(pose.shape, np.float32)
    pose = pose + known * np.float32(change.noise_metres) * normal
  if change.dropped:
    pose = pose.copy()
    pose[:, :, list(change.dropped)] = 0.0
  return pose


def apply_in_image(change: Change, pose: np.ndarray) -> np.ndarray:
  """Changes poses in the image, float32 [S, persons, J, 3]: x, y and score.

  The body is taken as flat: turned about x or y it becomes shorter or narrower. Scores
  stay, but for those of dropped joints, which become zero.
  """
  flat, score = pose * np.float32([1, 1, 0]), pose[..., 2].copy()
  if change.dropped:
    score[:, :, list(change.dropped)] = 0.0
  return np.concatenate([apply(change, flat)[..., :2], score[..., None]], axis=-1)
