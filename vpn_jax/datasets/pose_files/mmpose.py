"""MMPose: the predictions of its inferencer and its demos.

A file is a list of frames, `{"frame_id": 0, "instances": [{"keypoints": [[x, y], ...],
"keypoint_scores": [...], "bbox": ...}]}`, or, from the demos, `{"meta_info": ...,
"instance_info": <that list>}`; for images, one file each with the list of instances
instead of frames.
With 3 numbers per joint the poses are those of a lifter, in metres, which the
inferencer turns to z up; they are turned back to axes of the camera, x right, y down, z
away from it. 17 joints are COCO's in 2D and Human3.6M's in 3D.

Source: mmpose/apis/inferencers and demo/ of open-mmlab/mmpose.
"""

import numpy as np

from vpn_jax.datasets.base import BadClip
from vpn_jax.datasets.paired_files import brief
from vpn_jax.datasets.pose_files import json_files
from vpn_jax.datasets.pose_files.people import Person, person

LAYOUTS = {17: "coco_17", 26: "halpe_26"}
LAYOUTS_3D = {17: "h36m_17"}


def is_frame(content) -> bool:
  """Whether the content of a JSON file holds instances, as that of an image does."""
  if isinstance(content, dict):
    content = content.get("instance_info")
    if content == []:  # nobody
      return True
  first = content[0] if isinstance(content, list) and content else None
  return isinstance(first, dict) and "keypoint_scores" in first


def is_file(content) -> bool:
  """Whether the content of a JSON file is from MMPose, of a video."""
  if isinstance(content, dict):
    return "instance_info" in content
  first = content[0] if isinstance(content, list) and content else None
  return isinstance(first, dict) and "instances" in first


def read_file(content, what: str) -> list[list[Person]]:
  """The people in each frame; BadClip, which names `what`, for another content."""
  if is_frame(content):  # an image
    return [read_frame(content, what)]
  if isinstance(content, dict):
    content = content.get("instance_info")
  frames = []
  for i, fields in enumerate(json_files.entries(content, f"{what}, the frames")):
    if "instances" not in fields:
      raise BadClip(f"{what}, frame {i} is {brief(fields)}, expected instances")
    frames.append(read_frame(fields["instances"], f"{what}, frame {i}"))
  return frames


def read_frame(instances, what: str) -> list[Person]:
  """The people among instances; BadClip, which names `what`, otherwise."""
  if isinstance(instances, dict) and "instance_info" in instances:
    instances = instances["instance_info"]
  found = []
  for i, fields in enumerate(json_files.entries(instances, what)):
    where = f"{what}, instance {i}"
    coordinates = json_files.points(fields.get("keypoints"), f"{where}, keypoints")
    scores = fields.get("keypoint_scores")
    if scores is not None:
      scores = json_files.floats(scores, f"{where}, keypoint_scores")
      if len(scores) != len(coordinates):
        raise BadClip(
          f"{where} has {len(coordinates)} keypoints but {len(scores)} keypoint_scores"
        )
    track = json_files.whole(fields.get("track_id"))
    if coordinates.shape[1] == 3:
      coordinates = np.stack(
        [-coordinates[:, 0], -coordinates[:, 2], coordinates[:, 1]], axis=1
      )
      track = i if track is None else track  # lifted people all stand at the origin
    found.append(person(coordinates, scores, track))
  return [p for p in found if p is not None]
