"""`esc10_questions`, reported with other names for the sounds: "is there a cockerel?" after "is there a rooster?".

No training clip tells which new name means which sound: only a language model that knows it can answer.
"""

from __future__ import annotations

from dataclasses import replace

from sonolex.protocols._esc import five_folds_asked_with
from sonolex.protocols.esc10_questions import PROTOCOL as AS_TRAINED

PROTOCOL = replace(AS_TRAINED, name="esc10_questions_renamed", split=five_folds_asked_with("renamed"))
