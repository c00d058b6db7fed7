"""The report of a run: one file, whole, readable on a phone."""

import html.parser
import json
import re
import shutil
import subprocess
import types

import cv2
import numpy as np
import pytest

from vpn_jax import ops
from vpn_jax.jobs import figures as figures_job
from vpn_jax.jobs import report as report_job
from vpn_jax.results import report
from vpn_jax.training import loop

VOID = {"meta", "img", "br", "link"}


class Reader(html.parser.HTMLParser):
  """Checks that tags close in order; keeps text, attributes and the tags seen."""

  def __init__(self, text):
    super().__init__()
    self.open, self.text, self.attributes = [], [], []
    self.feed(text)
    assert not self.open

  def handle_starttag(self, tag, attrs):
    self.attributes += [(tag, *pair) for pair in attrs]
    if tag not in VOID:
      self.open.append(tag)

  def handle_endtag(self, tag):
    assert self.open.pop() == tag

  def handle_data(self, data):
    self.text.append(data)


@pytest.fixture(scope="module")
def workdir(make_config, tmp_path_factory):
  """A finished run with a picture of one pixel and its numbers."""
  folder = tmp_path_factory.mktemp("report") / "<run>"
  config = make_config()
  config.train.steps = 2
  with ops.use_formulation("plain"):
    loop.train(config, str(folder))
  (folder / "figures").mkdir()
  pixel = cv2.imencode(".png", np.zeros((1, 1, 3), np.uint8))[1].tobytes()
  (folder / "figures" / "curves.png").write_bytes(pixel)
  lines = [
    "run,step,value",
    *(f"a<b,{i},0.{i}" for i in range(report.MAX_ROWS + 5)),
  ]
  (folder / "figures" / "curves.csv").write_text("\n".join(lines))
  return folder


def test_everything_is_in_the_file(workdir, small_config, capsys):
  report_job.run(small_config, str(workdir))
  written = workdir / report.FILE
  assert f"{written}: " in capsys.readouterr().out
  content = written.read_text()
  found = Reader(content)
  text, content_text = " ".join(found.text), "".join(found.text)
  result = json.loads((workdir / "summary.json").read_text())["result"]
  assert f"{result['top1']:.1f} %" in text
  assert f"{result['shuffled_top1']:.1f} %top-1, poses of other clips" in content_text
  assert f"{result['rest_top1']:.1f} %top-1, joints at rest" in content_text
  assert {"shuffled", "at rest"} < set(found.text)  # columns
  assert "VPN on custom split" in text
  assert "<run>, seed 0" in text  # escaped in the file
  assert "optimizer.learning_rate" in text
  assert "index_digest" in text
  assert "curves.csv: 205 rows, the first 200 here" in text
  assert text.count("a<b") == report.MAX_ROWS
  assert "Loss and accuracy over the steps of training" in text
  assert all(name in found.text for name in "abcd")  # the classes
  # Nothing is fetched from elsewhere.
  sources = [value for _, name, value in found.attributes if name in ("src", "href")]
  assert len(sources) == 1
  assert sources[0].startswith("data:image/png;base64,")
  assert not re.search(r"url\(|@import|<script", content)


def test_the_page_is_of_the_test_that_is_there(workdir):
  """Of a later evaluation, if there was one."""
  path = workdir / "test" / "metrics.json"
  before = path.read_text()
  path.write_text(json.dumps({**json.loads(before), "top1": 12.345}))
  page = report.page(workdir)
  path.write_text(before)
  assert page.count("12.3 %") == 1
  assert "12.3 %" not in report.page(workdir)


def test_messages(tmp_path, small_config):
  with pytest.raises(ValueError, match="--workdir is empty"):
    report_job.run(small_config, "")
  with pytest.raises(FileNotFoundError, match="a report is of one finished run"):
    report.page(tmp_path)


PROBE = """<script>
window.onload = () => {
  const root = document.documentElement;
  for (const folded of document.querySelectorAll("details")) folded.open = true;
  document.title = JSON.stringify({
    inner: window.innerWidth, scroll: root.scrollWidth,
    images: [...document.images].map(i => i.complete && i.naturalWidth),
    fetched: performance.getEntriesByType("resource")
      .filter(e => !e.name.startsWith("data:")).length,
    small: parseFloat(getComputedStyle(document.querySelector("td")).fontSize),
    tables: document.querySelectorAll("table").length,
  });
};
</script>"""


def test_another_folder_takes_the_report(workdir, tmp_path, capsys):
  """Whose workdir may not be writable; its test is read there if it is only there."""
  config = types.SimpleNamespace(output=str(tmp_path / "elsewhere"))
  (workdir / report.FILE).unlink(missing_ok=True)
  report_job.run(config, str(workdir))
  assert (tmp_path / "elsewhere" / report.FILE).stat().st_size > 10_000
  assert not (workdir / report.FILE).exists()
  assert str(tmp_path / "elsewhere" / report.FILE) in capsys.readouterr().out
  (tmp_path / "elsewhere" / "test").mkdir()
  assert figures_job._tested(str(workdir), config.output) == workdir / "test"
  assert figures_job._tested(str(tmp_path), config.output) == (
    tmp_path / "elsewhere" / "test"
  )


def test_a_browser_shows_it_on_a_phone(workdir, tmp_path):
  browser = shutil.which("chromium") or shutil.which("google-chrome")
  if not browser:
    pytest.skip("needs the browser chromium, which is not installed")
  probed = tmp_path / "probed.html"
  probed.write_text(report.page(workdir).replace("</body>", f"{PROBE}</body>"))
  flags = "--headless --no-sandbox --disable-gpu --no-first-run --disable-sync "
  flags += "--disable-background-networking --disable-component-update"
  words = [browser, *flags.split(), f"--user-data-dir={tmp_path / 'profile'}"]
  words += ["--window-size=390,844", "--virtual-time-budget=5000", "--dump-dom"]
  shown = subprocess.run(
    [*words, probed.as_uri()], capture_output=True, text=True, check=True, timeout=120
  )
  title = re.search(r"<title>(.*?)</title>", shown.stdout).group(1)
  found = json.loads(title)
  assert found["scroll"] <= found["inner"] <= 500  # no sideways scrolling
  assert found["images"] == [1]
  assert found["fetched"] == 0
  assert found["small"] >= 12
  assert found["tables"] >= 5
