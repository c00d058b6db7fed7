"""Poses that an evaluation shows instead of a clip's own: of controls, or damaged."""

import dataclasses
import functools
from collections.abc import Callable, Sequence

import numpy as np

from vpn_jax.inputs import multi_view, pose_controls, pose_damage

Kind = str | pose_damage.Damage  # a name in `pose_controls.CONTROLS`, or damage
Poses = dict[str, np.ndarray]  # by input: pose, frame_joints


@dataclasses.dataclass(frozen=True)
class OtherPoses:
  """Finds the other poses of each clip of a part.

  Attributes:
    names: of the clips, each once.
    read: (i, view, damage=...) -> the poses of one view of the i-th clip.
  """

  names: Sequence[str]
  read: Callable[..., Poses]

  def give(
    self, kind: Kind, views: list[tuple[int, multi_view.View]]
  ) -> Callable[[int, multi_view.View], Poses]:
    """A function (i, view) -> poses to show with that view of the i-th clip.

    Args:
      kind: which poses.
      views: of the evaluation. The donor of a clip gives the pose of its own window of
        the same number, or of its last window when it has fewer.
    Raises: ValueError for poses of other clips where there is a single one; RecordError
      for a damaged record, at rest.
    """
    if isinstance(kind, pose_damage.Damage):
      return functools.partial(self.read, damage=kind)
    if kind == "rest":
      rest = self._rest
      return lambda i, view: rest
    return self._of_donors(views)

  @functools.cached_property
  def _rest(self) -> Poses:
    """Every joint at its mean position over all clips, as each input has it."""
    clips = [self.read(i, multi_view.MIDDLE) for i in range(len(self.names))]
    mean = {"pose": pose_controls.rest_pose, "frame_joints": pose_controls.rest_joints}
    return {
      name: np.broadcast_to(mean[name](clip[name] for clip in clips), one.shape)
      for name, one in clips[0].items()
    }

  def _of_donors(
    self, views: list[tuple[int, multi_view.View]]
  ) -> Callable[[int, multi_view.View], Poses]:
    donors = pose_controls.donors(self.names)
    windows = {i: view.window[1] for i, view in views}

    def poses(i: int, view: multi_view.View) -> Poses:
      donor = int(donors[i])
      window = min(view.window[0], windows[donor] - 1), windows[donor]
      return self.read(donor, dataclasses.replace(view, window=window))

    return poses
