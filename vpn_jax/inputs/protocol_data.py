"""The data of a configuration: the index of the records, and parts of the protocol."""

import dataclasses
import pathlib
from collections.abc import Sequence

from vpn_jax.datasets import instructions, label_corrections, protocol_settings
from vpn_jax.inputs import example, pipeline
from vpn_jax.records import store


def open_parts(
  data,
  parts: tuple[str, ...] = ("train", "test"),
  *,
  may_lack: tuple[str, ...] = (),
  examples: bool = True,
) -> tuple[store.Index, dict[str, pipeline.Part]]:
  """Opens `config.data`: the index, and parts of the protocol.

  Args:
    data: `config.data`; `corrections` and `correct_test` may be missing.
    parts: to open.
    may_lack: parts that are left out of the result when no prepared clip belongs to
      them.
    examples: whether examples will be made by `data.example`; False for a caller that
      reads the records for networks with settings of their own.
  Raises: FileNotFoundError when nothing is prepared, ValueError for an empty part, a
    value that a setting names and no clip has, or records without the frames that
    `data.example` takes.
  """
  if not (pathlib.Path(data.records) / store.INDEX_FILE).exists():
    raise FileNotFoundError(
      f"no prepared {data.dataset} records in {data.records!r}. "
      f"{instructions.how_to_prepare(data.dataset)}"
    )
  index = store.read_index(data.records)
  if index.dataset != data.dataset:
    raise ValueError(
      f"{data.records} holds {index.dataset!r}, config.data.dataset is "
      f"{data.dataset!r}: point config.data.records at the right folder."
    )
  corrections = _corrections(data, index)
  protocol = protocol_settings.from_config(data, index.clips())
  protocol_settings.check_values(data, protocol, parts, index.clips())
  settings = example.Settings(**data.example)
  if examples:
    _check_frames(data.records, index, settings.inputs)
    settings = _with_coordinates(settings, data.records, index)
  opened = {}
  for part in parts:
    try:
      corrected = corrections if part != "test" or data.get("correct_test") else {}
      opened[part] = pipeline.Part(
        data.records, index, protocol, part, settings, corrected
      )
    except pipeline.EmptyPartError:
      if part not in may_lack:
        raise
  return index, opened


def _corrections(data, index: store.Index) -> dict[str, str]:
  """`data.corrections`; ValueError for a clip of one's own file that is not there."""
  source = data.get("corrections") or ""
  found = label_corrections.read(source, index.dataset, index.class_names)
  unknown = set(found) - {clip["name"] for clip in index.clips()}
  if unknown and source != label_corrections.KNOWN:
    raise ValueError(
      f"config.data.corrections names {min(unknown)!r}, which is not a clip of "
      f"{data.records}: correct the name, or take the clip out of the file."
    )
  return found


def _check_frames(folder, index: store.Index, inputs: Sequence[str]) -> None:
  """ValueError when a network takes frames and the records hold poses alone."""
  taken = [name for name in inputs if name != "pose"]
  if taken and not index.frames:
    raise ValueError(
      f"the records in {folder} hold skeletons alone, this row takes "
      f"{', '.join(taken)}: use model=pose, or prepare the videos too, without "
      "model=pose and into another config.data.records."
    )


def _with_coordinates(
  settings: example.Settings, folder, index: store.Index
) -> example.Settings:
  """Settings with the coordinates of the pose that "" stands for.

  Raises: ValueError for poses in metres from records of image joints alone.
  """
  if settings.coordinates == "world" and index.coordinates == "image":
    raise ValueError(
      f"config.data.example.coordinates is 'world', but the records in {folder} hold "
      "joints in the image alone: set it to 'image'."
    )
  chosen = settings.coordinates or index.coordinates
  return dataclasses.replace(settings, coordinates=chosen)
