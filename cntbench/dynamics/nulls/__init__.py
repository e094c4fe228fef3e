"""One file per null model: what a film would look like if one thing about it were chance.

Each defines ``draw(film, rng)``, which returns the weights of one film drawn from the null model,
dims ``checkpoint, source, target``, NaN where the edge is not feasible. The docstring says what is
kept, what is randomised, and gives the source.
"""
