"""What a train step keeps for its gradients, per clip: the least memory of a batch.

  python -m benchmarks.residuals
  python -m benchmarks.residuals --model=vpn --size=cpu

Arrays that the forward pass leaves to the backward pass, in the plain form of the
operations, by their shapes: nothing is computed. To them come the arrays of the layer
that is at work, and four times the parameters (values, gradients, momentum, update).
"""

import argparse

import jax

from benchmarks import step
from vpn_jax import ops
from vpn_jax.models import networks
from vpn_jax.training import losses


def kept(config, batch_size: int = 1) -> tuple[int, int]:
  """Bytes of what a batch keeps, without parameters and inputs, and of the parameters.

  Args:
    config: the configuration of a network that sees frames.
    batch_size: B.
  """
  model = networks.build(config.network, config.model.to_dict())
  batch = step.noise_batch(config, batch_size)
  given = networks.inputs(model, batch)
  variables = step.shapes(config)

  def backward(params, batch_stats):
    def loss(params):
      (logits, out), _ = model.apply(
        {"params": params, "batch_stats": batch_stats},
        *given,
        train=True,
        rngs={"dropout": jax.random.key(0)},
        mutable=["batch_stats"],
      )
      terms, _ = losses.total_loss(logits, out, batch["label"], **config.loss.to_dict())
      return terms.mean()

    return jax.vjp(loss, params)[1]

  params = variables["params"]
  with ops.use_formulation("plain"):
    found = jax.eval_shape(backward, params, variables["batch_stats"])
  shapes = {x.shape for x in jax.tree.leaves(params)}
  sizes = [
    x.size * x.dtype.itemsize for x in jax.tree.leaves(found) if x.shape not in shapes
  ]
  return sum(sizes), sum(4 * x.size for x in jax.tree.leaves(params))


def main():
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("--model", default="i3d,vpn,vpn_rnx", help="separated by ,")
  parser.add_argument("--size", default="full", choices=("full", "cpu", "tiny"))
  flags = parser.parse_args()
  print("| network | dtype | GiB a clip | with remat | 4 x parameters, GiB |")
  print(f"|{' --- |' * 5}")
  for name in flags.model.split(","):
    for dtype in ("float32", "bfloat16"):
      cells = []
      for remat in (False, True):
        config = step.configuration(name, flags.size, dtype)
        config.model.remat = remat
        arrays, params = kept(config)
        cells.append(f"{arrays / 2**30:.2f}")
      print(f"| {name} | {dtype} | {' | '.join(cells)} | {4 * params / 2**30:.2f} |")


if __name__ == "__main__":
  main()
