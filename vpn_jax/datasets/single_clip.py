"""A single video and its poses, read like a clip of a dataset."""

import pathlib

import numpy as np

from vpn_jax.datasets import (
  alignment,
  clip_joints,
  joint_files,
  ntu,
  nucla,
  skeletons,
  smarthome,
  video,
)
from vpn_jax.datasets.base import BadClip, Clip, RawClip
from vpn_jax.datasets.pose_files import reader

# Ending of a dataset's own skeleton file -> classes that read it.
READERS = {
  ".skeleton": (ntu.NTU,),
  ".json": (smarthome.Smarthome, nucla.NUCLA),
}
ENDINGS = tuple(READERS)


class SingleClip:
  """The part of a `base.Dataset` that `make_record.make_record` needs.

  The poses are a skeleton file of NTU (.skeleton), Smarthome or N-UCLA (.json), the
  file or folder of a pose estimator (`pose_files`), or an npz with the arrays `world`
  [F, J, 3 or more], metres, and `image` [F, J, 2 or more], which only a crop around the
  person needs; [F, persons, J, ...] for several people, NaN where nobody was found.
  """

  name, class_names, source = "single", (), {}

  def __init__(
    self,
    skeleton: skeletons.Skeleton,
    image_units: str,
    *,
    needs_image: bool,
    pose_format: str = "",
    image_size: str = "",
  ):
    """Opens nothing.

    Args:
      skeleton: of the poses.
      image_units: of the array `image`, "fraction" (0 to 1) or "pixel".
      needs_image: whether a crop needs `image`.
      pose_format: of the file of a pose estimator, one of `reader.KINDS`; "" to
        detect it.
      image_size: such as "1920x1080", for fractions without a video.
    """
    self.pose_format = reader.check_kind(pose_format)
    self.image_size = clip_joints.parse_size(image_size)
    self.body = skeleton
    self.skeleton = skeleton.name
    self.image_units = joint_files.check_units(
      image_units, "config.predict.image_units"
    )
    self.needs_image = needs_image

  def read(self, clip: Clip) -> RawClip:
    """See `base.Dataset`; one of `video` and `pose` may be None.

    Without `pose`, the joints are all at the origin.
    """
    ending = pathlib.Path(clip.pose or "").suffix
    if ending in READERS and not self._is_estimated(clip.pose):
      return self._reader(ending)(pathlib.Path(clip.pose).parent).read(clip)
    frames = fps = size = visibility = pose_fps = None
    open_ended = False
    if clip.video is not None:
      frames, fps, size = video.open_file(clip.video)
    if clip.pose:
      joints = clip_joints.read(
        clip.pose,
        self.body,
        units=self.image_units,
        size=size or self.image_size,
        pose_format=self.pose_format,
      )
      pose, image_joints, visibility = joints.world, joints.image, joints.visibility
      fps, open_ended = fps or joints.fps or clip_joints.FPS, joints.open_ended
      pose_fps = joints.fps
      if self.needs_image and np.isnan(image_joints).all():
        name = pathlib.Path(clip.pose).name
        raise BadClip(f"{name} holds no `image`, expected `world` and `image`")
    else:
      count = sum(1 for _ in frames())
      shape = (count, 1, self.body.num_joints)
      pose = np.zeros((*shape, 3), np.float32)
      image_joints = np.full((*shape, 2), np.nan, np.float32)
    opened = RawClip(pose, image_joints, frames, fps, visibility)
    if open_ended and clip.video is not None:
      return opened.extended(sum(1 for _ in frames()))
    return alignment.to_video(opened, pose_fps)

  def _is_estimated(self, path: str) -> bool:
    """Whether a file is from a pose estimator, rather than from a dataset."""
    if any(found.skeleton == self.skeleton for found in READERS[".json"]):
      return False
    try:
      return bool(reader.detect_kind(path))
    except BadClip:
      return False

  def _reader(self, ending: str):
    for found in READERS[ending]:
      if found.skeleton == self.skeleton:
        return found
    kinds = " or ".join(found.skeleton for found in READERS[ending])
    raise BadClip(
      f"its joints are those of {kinds}, expected {self.skeleton}, which the network "
      "was trained on"
    )
