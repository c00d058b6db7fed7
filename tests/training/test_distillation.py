"""A student and its teacher: no gradient to the one, no loss for a copy of it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import vpn_jax
from configs import custom
from vpn_jax.training import distillation, loop, run_summary

RNG = np.random.default_rng(0)
LOGITS = jnp.asarray(RNG.normal(size=(3, 4)), jnp.float32)
OUT = {
  "pooled": jnp.asarray(RNG.normal(size=(3, 6)), jnp.float32),
  "attention": jnp.asarray(RNG.random((3, 2, 2, 2)), jnp.float32),
}
OF_ITSELF = {"scores": jax.nn.softmax(LOGITS), **OUT}
OTHER = {
  "scores": jnp.full((3, 4), 0.25),
  "pooled": -OUT["pooled"],
  "attention": OUT["attention"] + 0.5,
}


def test_a_student_of_itself_has_no_loss():
  loss, terms = distillation.distillation_loss(LOGITS, OUT, OF_ITSELF)
  np.testing.assert_allclose(loss, 0.0, atol=1e-6)
  assert set(terms) == {"teacher_scores", "teacher_features", "teacher_attention"}


def test_values():
  loss, terms = distillation.distillation_loss(
    LOGITS, OUT, OTHER, scores=2.0, features=3.0, attention=4.0
  )
  log_scores = np.asarray(LOGITS) - np.log(np.exp(LOGITS).sum(axis=1, keepdims=True))
  divergence = np.mean(np.log(0.25) - log_scores, axis=1)
  np.testing.assert_allclose(terms["teacher_scores"], divergence, rtol=1e-5)
  np.testing.assert_allclose(terms["teacher_features"], 4.0, rtol=1e-5)  # opposite
  np.testing.assert_allclose(terms["teacher_attention"], 0.25, rtol=1e-5)
  np.testing.assert_allclose(loss, 2 * divergence + 3 * 4.0 + 4 * 0.25, rtol=1e-5)
  only = distillation.distillation_loss(
    LOGITS, {}, OTHER, scores=1.0, features=0.0, attention=0.0
  )[0]
  np.testing.assert_allclose(only, divergence, rtol=1e-5)


def test_the_contrastive_kind_tells_clips_apart():
  def loss(teacher):
    return distillation.distillation_loss(
      LOGITS, OUT, teacher, scores=0.0, attention=0.0, kind="contrastive"
    )[0].mean()

  mixed = {**OF_ITSELF, "pooled": OUT["pooled"][::-1]}
  assert loss(OF_ITSELF) < loss(mixed)


def test_no_gradient_reaches_the_teacher():
  def loss(logits, out, teacher):
    return distillation.distillation_loss(logits, out, teacher)[0].sum()

  ours = jax.grad(loss, argnums=(0, 1))(LOGITS, OUT, OTHER)
  assert all(np.abs(g).max() > 0 for g in jax.tree.leaves(ours))
  theirs = jax.grad(loss, argnums=2)(LOGITS, OUT, OTHER)
  assert all((np.asarray(g) == 0).all() for g in jax.tree.leaves(theirs))


def test_messages():
  with pytest.raises(ValueError, match=r"distillation\.kind is 'l1', expected one of"):
    distillation.distillation_loss(LOGITS, OUT, OTHER, kind="l1")
  wider = {**OTHER, "pooled": jnp.zeros((3, 7))}
  with pytest.raises(
    ValueError, match=r"shape \(6,\), of the teacher \(7,\), expected"
  ):
    distillation.distillation_loss(LOGITS, OUT, wider)
  with pytest.raises(ValueError, match=r"set config\.distillation\.attention to 0"):
    distillation.distillation_loss(
      LOGITS, {"pooled": OUT["pooled"]}, OTHER, scores=0.0, features=1.0
    )


@pytest.fixture(scope="module")
def teacher(noise_records, shrunk, tmp_path_factory):
  """The workdir of a small VPN without embedding, and its configuration."""
  c = custom.get_config("split,embedding=none,size=tiny")
  shrink(c, noise_records, shrunk)
  workdir = str(tmp_path_factory.mktemp("teacher"))
  loop.train(c, workdir)
  return workdir


def shrink(c, records, shrunk):
  c.data.update(records=str(records), train="subject:1,2,3", test="subject:4")
  shrunk(c)
  c.model.update(width=0.125, endpoint="Conv3d_2b_1x1", frozen_until="")
  c.init.backbone = "none"
  c.data.threads, c.train.steps = 2, 2


def student(records, shrunk, workdir):
  c = custom.get_config("split,model=student,size=tiny")
  shrink(c, records, shrunk)
  c.init.teacher = workdir
  return c


def test_a_student_follows_its_teacher(teacher, noise_records, shrunk, tmp_path):
  c = student(noise_records, shrunk, teacher)
  c.train.accumulate = 2
  result = loop.train(c, str(tmp_path / "student"))
  assert "shuffled_top1" not in result  # it takes no pose
  (summary,) = run_summary.read_summaries(tmp_path)
  assert summary["row"] == "Student"
  assert summary["started_from"]["teacher"] == f"VPN without embedding in {teacher}"
  metrics = (tmp_path / "student" / "metrics.jsonl").read_text()
  assert "train/teacher_attention" in metrics

  c.init.teacher = ""  # a finished student is tested again without its teacher
  again = loop.train(c, str(tmp_path / "student"))
  assert again["top1"] == result["top1"]

  net = vpn_jax.load(str(tmp_path / "student"))
  assert set(net.input_shapes) == {"frames"}
  shape = net.input_shapes["frames"].shape
  scores, out = net(np.zeros((1, *shape), np.uint8))
  assert out["attention"].ndim == 4
  np.testing.assert_allclose(scores.sum(), 1.0, rtol=1e-5)


def test_a_teacher_of_other_examples(teacher, noise_records, shrunk, tmp_path):
  c = student(noise_records, shrunk, teacher)
  c.data.example.pose_window = "video"
  with pytest.raises(
    ValueError, match=r"example\.pose_window 'clip', the student has 'video': both see"
  ):
    loop.train(c, str(tmp_path / "student"))


def test_students_without_a_teacher_or_with_another_one(
  teacher, noise_records, shrunk, tmp_path
):
  c = student(noise_records, shrunk, "")
  for words in ("attention=aligned", "head=joints", "attention=spatial"):
    with pytest.raises(ValueError, match=f"model=student has no {words}, expected"):
      custom.get_config(f"split,model=student,{words}")
  with pytest.raises(ValueError, match="model=i3d has no attention=aligned, expected"):
    custom.get_config("split,model=i3d,attention=aligned")
  with pytest.raises(ValueError, match=r"init\.teacher is '', expected the workdir of"):
    loop.train(c, str(tmp_path / "none"))
  c = student(noise_records, shrunk, teacher)
  c.data.train, c.data.test = "subject:1,2,4", "subject:3"
  with pytest.raises(ValueError, match="cannot be the teacher: protocol: the checkpo"):
    loop.train(c, str(tmp_path / "other"))
  c = custom.get_config("split,embedding=none,size=tiny")
  shrink(c, noise_records, shrunk)
  c.init.teacher = teacher
  with pytest.raises(ValueError, match="this row has a pose of its own: leave it out"):
    loop.train(c, str(tmp_path / "vpn"))
