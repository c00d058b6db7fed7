"""Multi-view inference (section 4.1): views of a clip, and their pooled score."""

import dataclasses

import numpy as np

from vpn_jax.inputs import pose_damage

POOLS = ("max", "mean")
CROP = 224 / 256  # side of a crop of "three" as a fraction of the record's frame


@dataclasses.dataclass(frozen=True)
class View:
  """One view of a clip.

  Attributes:
    window: (k, K), the k-th of K windows over time; see `sampling.frame_window`.
    crop: side of the crop that `frames` shows, as a fraction of the region.
    place: of the crop, 0 at the left, 1 at the right; vertically it is centred.
    size: of `frames` in pixels; 0 for the size of training.
  """

  window: tuple[int, int] = (0, 1)
  crop: float = 1.0
  place: float = 0.5
  size: int = 0

  def part(self, whole: int) -> tuple[int, int, int]:
    """Left, top and side of the crop within a square of side `whole`, pixels."""
    side = round(whole * self.crop)
    return int((whole - side) * self.place), (whole - side) // 2, side


MIDDLE = View()  # whole frames in the middle of the clip

# Spatial views of each window.
VIEWS = {
  "whole": (MIDDLE,),
  "three": tuple(View(crop=CROP, place=place) for place in (0.0, 0.5, 1.0)),
  "full": (MIDDLE,),
}


@dataclasses.dataclass(frozen=True)
class Inference:
  """How a clip is scored; `Inference(**config.inference)`.

  Attributes:
    windows: K, spread evenly over the clip; 1 is its middle.
    views: "whole": the record's frame at the size of training. "three": square crops
      of it, left, centre and right. "full": the frame at its own size, fully
      convolutionally; A_S is resized to the larger grid.
    pool: "max" or "mean" of the softmax scores over all views.
    size: of the frames of "full" in pixels; 0 for that of the records.
    temperature: divides the logits before the softmax of each view.
    shuffle_pose: give each clip the pose of another one; see `pose_controls.donors`.
    rest_pose: give every clip the average pose; see `pose_controls.rest_pose`.
    damage: of the clips' own joints. The settings of a config are read as well.
  Raises: ValueError for an unknown or contradictory setting.
  Source: "fully convolutional inference in space as in [54]", "max-pooling the softmax
    scores" (section 4.1).
  Reading: [54] takes frames whose shorter side is 256 pixels, as "full" does, and the
    mean over 10 windows; the paper does not say how many. Three crops along the longer
    side are the usual substitute; records are square, so these overlap more.
  """

  windows: int = 1
  views: str = "whole"
  pool: str = "max"
  size: int = 0
  temperature: float = 1.0
  shuffle_pose: bool = False
  rest_pose: bool = False
  damage: pose_damage.Damage = pose_damage.NONE

  def __post_init__(self):
    if not isinstance(self.damage, pose_damage.Damage):
      object.__setattr__(self, "damage", pose_damage.Damage(**self.damage))
    if self.windows < 1:
      raise ValueError(
        f"config.inference.windows is {self.windows}, expected 1 or more."
      )
    for name, known in (("views", tuple(VIEWS)), ("pool", POOLS)):
      value = getattr(self, name)
      if value not in known:
        raise ValueError(
          f"config.inference.{name} is {value!r}, expected one of {known}."
        )
    if self.size < 0 or (self.size and self.views != "full"):
      raise ValueError(
        f"config.inference.size is {self.size} and views is {self.views!r}, expected a "
        "positive size with views=full, or 0."
      )
    check_temperature(self.temperature)
    if self.shuffle_pose and self.rest_pose:
      raise ValueError(
        "config.inference.shuffle_pose and rest_pose are both True, expected one of "
        "them: a pose at rest is the same for every clip."
      )
    if self.damage != pose_damage.NONE and (self.shuffle_pose or self.rest_pose):
      raise ValueError(
        f"config.inference.damage is {self.damage} beside shuffle_pose or rest_pose, "
        "expected one of them: damage is of the clips' own poses."
      )

  def __str__(self) -> str:
    at = f" at {self.size} pixels" if self.size else ""
    at += f", temperature {self.temperature:g}" if self.temperature != 1.0 else ""
    poses = {
      "shuffled": ", poses of other clips",
      "rest": ", joints at rest",
      "damaged": f", poses with {self.damage}",
    }
    with_poses = poses.get(self.poses, "")
    return (
      f"{self.pool} over {self.windows} window(s) x views={self.views}{at}{with_poses}"
    )

  @property
  def poses(self) -> str:
    """Which poses the clips come with: "own", "shuffled", "rest" or "damaged"."""
    if self.damage != pose_damage.NONE:
      return "damaged"
    return "shuffled" if self.shuffle_pose else "rest" if self.rest_pose else "own"

  def spatial_views(self, record_side: int) -> tuple[View, ...]:
    """The spatial views of each window, for records of this side in pixels."""
    views = VIEWS[self.views]
    if self.views == "full":
      size = self.size or record_side
      views = tuple(dataclasses.replace(view, size=size) for view in views)
    return views

  def pooled(
    self, scores: np.ndarray, clips: np.ndarray
  ) -> tuple[np.ndarray, np.ndarray]:
    """Pools the scores of all views of each clip.

    Args:
      scores: softmax of each view, float32 [n, K].
      clips: the clip of each view, int [n], in any order.
    Returns: the clips, each once and in order, and their scores float32 [clips, K].
    """
    order = np.argsort(clips, kind="stable")
    scores = scores[order]
    found, first, count = np.unique(clips[order], return_index=True, return_counts=True)
    if self.pool == "max":
      return found, np.maximum.reduceat(scores, first, axis=0)
    total = np.add.reduceat(scores.astype(np.float64), first, axis=0)
    return found, (total / count[:, None]).astype(np.float32)


def check_temperature(temperature: float) -> None:
  """ValueError unless logits can be divided by it."""
  if not 0.0 < temperature < float("inf"):
    raise ValueError(
      f"config.inference.temperature is {temperature}, expected a positive number; 1 "
      "leaves the scores as they are."
    )


ONE_VIEW = Inference()  # as in validation
