"""Text of flags and settings."""


def split_words(text: str, separator: str = ",") -> tuple[str, ...]:
  """The words of a list, stripped; empty ones are left out."""
  return tuple(word.strip() for word in text.split(separator) if word.strip())
