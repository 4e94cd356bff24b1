"""A form. Our double of the Cat has no forms."""

from contextlib import suppress
from typing import Any

from pydantic import BaseModel

with suppress(ImportError):
    from cat.experimental.form import CatForm, form

    class Invitation(BaseModel):
        guests: int
        cake: str

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
            answer = self.cat.working_memory.user_message_json.text
            if answer.isdecimal():
                return {"guests": int(answer)}
            return {"cake": answer} if "guests" in self._model else {}

        def message_incomplete(self) -> dict[str, str]:
            return {"output": "Which cake?" if "guests" in self._model else "How many guests?"}

        def submit(self, form_data: dict[str, Any]) -> dict[str, str]:
            return {"output": f"{form_data['cake']} for {form_data['guests']}!"}
