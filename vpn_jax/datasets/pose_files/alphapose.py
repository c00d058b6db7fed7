"""AlphaPose: one JSON file per video, alphapose-results.json.

The default is a list of people, `{"image_id": "12.jpg", "category_id": 1, "keypoints":
[x, y, score, ...], "score": 2.9, "box": [x, y, w, h], "idx": [1.0]}`: image_id has the
number of the frame, in a video from 0 and without zeros before it, and idx, with
tracking, that of the person. Frames without people are missing. 17 joints for COCO, 26
for Halpe. With `--format open` or `cmu` the file is a dict from image_id to a frame as
`openpose` reads it.

Source: write_json in alphapose/utils/pPose_nms.py of MVIG-SJTU/AlphaPose. OpenPose's
`--write_coco_json` has the same form, with integers as image_id.
"""

import pathlib

from vpn_jax.datasets.base import BadClip
from vpn_jax.datasets.paired_files import brief
from vpn_jax.datasets.pose_files import json_files, openpose
from vpn_jax.datasets.pose_files.people import Person, person

LAYOUTS = {17: "coco_17", 26: "halpe_26", 18: "openpose_18"}


def is_file(content) -> bool:
  """Whether the content of a JSON file is from AlphaPose."""
  if isinstance(content, dict):
    first = next(iter(content.values()), None)
    return openpose.is_frame(first)
  first = content[0] if isinstance(content, list) and content else None
  return isinstance(first, dict) and "image_id" in first


def read_file(content, what: str) -> list[list[Person]]:
  """The people in each frame; BadClip, which names `what`, for another content."""
  named: dict[str, list[Person]] = {}
  if isinstance(content, dict):
    for image, frame in content.items():
      found = openpose.read_frame(frame, f"{what}, image {brief(image)}")
      named.setdefault(pathlib.Path(image).stem, []).extend(found)
  else:
    for i, fields in enumerate(json_files.entries(content, what)):
      where = f"{what}, person {i}"
      image = fields.get("image_id")
      if not (isinstance(image, str) or type(image) is int):
        raise BadClip(f"{where}: image_id is {brief(image)}, expected a name")
      coordinates, scores = json_files.triples(
        fields.get("keypoints"), f"{where}, keypoints"
      )
      found = person(coordinates, scores, json_files.whole(fields.get("idx")))
      people = named.setdefault(pathlib.Path(str(image)).stem, [])
      if found is not None:
        people.append(found)
  # Frames of a video are called 0.jpg, 1.jpg, ...; images have names of their own, such
  # as 000001.jpg, 000002.jpg, ...
  of_video = all(
    name.isascii() and name.isdigit() and name == (name.lstrip("0") or "0")
    for name in named
  )
  return json_files.by_frame(named, what, first=0 if of_video else None)
