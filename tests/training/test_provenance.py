"""What a network belongs to: every pair of unlike data is refused, alike accepted."""

import dataclasses
import itertools

import fake_records
import pytest
from absl import logging

import vpn_jax
from configs import synthetic
from vpn_jax.datasets import protocol_settings, protocols, skeletons
from vpn_jax.jobs import explain, figures
from vpn_jax.records import store
from vpn_jax.training import loop, provenance
from vpn_jax.training.provenance import TO_RESUME, Provenance


def index(**fields):
  values = {
    "dataset": "ntu60",
    "class_names": ("drink", "eat", "sit"),
    "skeleton": "kinect_v2",
    "crop": {"kind": "joints", "size": 256},
    "shards": {},
    **fields,
  }
  digest = skeletons.get(values["skeleton"]).digest()
  return store.Index(skeleton_digest=digest, **values)


CS, CV = (protocols.get("ntu60", name) for name in ("cs", "cv"))
# What one side may be, each unlike all the others in one respect or more.
SIDES = {
  "as it is": (index(), CS),
  "another dataset": (index(dataset="nucla"), CS),
  "classes in another order": (index(class_names=("eat", "drink", "sit")), CS),
  "a class more": (index(class_names=("drink", "eat", "sit", "walk")), CS),
  "another skeleton": (index(skeleton="kinect_v1"), CS),
  "another crop": (index(crop={"kind": "full", "size": 256}), CS),
  "a larger crop": (index(crop={"kind": "joints", "size": 224}), CS),
  "another protocol": (index(), CV),
  "a class less": (index(), dataclasses.replace(CS, classes=("drink", "eat"))),
}


def of(name):
  return Provenance.of(*SIDES[name])


@pytest.mark.parametrize(("a", "b"), list(itertools.product(SIDES, SIDES)))
def test_the_matrix(a, b):
  """Trained on a, tested on b; and gone on training."""
  if a == b:
    of(a).check(of(b))
    of(a).check(of(b), TO_RESUME)
    return
  for names in (provenance.TO_TEST, TO_RESUME):
    with pytest.raises(ValueError, match=r": the checkpoint has .*, the data .*: pre"):
      of(a).check(of(b), names)


@pytest.mark.parametrize("other", ["as it is", "another crop", "a larger crop"])
def test_poses_without_frames_have_no_crop(other):
  """A network of poses alone is tested on records with and without frames."""
  alone = Provenance.of(index(crop={"kind": "none"}, frames=False), CS)
  alone.check(of(other))
  of(other).check(alone)
  of(other).check_start(alone)
  with pytest.raises(ValueError, match="index_digest: the checkpoint has"):
    of(other).check(alone, TO_RESUME)


@pytest.mark.parametrize(
  ("name", "message"),
  [
    ("another crop", "crop: the checkpoint has {'kind': 'joints'}, the data {'kind': "),
    ("another skeleton", "skeleton: the checkpoint has 'kinect_v2', the data 'kinect_"),
    ("another protocol", "'subject', 'not_test': [1, 2, 4, 5, 8, 9, 13, 14, 15, 16, "),
    ("a class more", "class_names: the checkpoint has ('drink', 'eat', 'sit'), the d"),
  ],
)
def test_both_sides_are_named(name, message):
  with pytest.raises(ValueError) as raised:
    of("as it is").check(of(name))
  assert message in str(raised.value)


@pytest.mark.parametrize("name", [*SIDES][1:])
def test_a_warning_in_place_of_a_refusal(name, monkeypatch):
  warned = []
  monkeypatch.setattr(
    logging, "warning", lambda text, *args: warned.append(text % args)
  )
  cannot = {"a class more", "a class less", "another skeleton"}
  if name in cannot:  # whatever the flag, shapes differ
    with pytest.raises(ValueError, match=r"or use the run that belongs to them\.$"):
      of("as it is").check(of(name), on_mismatch="warn")
    assert not warned
    return
  with pytest.raises(
    ValueError, match=r"; --config\.on_mismatch=warn goes on all the s"
  ):
    of("as it is").check(of(name))
  of("as it is").check(of(name), on_mismatch="warn")
  assert warned
  assert all("the checkpoint has" in line for line in warned)


