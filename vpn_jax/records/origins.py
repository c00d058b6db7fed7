"""What each record was made from, so that a file that changed is noticed.

A note of a clip is plain values: of each file its size and time, and a digest of its
content, which decides where these differ, as in a copy of the dataset.
"""

import functools
import hashlib
import os

from vpn_jax.datasets import base

MISSING = "missing"


def stamp(path: str) -> str:
  """Size and time of a file; of a folder, a digest of those of the files in it."""
  try:
    if not os.path.isdir(path):
      found = os.stat(path)
      return f"{found.st_size} bytes, {found.st_mtime_ns} ns"
    listed = [(name, stamp(os.path.join(path, name))) for name in _names(path)]
    return hashlib.sha256(repr(listed).encode()).hexdigest()[:16]
  except OSError:
    return MISSING


def _names(folder: str) -> list[str]:
  return sorted(os.listdir(folder))


@functools.lru_cache(maxsize=256)
def _digest(path: str, stamped: str) -> str:
  """16 hex digits over the content of a file, or the names and files of a folder."""
  try:
    if os.path.isdir(path):
      inside = [(n, _digest(p, stamp(p))) for n, p in _paths(path)]
      return hashlib.sha256(repr(inside).encode()).hexdigest()[:16]
    with open(path, "rb") as file:
      return hashlib.file_digest(file, "sha256").hexdigest()[:16]
  except OSError:
    return MISSING


def _paths(folder: str) -> list[tuple[str, str]]:
  return [(name, os.path.join(folder, name)) for name in _names(folder)]


def stamps(origin: base.Origin) -> dict[str, str]:
  """What there is to note before a clip is read: name of a file -> `stamp`."""
  return {what: stamp(path) for what, path in origin.files.items()}


def note(origin: base.Origin, before: dict[str, str]) -> dict:
  """The note of a clip that was just read.

  Args:
    origin: what it was made from.
    before: its `stamps` before it was read. A file that changed meanwhile gets no
      digest, so that the clip is made again.
  """
  files = {}
  for what, path in origin.files.items():
    same = stamp(path) == before[what]
    files[what] = [before[what], _digest(path, before[what]) if same else ""]
  return {"files": files, "values": origin.values}


def compare(noted: dict, origin: base.Origin) -> tuple[list[str], dict]:
  """What changed since a note, in words such as "video"; and the note as of now.

  A file with another time but the same content did not change.
  """
  if noted["files"].keys() != origin.files.keys():
    return sorted(noted["files"].keys() ^ origin.files.keys()), noted
  changed, files = [], {}
  for what, path in origin.files.items():
    before, digest = noted["files"][what]
    now = stamp(path)
    if now != before and (not digest or _digest(path, now) != digest):
      changed.append(what)
    files[what] = [now, digest]
  old, new = noted["values"], origin.values
  changed += [k for k in sorted({*old, *new}) if old.get(k) != new.get(k)]
  return changed, {"files": files, "values": noted["values"]}


def digest(noted: dict) -> str:
  """12 hex digits over the content that a note stands for; "" without any."""
  content = {what: file[1] for what, file in noted["files"].items()}
  if not content and not noted["values"]:
    return ""
  text = repr((sorted(content.items()), sorted(noted["values"].items())))
  return hashlib.sha256(text.encode()).hexdigest()[:12]
