"""An index of cases, in a folder or a database: which cases look like an image?

    import medjax
    index = medjax.open_index("my_index")
    for case in index.search("query.png", k=5):
        print(case.case_id, case.distance, case.facts)

It holds the network that describes images, verified like a bundle, and of each case its vector, its
metadata and a small picture: the images themselves are not needed any more.
"""

from medjax.index.case_index import AddedCount, CaseIndex
from medjax.index.conditions import parse_conditions
from medjax.index.opening import make_index, open_index
from medjax.index.store import SimilarCase

__all__ = ["AddedCount", "CaseIndex", "SimilarCase", "make_index", "open_index", "parse_conditions"]
