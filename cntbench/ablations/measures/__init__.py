"""One file per measure, which turns the change in a target's output into a number.

Each defines ``measure(clean, ablated) -> change`` on tensors with dims
``prompt, position, component, width`` (clean), ``run, prompt, position, component, width``
(ablated) and ``run, prompt, component`` (change): the mean over positions. Vectors are images of
the component's contributions to the residual stream under an isometry, which preserves norms and
inner products.
"""
