"""Synthetic clips of daily living: RGB, 3D poses, labels and the ground truth.

A dataset without download or licence. Its classes form groups that look alike in the
three ways of the paper's introduction, so that frames alone or poses alone distinguish
only some of them:

* "same look, other motion": clap / rub hands, hop / jump up;
* "same motion, other object": drink from cup / can, read a book / use a tablet. The
  poses of such a pair have the same distribution;
* "small and local": put on headphones / flick hair, one hand / two hands, thumb up /
  thumb down.

Cups, cans, books, tablets and headphones also lie unused in the rooms, whatever the
action. A clip is a function of (seed, index) and the settings.
"""

import dataclasses

import cv2
import numpy as np

from vpn_jax.datasets.synthetic import appearance, rendering, scene
from vpn_jax.datasets.synthetic.kinematics import NUM_JOINTS, make_body
from vpn_jax.datasets.synthetic.motion import make_motion
from vpn_jax.datasets.synthetic.scripts import ACTIONS

CLASSES: tuple[str, ...] = tuple(ACTIONS)
LOOK_ALIKES: dict[str, tuple[tuple[str, ...], ...]] = {
  "same look, other motion": (("clap", "rub hands"), ("hop", "jump up")),
  "same motion, other object": (
    ("drink from cup", "drink from can"),
    ("read a book", "use a tablet"),
  ),
  "small and local": (
    ("put on headphones", "flick hair"),
    ("wave with one hand", "wave with two hands"),
    ("thumb up", "thumb down"),
  ),
}
# Standard deviation of the measured joints in metres, as of a Kinect v2.
_JITTER = np.full(NUM_JOINTS, 0.008)
_JITTER[[5, 9, 13, 17]] = 0.012
_JITTER[[6, 10, 14, 18]] = 0.016
_JITTER[[7, 11, 15, 19]] = 0.02
_JITTER[21:] = 0.025


@dataclasses.dataclass(frozen=True)
class Settings:
  """What all clips of a dataset share.

  Attributes:
    num_frames: F, at least 1.
    height, width: of the frames in pixels; at least 48, and width >= height.
    fps: frames per second.
    num_subjects: people, at least 1.
    num_cameras: 1 to 3, at a yaw of -45, 0 and 45 degrees.
    joint_noise: scales the error of `pose`; 0 gives the true pose.
  Raises: ValueError for a number out of range.
  """

  num_frames: int = 48
  height: int = 144
  width: int = 176
  fps: float = 20.0
  num_subjects: int = 10
  num_cameras: int = 3
  joint_noise: float = 1.0

  def __post_init__(self):
    for name, low, high in (
      ("num_frames", 1, 10_000),
      ("height", 48, 2160),
      ("width", 48, 3840),
      ("fps", 1, 240),
      ("num_subjects", 1, 99),
      ("num_cameras", 1, 3),
      ("joint_noise", 0, 100),
    ):
      value = getattr(self, name)
      if not low <= value <= high:
        raise ValueError(
          f"got {name}={value}, expected {low} to {high}: "
          f"choose Settings({name}=...) in that range."
        )
    if self.width < self.height:
      raise ValueError(
        f"got width={self.width} for height={self.height}, expected width >= height so "
        "that stretched arms stay in view: widen or lower the frame."
      )


@dataclasses.dataclass(frozen=True)
class SyntheticClip:
  """One clip and its ground truth.

  Attributes:
    name: such as "M000123_S03_C2_A05": index, then subject, camera, action from 1.
    label: index into CLASSES.
    subject, camera: from 1.
    frames: RGB, uint8 [F, H, W, 3].
    pose: measured joints, Kinect v2 order, metres, camera axes (x right, y up, z
      forward), float32 [F, 25, 3].
    true_pose: the same without error, float32 [F, 25, 3].
    image_joints: pixels (x, y) of true_pose, float32 [F, 25, 2].
    object_position: pixel at the centre of the object in hand, float32 [F, 2]; NaN
      without an object.
    acting: whether a joint performs the action, bool [F, 25]: the ends of arms or legs.
    object_name: of the object in hand, or None.
    unused_objects: names of the things in the room.
  """

  name: str
  label: int
  subject: int
  camera: int
  frames: np.ndarray
  pose: np.ndarray
  true_pose: np.ndarray
  image_joints: np.ndarray
  object_position: np.ndarray
  acting: np.ndarray
  object_name: str | None
  unused_objects: tuple[str, ...] = ()


