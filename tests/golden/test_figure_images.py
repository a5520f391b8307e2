"""Did any figure change its looks? Images are drawn anew on purpose, and looked at before they are committed.

`python -m pytest tests/golden/test_figure_images.py --mpl-generate-path tests/golden/figures` draws them. What a figure
says stands in tests/unit/test_figures.py.
"""

import pytest
from figures import FIGURES

# In grey levels of 255, root mean square: letters of another FreeType move by less, a lost curve by more.
TOLERANCE = 6


@pytest.mark.parametrize("kind", FIGURES)
@pytest.mark.mpl_image_compare(baseline_dir="figures", tolerance=TOLERANCE, savefig_kwargs={"dpi": 50})
def test_figure_looks_as_before(kind):
    return FIGURES[kind]()
