"""Pictures of solutions and limits: functions that return Matplotlib figures.

Each takes what the library returns (a `Limit`, a `Solution`, or the dataset that the command line
writes) and gives a `matplotlib.figure.Figure`: save it with `figure.savefig("name.png")`. Nothing
is drawn on screen and no global style is changed. Matplotlib comes with the extra `plots`.
"""

from ._eigenvalues import eigenvalues as eigenvalues
from ._excess import excess as excess
from ._nuclear_norm import nuclear_norm as nuclear_norm
from ._path import path as path
