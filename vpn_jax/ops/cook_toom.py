"""Minimal filtering: a short convolution with fewer multiplications (Cook-Toom)."""

import fractions
import functools
import math

# Where the polynomials are evaluated, beside infinity; the order and the choice keep
# float32 errors low (3e-7 of the largest output for F(4, 3)).
POINTS = tuple(map(fractions.Fraction, ("0", "1", "-1", "1/2", "-2", "2")))


@functools.cache
def matrices(outputs: int, taps: int):
  """Exact matrices of the minimal algorithm F(outputs, taps) of a correlation.

  With n = outputs + taps - 1, y[j] = sum_k g[k] d[j + k] for 0 <= j < outputs is
  result @ ((weight @ g) * (data @ d)).

  Returns: data [n, n], weight [n, taps], result [outputs, n], nested tuples of
    Fraction.
  Source: Cook-Toom linear convolution, transposed (Winograd 1980; Lavin and Gray
    2016 for networks); evaluation at n - 1 points and at infinity.
  """
  points = POINTS[: outputs + taps - 2]
  data, weight, evaluate = [], [], []
  for i, p in enumerate(points):
    others = points[:i] + points[i + 1 :]
    norm = math.prod((p - q for q in others), start=fractions.Fraction(1))
    data.append((*_polynomial(others), fractions.Fraction(0)))
    weight.append(tuple(p**k / norm for k in range(taps)))
    evaluate.append(tuple(p**j for j in range(outputs)))
  data.append(_polynomial(points))
  weight.append(tuple(fractions.Fraction(k == taps - 1) for k in range(taps)))
  evaluate.append(tuple(fractions.Fraction(j == outputs - 1) for j in range(outputs)))
  return tuple(data), tuple(weight), tuple(zip(*evaluate, strict=True))


def _polynomial(roots):
  """Coefficients of prod (x - root), the constant first."""
  c = [fractions.Fraction(1)]
  for root in roots:
    c = [a - root * b for a, b in zip([0, *c], [*c, 0], strict=True)]
  return tuple(c)


def combine(weights, terms):
  """Sum of weights[i] * terms[i] over the weights that are not zero."""
  total = None
  for weight, term in zip(weights, terms, strict=True):
    if weight:
      term = term if weight == 1 else term * float(weight)
      total = term if total is None else total + term
  return total
