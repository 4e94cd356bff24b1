"""A form. Our double of the Cat has no forms."""

from contextlib import suppress
from typing import Any

from pydantic import BaseModel

with suppress(ImportError):
    from cat.experimental.form import CatForm, form

    class Invitation(BaseModel):
        guests: int

    @form
    class TeaParty(CatForm):
        """Asks for what it needs without an LLM."""

        name = "tea_party"
        description = "Invite guests to a tea party."
        model_class = Invitation
        start_examples = ("invite the hatter", "I want a tea party")

        def check_exit_intent(self) -> bool:
            return False

        def extract(self) -> dict[str, Any]:
            return {}

        def message_incomplete(self) -> dict[str, str]:
            return {"output": "How many guests?"}
