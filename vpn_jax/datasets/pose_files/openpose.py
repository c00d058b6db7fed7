"""OpenPose: a folder of JSON files, one per frame, as `--write_json` writes them.

A file is `{"version": 1.3, "people": [{"person_id": [-1], "pose_keypoints_2d": [x, y,
score, ...], ...}]}`; 25 joints for BODY_25, 18 for COCO. A joint that was not found is
(0, 0, 0). With `--tracking`, person_id numbers the people. AlphaPose writes the same
with `--format open`, and `bodies` of `joints` with `--format cmu`, into sep-json.

Source: doc/02_output.md of CMU-Perceptual-Computing-Lab/openpose.
"""

from vpn_jax.datasets.base import BadClip
from vpn_jax.datasets.paired_files import brief
from vpn_jax.datasets.pose_files import json_files
from vpn_jax.datasets.pose_files.people import Person, person

LAYOUTS = {25: "openpose_25", 18: "openpose_18"}
# Key of the list of people -> key of the numbers of each.
KEYS = {"people": "pose_keypoints_2d", "bodies": "joints"}


def is_frame(content) -> bool:
  """Whether the content of a JSON file is a frame of OpenPose."""
  return isinstance(content, dict) and any(key in content for key in KEYS)


def read_frame(content, what: str) -> list[Person]:
  """The people in the content of a file; BadClip, which names `what`, otherwise."""
  if not is_frame(content):
    raise BadClip(f"{what} is {brief(content)}, expected an object with people")
  key = next(key for key in KEYS if key in content)
  found = []
  for i, fields in enumerate(json_files.entries(content[key], f"{what}, {key}")):
    where = f"{what}, person {i}"
    numbers = fields.get(KEYS[key])
    if numbers == []:  # hands or a face without a body
      continue
    coordinates, scores = json_files.triples(numbers, f"{where}, {KEYS[key]}")
    track = json_files.whole(fields.get("person_id"))
    found.append(person(coordinates, scores, track))
  return [p for p in found if p is not None]
