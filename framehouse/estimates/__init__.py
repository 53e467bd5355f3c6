"""What a scene or a batch will take, before anyone submits it: an interval that holds, or an honest reason.

`Estimate | NoEstimate` is a value. Nothing is guessed where there is no history, and nothing from another tier.
"""