def test_validation_and_records_matter_for_going_on_alone():
  ours = of("as it is")
  carved = Provenance.of(index(), protocol_settings.hold_out(CS, "subject:1,2"))
  other_records = Provenance.of(index(shards={"a": [{"name": "x"}]}), CS)
  for data, message in ((carved, "validation: "), (other_records, "index_digest: ")):
    ours.check(data)  # the clips that test are the same
    with pytest.raises(ValueError, match=f"^{message}"):
      ours.check(data, TO_RESUME)


def test_corrected_labels_matter_for_going_on_alone():
  ours = of("as it is")
  assert ours.corrections == ""
  one = Provenance.of(*SIDES["as it is"], {"clip": "a", "other": "b"})
  same = Provenance.of(*SIDES["as it is"], {"other": "b", "clip": "a"})
  one.check(same, TO_RESUME)
  for theirs in (ours, Provenance.of(*SIDES["as it is"], {"clip": "b", "other": "b"})):
    one.check(theirs)
    one.check_start(theirs)
    with pytest.raises(ValueError, match=r"^corrections: the checkpoint has "):
      one.check(theirs, TO_RESUME)
  old = {k: v for k, v in ours.to_dict().items() if k != "corrections"}
  assert Provenance.from_dict(old) == ours


def test_a_part_may_start_on_another_dataset_but_not_from_clips_that_test():
  ours = of("as it is")
  ours.check_start(of("as it is"))
  ours.check_start(of("another dataset"))
  ours.check_start(of("a class more"))
  for name in ("another protocol", "another crop"):
    with pytest.raises(ValueError, match="the checkpoint has"):
      ours.check_start(of(name))
    ours.check_start(of(name), on_mismatch="warn")
  # All datasets of one's own are called custom.
  mine = [
    dataclasses.replace(ours, dataset="custom", index_digest=digest)
    for digest in ("a", "b")
  ]
  unlike = dataclasses.replace(of("another protocol"), dataset="custom")
  mine[0].check_start(dataclasses.replace(unlike, index_digest="b"))
  with pytest.raises(ValueError, match="protocol: "):
    mine[0].check_start(dataclasses.replace(unlike, index_digest="a"))


def test_starting_from_clips_that_validate_now_is_said(monkeypatch):
  lines = []
  warn = lambda line, *args: lines.append(line % args)  # noqa: E731
  monkeypatch.setattr(provenance.logging, "warning", warn)
  trained = of("as it is")
  now = dataclasses.replace(
    trained, validation={"attribute": "subject", "values": [2, 3]}
  )
  now.check_start(now)
  now.check_start(trained)  # which does not validate
  assert not lines
  trained.check_start(now)
  seen = dict(now.validation, values=[2])
  dataclasses.replace(trained, validation=seen).check_start(now)
  assert ["(subject [2, 3])" in lines[0], "(subject [3])" in lines[1]] == [True, True]


def test_json_keeps_it():
  ours = of("a class less")
  assert Provenance.from_dict(ours.to_dict()) == ours
  with pytest.raises(
    ValueError, match=r"config\.on_mismatch is 'no', expected 'refuse'"
  ):
    ours.check(ours, on_mismatch="no")


def test_changed_settings_are_said():
  before = {"seed": 0, "train": {"batch_size": 8, "steps": 4}, "decay": (1, 2)}
  now = {"seed": 0, "train": {"batch_size": 8, "steps": 6}, "decay": [1, 2], "new": 1}
  found = provenance.changed_settings(before, now)
  assert found == ["train.steps: 4 -> 6", "new: None -> 1"]
  now["train"] = {"batch_size": 16, "steps": 4}
  with pytest.raises(ValueError, match=r"config\.train\.batch_size is 16, .* with 8: "):
    provenance.changed_settings(before, now)


def test_a_checkpoint_from_before_a_setting_goes_on_without_it():
  new = {"balanced": False, "corrections": "", "correct_test": False}
  before, now = {"data": {}}, {"data": new}
  assert provenance.changed_settings(before, now) == []
  filled = {"data": {**new, "example": {"missing": "fill"}}}
  changed = provenance.changed_settings(before, filled)
  assert changed == ["data.example.missing: zero -> fill"]
  now["data"]["balanced"] = True
  with pytest.raises(ValueError, match=r"data\.balanced is True, .* with False: "):
    provenance.changed_settings(before, now)


