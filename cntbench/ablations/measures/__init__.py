"""One file per measure: how a change in a target's output becomes a number.

Each defines ``measure(clean, ablated) -> change`` on tensors with dims
``prompt, position, component, width`` (clean), ``run, prompt, position, component, width``
(ablated) and ``run, prompt, component`` (change): the mean over positions. Vectors are images of
the component's contributions to the residual stream under an isometry, so that norms and inner
products are those of the contributions.
"""
