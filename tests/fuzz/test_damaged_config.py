"""Wrong command lines end with one line that names the word, file or field."""

import pathlib
import sys

import fuzzing
import ml_collections
import pytest
from absl import flags
from hypothesis import strategies as st

from configs import common, ntu60
from vpn_jax.jobs import command_line

# ml_collections loads config files by a function that Python will drop
pytestmark = pytest.mark.filterwarnings("ignore:.*load_module:DeprecationWarning")
ROOT = pathlib.Path(__file__).parents[2]


def parse(*words):
  """Parses the flags of a command line as the program does, in this process."""
  values = flags.FlagValues()
  command_line.define_flags(values)
  before, sys.argv = sys.argv, ["launch.py", *words]  # ml_collections reads it
  try:
    return values, command_line.parse(sys.argv, values)
  finally:
    sys.argv = before


def refused(*words):
  """The last line of a wrong command line."""
  with pytest.raises(SystemExit) as caught:
    parse(*words)
  text = caught.value.code
  assert text.startswith("error: ")
  assert text.isprintable()
  assert len(text) < fuzzing.LONGEST
  return text


PREPARE = "--job=prepare"
CONFIG = f"--config={ROOT / 'configs' / 'ntu60.py'}:cs"


def test_a_correct_command_line():
  values, left = parse(CONFIG, "--config.train.batch_size=8", "--job=prepare")
  assert (values.config.train.batch_size, values.job, left[1:]) == (8, "prepare", [])


@pytest.mark.parametrize(
  ("words", "message"),
  [
    (["--config=configs/none.py:cs"], "configs/none.py"),
    ([f"--config={ROOT / 'README.md'}"], "README.md"),
    ([f"--config={ROOT / 'configs'}"], "configs"),
    ([CONFIG + "x"], "unknown protocol 'csx', expected one of ('cs', 'cv')"),
    ([CONFIG + ",size=9"], "size is '9', expected one of ('full', 'cpu', 'demo',"),
    ([CONFIG, "--config.train.nope=1"], "--config.train.nope=1: the config has no fie"),
    ([CONFIG, "--config.nope.x=1"], "--config.nope.x=1: the config has no field nope"),
    ([CONFIG, "--config.tain.epochs=1"], 'no field tain. Did you mean "train" instead'),
    ([CONFIG, "--config.model.pose.aling=view"], "aling. Did you mean \"align\" inst"),
    ([CONFIG, "--config.train.batch_size=a"], "--config.train.batch_size=a: invalid"),
    ([CONFIG, "--config.train.batch_size=1.5"], "--config.train.batch_size=1.5"),
    ([CONFIG, "--config.prepare.retry=maybe"], "--config.prepare.retry=maybe"),
    ([CONFIG, "--config.train=3"], "--config.train=3"),
    ([CONFIG, "--config.data.example.inputs=('a',"], "--config.data.example.in"),
    ([CONFIG, "--job=fly"], "--job=fly"),
    ([CONFIG, "--jbo=train"], "'jbo'"),
  ],
)  # fmt: skip
def test_wrong_words_are_named(words, message):
  assert message in refused(*words)


def test_help_lists_the_flags():
  values, _ = parse()
  text = values.module_help("launch.py")
  assert all(f"--{name}:" in text for name in ("config", "job", "workdir"))
  assert "<prepare|train|" in text


LINE = (
  f"{CONFIG}|--config.train.batch_size=8|--config.data.example.crop=0.5|--job=train"
)


@fuzzing.fuzz(2.0)
def test_any_damage_to_a_command_line(steps):
  text = fuzzing.apply(LINE.encode(), steps).decode(errors="replace")
  words = [word for word in text.replace("\0", "?").split("|") if word]
  words = [word for word in words if "help" not in word]
  got = fuzzing.value_or_none(lambda: parse(*words), "error: ", errors=SystemExit)
  if got is None:
    return
  values, _ = got
  if values.config is not None:
    assert isinstance(values.config, ml_collections.ConfigDict)
    assert type(values.config.train.batch_size) is int
    assert values.job in command_line.JOBS


@fuzzing.fuzz(2.0, steps=fuzzing.damages, words=st.sampled_from(
  [f"{key}={value}" for key, values in common.CHOICES.items() for value in values]
))  # fmt: skip
def test_any_damage_to_an_argument(steps, words):
  text = fuzzing.apply(f"cs,{words}".encode(), steps).decode(errors="replace")
  config = fuzzing.value_or_none(lambda: ntu60.get_config(text), "expected")
  assert config is None or config.data.protocol in ("cs", "cv")


@pytest.mark.parametrize(
  ("words", "message"),
  [
    ([CONFIG, PREPARE, "--config.data.raw=/none"], "no folder /none. Request"),
    ([CONFIG, PREPARE, "--config.data.shard=9/3"], "config.data.shard is '9/3'"),
    ([CONFIG, PREPARE, "--config.prepare.crop=x"], "config.prepare.crop is 'x'"),
    ([CONFIG, "--job=evaluate"], "--workdir is empty"),
    ([CONFIG, "--job=evaluate", "--workdir=/none"], "no checkpoint in /none"),
    ([CONFIG, "--job=predict"], "config.predict.video is not set"),
  ],
)  # fmt: skip
def test_jobs_end_with_one_line(words, message):
  values, left = parse(*words)
  with pytest.raises(SystemExit) as caught:
    command_line.run(left, values)
  assert str(caught.value.code).startswith("error: ")
  assert message in str(caught.value.code)
  assert "\n" not in str(caught.value.code)
