"""Checksums of checkpoints: Orbax does not notice when a weight changed.

`checksums/<step>.json` in a workdir holds size and CRC32C of each file of that step.
"""

import json
import pathlib
from collections.abc import Iterable

import google_crc32c

from vpn_jax import files

FOLDER = "checksums"


def of_file(path: pathlib.Path) -> tuple[int, str]:
  """Size in bytes and CRC32C, 8 hex digits."""
  checksum = google_crc32c.Checksum()
  with path.open("rb") as file:
    for _ in checksum.consume(file, 2**20):
      pass
  return path.stat().st_size, checksum.hexdigest().decode()


def write(workdir: pathlib.Path, checkpoint: pathlib.Path, kept: Iterable[int]) -> None:
  """Writes the checksums of a step, and removes those of steps that are gone.

  Args:
    checkpoint: folder of the step, named by its number.
    kept: the steps that are there.
  """
  folder = workdir / FOLDER
  folder.mkdir(exist_ok=True)
  paths = sorted(path for path in checkpoint.rglob("*") if path.is_file())
  found = {path.relative_to(checkpoint).as_posix(): of_file(path) for path in paths}
  text = json.dumps(found, indent=1)
  files.write_text(folder / f"{checkpoint.name}.json", text)
  stay = {f"{step}.json" for step in kept}
  for path in folder.glob("*.json"):
    if path.name not in stay:
      path.unlink()


def remove(workdir: pathlib.Path, step: int) -> None:
  """Removes the checksums of a step that is about to be written."""
  (workdir / FOLDER / f"{step}.json").unlink(missing_ok=True)


def compare(workdir: pathlib.Path, checkpoint: pathlib.Path) -> bool:
  """Whether there are checksums of a step, and all of its files agree with them.

  Raises: ValueError that names the file which is not as it was written.
  """
  path = workdir / FOLDER / f"{checkpoint.name}.json"
  if not path.is_file():
    return False
  try:
    written = {
      name: (int(size), str(checksum))
      for name, (size, checksum) in json.loads(path.read_text()).items()
    }
  except (ValueError, TypeError, AttributeError, RecursionError) as e:
    raise ValueError(f"{path} is damaged: delete it to compare nothing") from e
  for name, expected in written.items():
    file = checkpoint / name
    if not file.is_file():
      raise ValueError(f"{checkpoint.name}/{name} is gone")
    found = of_file(file)
    if found != expected:
      raise ValueError(
        f"{checkpoint.name}/{name} has {found[0]} bytes with checksum {found[1]}, "
        f"written were {expected[0]} with {expected[1]}"
      )
  return True
