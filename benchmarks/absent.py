"""Stand-ins for packages that read records, pictures and videos, or report of runs.

Programs are timed without them, but modules of vpn_jax that are needed import them.
Where one is not installed, a module without content is imported instead, which says so
when it is used.
"""

import importlib.abc
import importlib.machinery
import importlib.util
import sys
import types

PACKAGES = (
  "array_record",
  "av",
  "cv2",
  "google_crc32c",
  "grain",
  "simplejpeg",
  "tensorboardX",
  "tqdm",
)


class _Name(type):
  """A name in a package that is not there; it may stand in annotations."""

  def __call__(cls, *args, **kwargs):
    raise ModuleNotFoundError(
      f"{cls.__name__} is called, and the package is not installed: pip install -r "
      "requirements.txt."
    )

  def __getattr__(cls, name):
    return _name(cls.__name__, name)


def _name(where: str, name: str) -> _Name:
  if name.startswith("__"):
    raise AttributeError(name)
  return _Name(f"{where}.{name}", (), {})


class _Absent(types.ModuleType):
  __path__ = ()  # a package: its submodules are stand-ins as well

  def __getattr__(self, name):
    return _name(self.__name__, name)


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
  def __init__(self, packages: tuple[str, ...]):
    self._packages = packages

  def find_spec(self, name, path=None, target=None):
    if name.partition(".")[0] in self._packages:
      return importlib.machinery.ModuleSpec(name, self, is_package=True)
    return None

  def create_module(self, spec):
    return _Absent(spec.name)

  def exec_module(self, module):
    pass


def stand_in(packages: tuple[str, ...] = PACKAGES) -> tuple[str, ...]:
  """Puts stand-ins where packages are not installed; returns the names of these."""
  absent = tuple(name for name in packages if importlib.util.find_spec(name) is None)
  if absent:
    sys.meta_path.append(_Finder(absent))
  return absent