def test_the_code_is_named():
  code = provenance.code()
  assert {"commit", "python", "jax", "flax", "grain"} < code.keys()
  assert all(isinstance(value, str) for value in code.values())


def test_commands_refuse(small_config, tmp_path):
  """Evaluating, going on and starting stage 2 on another protocol."""
  c = small_config
  c.train.steps = 1
  loop.train(c, str(tmp_path))
  before = vpn_jax.evaluate(c, str(tmp_path)).metrics
  c.data.update(train="subject:1,2", test="subject:3,4")
  refused = r"protocol: the checkpoint has {'not_test': \[1, 2, 3\], 'test': \[4\]}, "
  with pytest.raises(ValueError, match=refused):
    vpn_jax.evaluate(c, str(tmp_path))
  with pytest.raises(ValueError, match=refused):
    loop.train(c, str(tmp_path))
  c.init.backbone = str(tmp_path)
  with pytest.raises(ValueError, match=f"the run in {tmp_path} cannot be started from"):
    loop.train(c, str(tmp_path / "stage2"))
  c.on_mismatch = "warn"
  assert vpn_jax.evaluate(c, str(tmp_path)).metrics["clips"] == 2 * before["clips"]

  c.data.update(train="subject:1,2,3", test="subject:4")
  lacking(tmp_path / "lacking", c)
  c.output = str(tmp_path / "elsewhere")
  (tmp_path / "elsewhere").write_text("a file")
  found = vpn_jax.evaluate(c, str(tmp_path))
  assert found.metrics["clips"] == before["clips"] * 3 / 4  # one class of four
  labels = found.predictions.labels
  assert sorted(set(labels.tolist())) == [0, 1, 3]  # as the network numbers them
  assert found.predictions.scores.shape[1] == 4
  with pytest.raises(OSError, match=r"test cannot be written .*config\.output"):
    found.check()
  # figures and explanations number the classes likewise
  runs = figures.open_runs(c, (str(tmp_path),))
  numbers = {clip["label"]: clip["raw_label"] for clip in runs.part.clips}
  assert numbers == {0: 0, 1: 1, 3: 2}
  assert runs.network(0).class_names == runs.part.class_names
  c.explain.update(clips_per_class=1, steps=2)
  c.output = str(tmp_path / "explained")
  explain.run(c, str(tmp_path))
  assert (tmp_path / "explained" / "explanations.json").exists()
  c.on_mismatch = "refuse"
  with pytest.raises(ValueError, match=r"class_names: .* --config\.on_mismatch=warn"):
    vpn_jax.evaluate(c, str(tmp_path))
  with pytest.raises(ValueError, match=r"class_names: .* --config\.on_mismatch=warn"):
    explain.run(c, str(tmp_path))


def lacking(folder, c):
  """Points a config at records of the noise clips without those of the third class."""
  names = store.read_index(c.data.records).class_names
  made = [fake_records.noise_record(i) for i in range(32)]
  label = {0: 0, 1: 1, 3: 2}
  made = [
    dataclasses.replace(r, label=label[r.label]) for r in made if r.label in label
  ]
  folder.mkdir()
  shards = {"a.array_record": store.write_shard(folder / "a.array_record", made)}
  fake_records.save_index(folder, shards, class_names=(*names[:2], names[3]))
  c.data.records = str(folder)


def test_where_other_jobs_write_is_no_setting_of_training():
  assert provenance.changed_settings({"seed": 0}, {"seed": 0, "output": "x"}) == []


def test_settings_that_a_checkpoint_did_not_have_yet_are_no_change():
  now = synthetic.get_config("cs").to_dict()
  before = synthetic.get_config("cs").to_dict()
  del before["init"]["network"], before["model"]["bn_frozen"]
  assert provenance.compare_settings(before, now) == {}
  now["model"]["bn_frozen"] = True
  found = provenance.compare_settings(before, now)
  assert found == {"model.bn_frozen": (False, True)}
