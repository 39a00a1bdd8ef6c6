"""ESC-50 as SSAST and VCR-AST score it: the epoch is chosen on the test folds themselves.

Only to reproduce published numbers; it flatters. Use `sonolex.protocols.esc50` for new results.
"""

from __future__ import annotations

from dataclasses import replace

from sonolex.protocols import esc50
from sonolex.protocols._esc import five_folds_selected_on_test

PROTOCOL = replace(
    esc50.PROTOCOL,
    name="esc50_published_selection",
    split=five_folds_selected_on_test,
    selects_on_report=True,
    selection_rule="best primary metric on the report part, as published: flatters",
    notes="SELECTED ON THE REPORT PART, as published: not comparable with honest numbers. " + esc50.PROTOCOL.notes,
)
