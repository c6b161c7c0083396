import tomllib
from pathlib import Path

import gradebook.app.main


def test_the_server_speaks_to_this_machine_only_and_reports_to_nobody():
    settings = tomllib.loads((Path(gradebook.app.main.__file__).parent / ".streamlit" / "config.toml").read_text())
    assert settings["server"]["address"] == "127.0.0.1"
    assert settings["browser"]["gatherUsageStats"] is False
    assert settings["runner"]["magicEnabled"] is False
