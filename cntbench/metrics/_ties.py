"""When two numbers are equal but for rounding, which must decide nothing."""

from __future__ import annotations

#: Numbers are tied if they differ by at most this part of their size: lengths of paths, strengths
#: that are ranked, gains in modularity (whose size is 1), draws of null models. Noise that is a
#: smaller part of a weight is none.
TIE = 1e-9
