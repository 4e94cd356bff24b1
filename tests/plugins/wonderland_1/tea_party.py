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

    class Handlers:
        """Called by the form when something happens."""

        def __init__(self, form_of_handlers: Any) -> None:
            self.form = form_of_handlers
            self.handlers = [form_of_handlers.count]

        def call(self) -> None:
            for handler in self.handlers:
                handler()

    @form
    class Banquet(CatForm):
        """A form that refers to itself and to the session in many ways, and gives the session a method."""

        name = "banquet"
        description = "Prepare a banquet."
        model_class = Invitation
        start_examples = ("prepare a banquet",)

        def __init__(self, cat: Any) -> None:
            super().__init__(cat)
            self.asked = 0
            self.handlers = Handlers(self)
            cat.llm = self.own_llm

        def count(self) -> None:
            self.asked += 1

        def own_llm(self, prompt: str) -> str:
            assert self.cat.working_memory.active_form is self
            return f"{prompt}, {prompt}!"

        def next(self) -> dict[str, str]:
            self.handlers.call()
            answer = self.cat.working_memory.user_message_json.text
            if answer.isdecimal():
                self._model["guests"] = answer
            elif len(answer.split()) == 1 and "guests" in self._model:
                told = f"{self._model['guests']} guests have {answer} (asked {self.asked}), {self.cat.llm('Hello')}"
                self.cat.working_memory.active_form = None
                return {"output": told}
            return {"output": f"{'dish' if 'guests' in self._model else 'guests'}? (asked {self.asked})"}
