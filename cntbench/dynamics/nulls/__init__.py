"""One file per null model: what a film would look like if one property of it were random.

Each defines ``draw(film, rng, size=None)``, which returns the weights of one film drawn from the
null model, dims ``checkpoint, source, target``; with a ``size``, those of that many independent
films, dims ``draw, checkpoint, source, target`` (fewer if the null model has no more). Weights that
are NaN in the film stay NaN. The docstring says what is kept and what is randomised, and gives the
source. A null model with a limited number of draws, equal at all checkpoints, also defines
``everything(film)``, which returns all of them.
"""
