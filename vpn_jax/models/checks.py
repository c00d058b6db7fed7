"""A check that every network makes of its settings."""


def one_of(name: str, value, known: tuple) -> None:
  """Raises ValueError unless `value` is one of `known`; `name` is the setting's."""
  if value not in known:
    raise ValueError(f"{name} is {value!r}, expected one of {known}.")
