"""A stand-in for the review component in the browser."""

import json
import uuid


class FakeComponent:
    """Keeps the data that it is mounted with, and sends the messages of a test."""

    def __init__(self) -> None:
        self.data: dict = {}
        self.actions: list[dict] = []  # not acknowledged yet
        self.cached: list[str] = []  # samples whose cards it has

    def __call__(self, key, data, *, on_message) -> None:
        import streamlit as st

        def send() -> None:
            message = {"batch": self.data["batch"], "actions": self.actions, "cached": self.cached}
            st.session_state[key] = {"message": message}
            on_message()

        st.button("send", key="send", on_click=send)
        self.data = json.loads(json.dumps(data))
        self.actions = [a for a in self.actions if a["action_id"] not in self.data["acknowledged"]]

    @property
    def shown(self) -> list[str]:
        return self.data["order"]

    def card(self, sample_id: str) -> dict:
        return next(card for card in self.data["cards"] if card["sample_id"] == sample_id)

    def act(self, page, action: str, sample_id: str = "", label: str | None = None, expected: str | None = None) -> str:
        """Sends one action, as the browser does, and returns its id."""
        action_id = uuid.uuid4().hex
        self.actions.append(
            {"action_id": action_id, "action": action, "sample_id": sample_id, "label": label, "expected": expected}
        )
        page.button(key="send").click().run()
        assert not page.exception, page.exception
        return action_id
