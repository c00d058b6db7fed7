"""Runs an exported network on clips in an npz file.

  python -m vpn_jax.inference.serve vpn.zip             # prints the inputs
  python -m vpn_jax.inference.serve vpn.zip clips.npz   # the best classes of each clip

This file depends on numpy, jax and flatbuffers alone: copy it beside the network and
run `python serve.py` there. The network, which `--job=export` writes, is a zip file of
two members:

  about.json          format, version, inputs, outputs, class names and the rest of what
                      a user has to know; `vpn_jax/inference/export.py` writes it
  network.stablehlo   the function with its weights, for `jax.export.deserialize`:
                      a dictionary of the inputs -> a dictionary of the outputs

jax promises to run such a function in releases up to six months newer and three weeks
older than the one that about.json names.
"""

import argparse
import io
import json
import sys
import zipfile
from collections.abc import Callable

import jax
import jax.export
import numpy as np

FORMAT = "vpn_jax network"
VERSION = 1
ABOUT, NETWORK = "about.json", "network.stablehlo"


def read(path: str) -> tuple[dict, bytes]:
  """Reads the two members of a network file.

  Raises: ValueError when the file is damaged, of another kind or of another version;
    OSError when it cannot be read.
  """
  with open(path, "rb") as file:
    data = io.BytesIO(file.read())
  try:
    with zipfile.ZipFile(data) as members:
      about, network = json.loads(members.read(ABOUT)), members.read(NETWORK)
    found = (about.get("format"), about.get("version"))
  except Exception as e:  # zipfile raises many kinds on a damaged file
    raise ValueError(
      f"{path} is damaged or not an exported network ({e}), expected a zip file with "
      f"{ABOUT} and {NETWORK}: copy or export it again."
    ) from e
  if found != (FORMAT, VERSION):
    raise ValueError(
      f"{path} has format and version {found}, expected {(FORMAT, VERSION)}: use the "
      "serve.py of the code that exported it."
    )
  return about, network


def load(path: str) -> tuple[dict, Callable[[dict], dict]]:
  """Loads a network file.

  Returns: about, the content of about.json; call, jitted: dict of arrays -> dict of
    arrays, with the shapes and types of about["inputs"] and about["outputs"].
  Raises: as `read`; ValueError when the file is not for this machine's platform.
  """
  about, network = read(path)
  here = jax.export.default_export_platform()
  if here not in about["platforms"]:
    raise ValueError(
      f"{path} is for {about['platforms']}, this machine runs {here}: export it with "
      f"--config.export.platforms={here}, or set JAX_PLATFORMS to one of its own."
    )
  return about, jax.jit(jax.export.deserialize(bytearray(network)).call)


def expected(about: dict) -> str:
  """Describes the inputs of a network, a line each."""
  return "\n".join(
    f"  {name}: {x['dtype']} [{', '.join(map(str, x['shape']))}], {x['meaning']}"
    for name, x in about["inputs"].items()
  )


def batch(about: dict, given: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
  """Checks inputs and completes them: the batch axis of a single clip, NaN for origin.

  Args:
    about: of the network.
    given: arrays by name; ignores other names.
  Returns: the arrays that the network takes, by name.
  Raises: ValueError that names the input that does not fit, and describes all.
  """
  made, clips = {}, None
  for name, x in about["inputs"].items():
    shape, array = x["shape"], given.get(name)
    if array is None and x["optional"]:
      array = np.full((clips, *shape[1:]), np.nan, x["dtype"])
    if array is None:
      raise ValueError(f"no {name}, but {sorted(given)}: expected\n{expected(about)}")
    if array.ndim == len(shape) - 1:
      array = array[None]
    clips = len(array) if clips is None and array.ndim else clips
    wanted = (clips if shape[0] == "B" else shape[0], *shape[1:])
    if array.dtype.name != x["dtype"] or array.shape != wanted or not clips:
      raise ValueError(
        f"{name} is {array.dtype.name} {list(array.shape)}, expected {x['dtype']} "
        f"{list(wanted)}: give\n{expected(about)}"
      )
    made[name] = array
  return made


def main(words=None) -> None:
  """The command line."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("network", help="file written by --job=export")
  parser.add_argument("clips", nargs="?", help="npz with the inputs")
  parser.add_argument("--top", type=int, default=5)
  parser.add_argument("--out", default="", help="npz for all outputs")
  flags = parser.parse_args(words)
  try:
    if not flags.clips:
      about, _ = read(flags.network)
      print(
        f"{about['workdir']}, step {about['step']}, {len(about['classes'])} classes"
      )
      print(f"inputs:\n{expected(about)}")
      return
    about, call = load(flags.network)
    try:
      with np.load(flags.clips, allow_pickle=False) as file:
        given = dict(file)
    except (zipfile.BadZipFile, TypeError, ValueError) as e:
      raise ValueError(
        f"{flags.clips} is not an npz file ({e}): save one with\n{expected(about)}"
      ) from e
    out = jax.device_get(call(batch(about, given)))
  except (ValueError, OSError, ImportError) as e:  # jax imports flatbuffers
    sys.exit(f"error: {e}")
  for i, scores in enumerate(out["scores"]):
    print(f"clip {i}")
    for rank, k in enumerate(np.argsort(-scores, kind="stable")[: flags.top], 1):
      print(f"{rank:3d}  {scores[k]:.4f}  {about['classes'][k]}")
  if flags.out:
    np.savez(flags.out, **out)
    print(f"wrote {flags.out}")


if __name__ == "__main__":
  main()