def attributes(index: int, settings: Settings = Settings()) -> tuple[int, int, int]:
  """Label, subject and camera of a clip, without rendering it.

  K = len(CLASSES) indices from a multiple of K have every class once;
  K * num_subjects * num_cameras indices have every combination once.

  Args:
    index: of the clip, from 0.
    settings: the numbers of subjects and cameras.
  Returns: label from 0, subject from 1, camera from 1.
  Raises: ValueError for a negative index.
  """
  if index < 0:
    raise ValueError(f"got index={index}, expected 0 or more: count clips from 0.")
  block, label = divmod(int(index), len(CLASSES))
  turn, person = divmod(block, settings.num_subjects)
  subject = (person + label) % settings.num_subjects
  camera = (turn + person + label) % settings.num_cameras
  return label, 1 + subject, 1 + camera


def clip_name(index: int, settings: Settings = Settings()) -> str:
  """The name of a clip: index, subject, camera, action; the last three from 1."""
  label, subject, camera = attributes(index, settings)
  return f"M{index:06d}_S{subject:02d}_C{camera}_A{label + 1:02d}"


def project(points: np.ndarray, settings: Settings = Settings()) -> np.ndarray:
  """Projects camera axes [..., 3] in metres to pixels (x, y) [..., 2], for any camera.

  (0, 0) is the centre of the first pixel; y points down.
  """
  intrinsics = rendering.intrinsics(settings.height, settings.width)
  return rendering.project(points, *intrinsics)


def make_clip(
  seed: int, index: int, settings: Settings = Settings(), *, render: bool = True
) -> SyntheticClip:
  """Makes one clip, a function of the arguments alone.

  Args:
    seed: of the dataset, 0 or more.
    index: of the clip, 0 or more.
    settings: shared by all clips.
    render: False for the same clip without frames, which take most of the time.
  Returns: the clip.
  Raises: ValueError for a negative seed or index.
  """
  if seed < 0:
    raise ValueError(f"got seed={seed}, expected 0 or more: pick another seed.")
  label, subject, camera_number = attributes(index, settings)
  # One stream per concern, so that the object does not change the pose, nor the action
  # the room.
  moving, viewing, dressing, building, measuring, finishing = np.random.default_rng(
    [seed, index]
  ).spawn(6)
  person = np.random.default_rng([seed, subject, 0])
  body = make_body(person)
  motion = make_motion(moving, CLASSES[label], body, settings.num_frames, settings.fps)
  shape = settings.height, settings.width
  camera = rendering.look_from(viewing, camera_number, *shape)
  room, floor, unused = scene.draw_room(building, camera, *shape, motion.seat)
  frames = np.repeat(room[None], settings.num_frames if render else 0, axis=0)
  if render:
    look = appearance.make_look(person, dressing)
    held = []
    if motion.object_name is not None:
      held = rendering.make_object(dressing, motion.object_name)
    figure = appearance.Figure(camera, look, body.girth, motion, held, floor)
    for i, frame in enumerate(frames):
      figure.draw(frame, i)
    _sensor(finishing, frames)
  true_pose = camera.view(motion.joints)
  error = _joint_error(measuring, true_pose, body.girth)
  return SyntheticClip(
    name=clip_name(index, settings),
    label=label,
    subject=subject,
    camera=camera_number,
    frames=frames,
    pose=(true_pose + settings.joint_noise * error).astype(np.float32),
    true_pose=true_pose.astype(np.float32),
    image_joints=camera.project(motion.joints).astype(np.float32),
    object_position=camera.project(motion.object_centre).astype(np.float32),
    object_name=motion.object_name,
    unused_objects=unused,
    acting=motion.acting,
  )


