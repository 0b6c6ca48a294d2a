from typing import Final

RECIPE: Final[dict[str, float]]
