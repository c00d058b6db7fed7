"""The documentation: what it links to and names exists."""

import ast
import pathlib
import re
import xml.etree.ElementTree as ET

import pytest

ROOT = pathlib.Path(__file__).parents[1]
NAMES = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")
PAGES = [*(ROOT / name for name in NAMES), *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(r"^ *```.*?^ *```", re.MULTILINE | re.DOTALL)
# [text](target) and the sources of pictures, without addresses.
LINK = re.compile(r"\]\(([^)\s]+)\)|(?:src|srcset)=\"([^\"]+)\"")
# A path of the repository, not a part of a longer one and without a placeholder.
PATH = re.compile(
  r"(?<![\w/.<>-])((?:vpn_jax|tests|docs|configs|benchmarks|notebooks|\.ci)"
  r"(?:/[\w.-]+)*(?:/|\.py|\.md|\.txt|\.ipynb)?)(?![\w<*])"
)
FUNCTION = re.compile(r"\[`(\w+)`\]\(([\w/]+\.py)\)")
README_LINES = 150  # a reader decides in two minutes


def page_id(path):
  return str(path.relative_to(ROOT))


def anchors(path):
  """The anchors that GitHub makes of a page's headings."""
  headings = re.findall(r"^#+ (.+)$", FENCE.sub("", path.read_text()), re.MULTILINE)
  return {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_relative_links_exist(page):
  for target in filter(None, sum(LINK.findall(FENCE.sub("", page.read_text())), ())):
    if re.match(r"https?://|mailto:", target):
      continue
    name, _, anchor = target.partition("#")
    file = (page.parent / name).resolve() if name else page
    assert file.exists(), f"{target} does not exist: correct the link"
    if anchor:
      assert anchor in anchors(file), f"{target}: no such heading in {page_id(file)}"


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_named_paths_exist(page):
  # The changelog also names the modules of before, with dots.
  for name in PATH.findall(page.read_text()):
    assert (ROOT / name).exists(), f"{name} does not exist: name the present file"


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_commands_name_config_files(page):
  text = page.read_text()
  named = re.findall(r"--config=([\w/.]+\.py)", text)
  named += [f"configs/{n}" for n in re.findall(r"`(?:configs/)?(\w+\.py):\w+`", text)]
  for name in named:
    assert (ROOT / name).is_file(), f"{name} does not exist"


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_benchmarks_and_modules_of_commands_exist(page):
  for name in re.findall(r"python -m ((?:benchmarks|vpn_jax)[\w.]*)", page.read_text()):
    file = ROOT.joinpath(*name.split("."))
    assert file.with_suffix(".py").exists() or (file / "__main__.py").exists(), name


def defined(path):
  """Names of the functions and classes at the top of a file."""
  kinds = (ast.FunctionDef, ast.ClassDef)
  return {n.name for n in ast.parse(path.read_text()).body if isinstance(n, kinds)}


def test_equations_link_to_functions_that_exist():
  rows = re.findall(r"^\| (?:eq|fig|sec).+$", (ROOT / "README.md").read_text(), re.M)
  linked = [pair for row in rows for pair in FUNCTION.findall(row)]
  for function, file in linked:
    assert function in defined(ROOT / file), f"{file} has no {function}"
  assert all(FUNCTION.search(row) for row in rows)
  equations = " ".join(row.split("|")[1] for row in rows if row.startswith("| eq"))
  assert sorted(map(int, re.findall(r"\d", equations))) == list(range(1, 10))


def test_every_page_is_in_the_index():
  index = (ROOT / "docs" / "README.md").read_text()
  pages = {path.name for path in (ROOT / "docs").glob("*.md")} - {"README.md"}
  assert {name for name in pages if f"]({name})" not in index} == set()


def test_the_readme_is_short():
  assert len((ROOT / "README.md").read_text().splitlines()) <= README_LINES


def test_both_figures_of_the_network_show_the_same():
  """That for dark pages differs in its colours alone."""

  def shapes(name):
    text = (ROOT / "docs" / name).read_text()
    ET.fromstring(text)  # raises unless well formed
    return re.sub(r"<style>.*</style>", "", text, flags=re.DOTALL)

  assert shapes("network.svg") == shapes("network_dark.svg")


def test_rooms_are_those_of_the_package():
  text = (ROOT / "CONTRIBUTING.md").read_text()
  table = text.partition("## The rooms")[2].partition("\n## ")[0]
  rows = re.findall(r"^\| (`.+?) \|", table, re.MULTILINE)
  named = [name for row in rows for name in re.findall(r"`(\w+)`", row)]
  rooms = {path.parent.name for path in (ROOT / "vpn_jax").glob("*/__init__.py")}
  assert set(named) == rooms