def _sensor(rng, frames):
  """Applies exposure, tint and grain to uint8 [F, H, W, 3] in place."""
  height, width = frames.shape[1:3]
  gain = rng.uniform(0.75, 1.05) * rng.uniform(0.95, 1.05, 3)
  table = np.clip(np.arange(256)[:, None] * gain, 0, 255).astype(np.uint8)[None]
  grain = rng.normal(0, rng.uniform(2, 5), (height + 16, width + 16, 3))
  grain = grain.astype(np.int16)
  flat = frames.reshape(-1, width, 3)
  cv2.LUT(flat, table, dst=flat)
  for frame, (y, x) in zip(frames, rng.integers(0, 16, (len(frames), 2)), strict=True):
    noise = grain[y : y + height, x : x + width]
    cv2.add(frame, noise, dst=frame, dtype=cv2.CV_8U)


def _hidden(pose, girth):
  """Whether a limb or the trunk hides a joint from the camera, bool [F, 25]."""
  limbs = [(*limb[1:3], max(limb[3:])) for limb in appearance.LIMBS]
  first, last, radius = np.array([*limbs, (20, 0, 0.13), (2, 3, 0.11)]).T
  first, last = first.astype(int), last.astype(int)
  radius = radius * girth**0.5
  flat = pose[..., :2] / pose[..., 2:]  # rays, in metres at one metre
  a, d = flat[:, None, first], (flat[:, last] - flat[:, first])[:, None]
  p = flat[:, :, None]
  s = np.sum((p - a) * d, -1) / np.maximum(np.sum(d * d, -1), 1e-9)
  s = np.clip(s, 0, 1)  # position of the nearest point along the limb, [F, 25, P]
  gap = np.linalg.norm(p - a - s[..., None] * d, axis=-1)
  z = pose[..., 2]
  depth = z[:, None, first] * (1 - s) + z[:, None, last] * s
  joint = np.arange(NUM_JOINTS)[:, None]
  own = (joint == first) | (joint == last)
  behind = z[..., None] > depth + radius
  return ((gap * depth < radius) & behind & ~own).any(-1)


def _joint_error(rng, pose, girth):
  """The error of a Kinect: jitter, and joints that freeze or drift when hidden.

  Args:
    rng: of all draws.
    pose: true joints in camera axes, [F, 25, 3].
    girth: of the person.
  Returns: error in metres, [F, 25, 3].
  """
  frames = len(pose)
  white, slow = rng.normal(size=(2, frames, NUM_JOINTS, 3))
  for i in range(1, frames):  # half of the variance persists for some frames
    slow[i] = 0.85 * slow[i - 1] + 0.527 * slow[i]
  error = (white + slow) * (_JITTER[:, None] * (0.6, 0.6, 0.9))
  hidden = _hidden(pose, girth)
  offset = rng.normal(0, 2.5, (NUM_JOINTS, 3)) * _JITTER[:, None]
  held = (rng.random(NUM_JOINTS) < 0.4) & (_JITTER > 0.01)  # the trunk is never lost
  lost = rng.random(NUM_JOINTS) < np.where(_JITTER > 0.015, 0.06, 0.01)
  begin, length = rng.integers(0, frames, NUM_JOINTS), rng.integers(2, 8, NUM_JOINTS)
  time = np.arange(frames)[:, None]
  hidden |= lost & (time >= begin) & (time < begin + length)
  weight = np.zeros(NUM_JOINTS)
  seen = np.zeros(NUM_JOINTS, int)
  for i in range(frames):
    weight += 0.35 * (hidden[i] - weight)  # drifts away and back, without jumps
    seen = np.where(hidden[i], seen, i)
    stuck = pose[seen, np.arange(NUM_JOINTS)] - pose[i]
    away = np.where(held[:, None], np.clip(stuck, -0.25, 0.25), offset)
    error[i] += weight[:, None] * away
  return error
