"""`esc10_questions`, reported with wordings that are not in training: a model that knows the language understands.

"Is there a rooster?" in training, "do you notice a rooster?" in the report; "what is heard?" and "please name it".
"""

from __future__ import annotations

from dataclasses import replace

from sonolex.protocols._esc import five_folds_asked_with
from sonolex.protocols.esc10_questions import PROTOCOL as AS_TRAINED

PROTOCOL = replace(AS_TRAINED, name="esc10_questions_reworded", split=five_folds_asked_with("reworded"))
