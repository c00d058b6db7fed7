"""The notebooks as files: what they import, call and run exists. `make notebooks` runs
them."""

import ast
import importlib
import json
import os
import pathlib
import re
import shlex
import subprocess
import sys

import numpy
import pytest
from absl import flags

from vpn_jax.figures import catalogue
from vpn_jax.jobs import command_line

ROOT = pathlib.Path(__file__).parents[1]
PATHS = sorted((ROOT / "notebooks").glob("*.ipynb"))
OURS = ("vpn_jax", "configs")


def read(path):
  return json.loads(path.read_text(encoding="utf-8"))


def sources(path, kind="code"):
  """Cell id -> source."""
  cells = read(path)["cells"]
  return {c["id"]: "".join(c["source"]) for c in cells if c["cell_type"] == kind}


def program(path):
  """What a notebook does in Python, without commands and magics."""
  code = [s for s in sources(path).values() if not s.startswith("!")]
  return "\n".join(re.sub(r"^%.*$", "", source, flags=re.M) for source in code)


def commands(path):
  """The words behind `python launch.py` of every command of a notebook."""
  found = []
  for source in sources(path).values():
    if source.startswith("!"):
      python, script, *words = shlex.split(source[1:].replace("\\\n", " "))
      assert (python, script) == ("python", "launch.py")
      found.append(words)
  return found


def test_there_are_three():
  assert [path.stem[0] for path in PATHS] == ["1", "2", "3"]


@pytest.fixture(params=PATHS, ids=lambda path: path.stem)
def path(request):
  return request.param


def test_is_a_notebook(path):
  notebook = read(path)
  assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
  assert notebook["metadata"]["kernelspec"]["name"] == "python3"
  ids = [cell["id"] for cell in notebook["cells"]]
  assert len(set(ids)) == len(ids)
  for cell in notebook["cells"]:
    assert re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", cell["id"])
    fields = {"cell_type", "id", "metadata", "source"}
    if cell["cell_type"] == "code":
      fields |= {"outputs", "execution_count"}
    assert cell.keys() == fields
    assert cell["metadata"] == {}
    assert "".join(cell["source"]).strip()


def test_has_the_outputs_of_one_run(path):
  cells = [c for c in read(path)["cells"] if c["cell_type"] == "code"]
  counts = [cell["execution_count"] for cell in cells]
  assert counts == sorted(set(counts))
  outputs = [output for cell in cells for output in cell["outputs"]]
  assert {o["output_type"] for o in outputs} <= {
    "stream", "display_data", "execute_result",
  }  # fmt: skip
  assert sum("image/png" in output.get("data", {}) for output in outputs) >= 2
  assert path.stat().st_size < 1_500_000  # of small pictures
  text = path.read_text(encoding="utf-8")
  without_links = text.replace("](/", "")
  assert not re.search(r"/(home|root|tmp)/", without_links)  # of the machine it ran on
  assert str(ROOT) not in without_links
  assert "<video" not in without_links


def test_starts_with_a_title_and_the_install_cell(path):
  cells = read(path)["cells"]
  assert cells[0]["source"][0].startswith(f"# {path.stem[0]}. ")
  assert [cell["id"] for cell in cells[1:3]] == ["install-text", "install"]
  for kind, name in (("markdown", "install-text"), ("code", "install")):
    assert sources(path, kind)[name] == sources(PATHS[0], kind)[name]


def test_names_of_ours_exist(path):
  tree, bound = ast.parse(program(path)), {}
  for node in ast.walk(tree):
    if isinstance(node, ast.ImportFrom) and node.module.split(".")[0] in OURS:
      module = importlib.import_module(node.module)
      for alias in node.names:
        if not hasattr(module, alias.name):
          importlib.import_module(f"{node.module}.{alias.name}")
        bound[alias.asname or alias.name] = getattr(module, alias.name)
  assert bound
  for node in ast.walk(tree):
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
      if node.value.id in bound:
        assert hasattr(bound[node.value.id], node.attr), ast.unparse(node)


# ml_collections loads config files by a function that Python will drop
@pytest.mark.filterwarnings("ignore:.*load_module:DeprecationWarning")
def test_commands_have_fields_and_jobs_that_exist(path, monkeypatch):
  monkeypatch.chdir(ROOT)
  assert commands(path)
  for words in commands(path):
    values = flags.FlagValues()
    command_line.define_flags(values)
    monkeypatch.setattr(sys, "argv", ["launch.py", *words])
    assert values(sys.argv) == ["launch.py"]
    assert values.config.data.dataset in ("synthetic", "custom")
    if values.job == "train":
      assert values.config.features.cached  # a minute on two cores


def test_figures_have_names_that_exist(path):

  asked = re.findall(r'figures\.FIGURES\["(\w+)"\]', program(path))
  assert set(asked) <= catalogue.FIGURES.keys()


def test_the_second_takes_the_run_of_the_first():
  first, second = (commands(path) for path in PATHS[:2])
  assert second == first


# The install cell.


def install(folder, address, before=""):
  """Runs the install cell in a folder, after some code, and prints where it ends."""
  cell = sources(PATHS[0])["install"]
  code = f"{before}\n{cell}\nprint(sys.path[0], os.getcwd())\n"
  environment = {**os.environ, "PIP_NO_INDEX": "1", "PIP_NO_INPUT": "1"}
  environment.pop("VPN_JAX_REPOSITORY", None)
  if address:
    environment["VPN_JAX_REPOSITORY"] = address
  return subprocess.run(
    [sys.executable, "-c", code],
    cwd=folder,
    env=environment,
    capture_output=True,
    text=True,
    timeout=120,
  )


@pytest.mark.parametrize("start", [".", "notebooks"])
def test_install_only_goes_to_a_clone_that_is_there(start):
  done = install(ROOT / start, "no/such/repository")
  assert done.returncode == 0, done.stderr
  assert done.stdout.splitlines() == [f"working in {ROOT}", f"{ROOT} {ROOT}"]


def test_install_elsewhere_clones_once(tmp_path):
  there, here = tmp_path / "repository", tmp_path / "here"
  there.mkdir()
  here.mkdir()
  (there / "launch.py").write_text("")
  (there / "requirements.txt").write_text(f"numpy=={numpy.__version__}\n")
  for words in (
    ["init", "--quiet"],
    ["add", "."],
    ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "--quiet", "-m", "All"],
  ):
    subprocess.run(["git", *words], cwd=there, check=True)
  done = install(here, str(there))
  assert done.returncode == 0, done.stderr
  folder = here / "vpn_jax"
  assert done.stdout.splitlines()[-1] == f"{folder} {folder}"
  old = "import sys, types; sys.modules['numpy'] = types.SimpleNamespace("
  again = install(here, "no/such/repository", f"{old}__version__='0.1')")
  assert again.returncode != 0  # the clone is there, but numpy was loaded before
  message = f"numpy 0.1 was loaded before {numpy.__version__} was installed: restart"
  assert message in again.stderr
  (folder / "requirements.txt").write_text("no-such-package==1\n")
  assert "no-such-package" in install(here, "").stderr  # pip's own words


def test_install_asks_for_an_address(tmp_path):
  done = install(tmp_path, "")
  assert done.returncode != 0
  assert "REPOSITORY is empty, expected the address" in done.stderr
  assert not list(tmp_path.iterdir())
