import tomllib
from pathlib import Path

import gradebook.app


def test_the_server_listens_locally_and_sends_no_usage_statistics():
    settings = tomllib.loads((Path(gradebook.app.__file__).parent / ".streamlit" / "config.toml").read_text())
    assert settings["server"]["address"] == "127.0.0.1"
    assert settings["browser"]["gatherUsageStats"] is False
    assert settings["runner"]["magicEnabled"] is False
