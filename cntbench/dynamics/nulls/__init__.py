"""One file per null model: what a film would look like if one thing about it were chance.

Each defines ``draw(film, rng, size=None)``, which returns the weights of one film drawn from the
null model, dims ``checkpoint, source, target``; with a ``size``, of so many independent ones, dims
``draw, checkpoint, source, target`` (fewer if the null model has no more). What is NaN in the film
stays NaN. The docstring says what is kept, what is randomised, and gives the source. A null model
with few draws, that are alike at all checkpoints, also defines ``everything(film)``: all of them.
"""
