"""Stand-ins for packages that read records, pictures and videos, or report of runs.

Nothing here does, but modules of vpn_jax that are needed import them. Where one is not
installed, a module without content is imported instead, which says so when it is used.
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


class _Absent(types.ModuleType):
  __path__ = ()  # a package: its submodules are stand-ins as well

  def __getattr__(self, name):
    raise AttributeError(
      f"{self.__name__}.{name} is asked for, and the package is not installed: "
      "pip install -r requirements.txt."
    )


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
