"""What GPU time costs today, by the models that do a workflow."""

from collections.abc import Mapping
from dataclasses import dataclass

from framehouse.estimates.known import Known
from framehouse.warehouse import Session


@dataclass(frozen=True, slots=True)
class Prices:
    """The price of an hour by GPU model, all in one currency (None: there is no rate at all)."""

    by_model: Mapping[str, float]
    currency: str | None

    def per_gpu_second(self, history: Known) -> float | None:
        """What a GPU second of a workflow at a tier costs on the models that did it so far; None where unknown."""
        if self.why_none(history) is not None:
            return None
        return sum(ratio * self.by_model[name or ""] for name, ratio in history.gpu_models if ratio) / 3600

    def why_none(self, history: Known) -> str | None:
        """The reason why there is no price."""
        models = [name for name, ratio in history.gpu_models if ratio]
        if None in models:
            return "gpu_model_unknown"
        return None if all(name in self.by_model for name in models) else "gpu_model_without_rate"


def prices(session: Session) -> Prices:
    """The rates that hold now."""
    rows = session.rows("rates.current")
    currency = next((str(row["currency"]) for row in rows), None)
    return Prices({row["gpu_model"]: row["price_per_gpu_hour"] for row in rows}, currency)
