"""Preparing: damaged state of an earlier run, and clips that kill their process."""

import json

import crashing_dataset
import fuzzing
import pytest

from configs import custom
from vpn_jax.datasets import registry
from vpn_jax.records import prepare, store, verify


def config(folder, **settings):
  c = custom.get_config("split")
  c.data.update(records=str(folder), skeleton="kinect_v2")
  c.prepare.update(workers=0, clips_per_shard=2, size=16, max_skipped=0.5, **settings)
  return c


def run(c):
  return prepare.prepare(c.data, c.prepare)


@pytest.fixture
def six(monkeypatch):
  """Replaces the dataset of the config by six clips."""

  def use(**fields):
    dataset = crashing_dataset.Crashing(6, **fields)
    monkeypatch.setattr(registry, "open_dataset", lambda data: dataset)

  use()
  return use


def contents(folder):
  """Name -> bytes of all files."""
  return {p.name: p.read_bytes() for p in folder.iterdir() if p.name != ".lock"}


def test_damaged_state_of_an_earlier_run(six, tmp_path, capfd):
  """A damaged plan is an error; with a damaged sidecar, the shard is made again."""
  run(config(tmp_path))
  want = contents(tmp_path)
  sidecars = sorted(
    name for name in want if name.startswith("clips") and "json" in name
  )
  assert len(sidecars) == 3

  @fuzzing.fuzz()
  def damaged(steps):
    for name, data in want.items():
      (tmp_path / name).write_bytes(data)
    plan = tmp_path / prepare.PLAN_FILE
    plan.write_bytes(fuzzing.apply(want[plan.name], steps))
    fuzzing.value_or_none(lambda: run(config(tmp_path)), str(tmp_path))
    plan.write_bytes(want[plan.name])
    path = tmp_path / sidecars[1]
    path.write_bytes(fuzzing.apply(want[path.name], steps))
    run(config(tmp_path))
    assert contents(tmp_path) == want

  damaged()
  capfd.readouterr()


@pytest.mark.parametrize("text", ["[" * 100_000, '"text"', "[1]", '{"clips": 3}'])
def test_state_files_of_another_kind(text, six, tmp_path, capfd):
  run(config(tmp_path))
  want = contents(tmp_path)
  (tmp_path / "clips-00001-of-00003.json").write_text(text)
  run(config(tmp_path))
  assert contents(tmp_path) == want
  (tmp_path / prepare.PLAN_FILE).write_text(text)
  with pytest.raises(ValueError, match=r"plan\.json is damaged|with another plan"):
    run(config(tmp_path))


def test_old_sidecars_without_a_digest_are_accepted(six, tmp_path, capfd):
  run(config(tmp_path))
  path = tmp_path / "clips-00001-of-00003.json"
  content = json.loads(path.read_text())
  del content["digest"]
  path.write_text(json.dumps(content))
  before = path.read_bytes()
  run(config(tmp_path))
  assert path.read_bytes() == before


@pytest.mark.parametrize("harm", ["deadly", "endless"])
def test_a_clip_that_kills_or_blocks_its_process_is_skipped(harm, six, tmp_path, capfd):
  six(**{harm: ("clip2",)})
  c = config(tmp_path / "made")
  c.prepare.update(workers=2, clip_seconds=3600.0 if harm == "deadly" else 3.0)
  index = run(c)
  assert [clip["name"] for clip in index.clips()] == [
    f"clip{i}" for i in (0, 1, 3, 4, 5)
  ]
  text = (tmp_path / "made" / prepare.SKIPPED_FILE).read_text()
  assert text.startswith("clip2\tthe process that read it died: a crash of the decoder")
  assert not list((tmp_path / "made").glob("*partial*"))
  assert store.read_index(tmp_path / "made").digest() == index.digest()
  assert verify.verify(c.data, sheet_clips=1).problems == ()


def test_a_process_killed_from_outside_is_an_error_that_names_its_clip(
  six, tmp_path, capfd
):
  six(once=str(tmp_path / "once"))
  c = config(tmp_path / "made")
  c.prepare.workers = 1
  words = r"a worker process died while these were read: clip1; none .* alone.* run ag"
  with pytest.raises(OSError, match=words):
    run(c)
  run(config(tmp_path / "made"))  # continues
  assert len(store.read_index(tmp_path / "made").clips()) == 6
