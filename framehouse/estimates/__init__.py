"""What a scene or a batch will take, before anyone submits it: an interval that holds, or an honest reason.

`Estimate | NoEstimate` is a value. Nothing is guessed where there is no history, and nothing from another tier.
"""

from framehouse.estimates.batch import estimate_batch
from framehouse.estimates.scene import estimate_scene
from framehouse.estimates.totals import Distribution
from framehouse.estimates.wire import (
    BatchAnswer,
    BatchRequest,
    Estimate,
    NoEstimate,
    Pool,
    SceneAnswer,
    SceneRequest,
    batch_request,
)

__all__ = [
    "BatchAnswer",
    "BatchRequest",
    "Distribution",
    "Estimate",
    "NoEstimate",
    "Pool",
    "SceneAnswer",
    "SceneRequest",
    "batch_request",
    "estimate_batch",
    "estimate_scene",
]
