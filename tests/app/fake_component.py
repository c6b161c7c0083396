"""A stand-in for the board in the browser."""

import json
import uuid


class Board:
    """Stands in for the board in the browser: keeps what it is given, and says what a test makes it say."""

    def __init__(self) -> None:
        self.data: dict = {}
        self.presses: list[dict] = []
        self.have: list[str] = []

    def __call__(self, key, data, *, on_said) -> None:
        import streamlit as st

        def say() -> None:
            said = {"batch": self.data["batch"], "presses": self.presses, "have": self.have}
            st.session_state[key] = {"said": said}
            on_said()

        st.button("say", key="say", on_click=say)
        self.data = json.loads(json.dumps(data))
        self.presses = [press for press in self.presses if press["press"] not in self.data["heard"]]

    @property
    def shown(self) -> list[str]:
        return self.data["order"]

    def card(self, sample_id: str) -> dict:
        return next(card for card in self.data["cards"] if card["id"] == sample_id)

    def press(self, page, deed: str, sample_id: str = "", label: str | None = None, over: str | None = None) -> str:
        """Presses a key, as the browser does; returns the press's id."""
        press = uuid.uuid4().hex
        self.presses.append({"press": press, "deed": deed, "id": sample_id, "label": label, "over": over})
        page.button(key="say").click().run()
        assert not page.exception, page.exception
        return press
