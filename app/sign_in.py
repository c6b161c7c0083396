"""Who sits at the app, where many share it: whoever has signed in through Streamlit's own login.

It is asked for where the server's secrets.toml has a section [auth] (docs/shared.md); [gradebook] may say who may come.
Where it has [gradebook] and no [auth], or half of one, nobody comes in rather than everybody.
"""

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import streamlit as st

from gradebook.app.text import plain

AUTH, OURS, PEOPLE = "auth", "gradebook", "people"
OF_ALL, OF_PROVIDER = ("redirect_uri", "cookie_secret"), ("client_id", "client_secret", "server_metadata_url")
MISSING = "Signing in needs the package Authlib, without which nobody can come in: uv sync --extra shared"


def is_asked_for() -> bool:
    """Tells whether people must sign in. Where nobody can tell, for the file cannot be read, nobody comes in."""
    return bool({AUTH, OURS} & set(st.secrets)) if st.secrets.load_if_toml_exists() else bool(_files())


def name() -> str | None:
    """Returns the name of whoever has signed in and may come, None for anybody else."""
    if not st.secrets.load_if_toml_exists() or not st.user.get("is_logged_in"):
        return None
    who = _named(st.user.to_dict())
    return who if who is not None and _may_come(who) else None


def render() -> None:
    """Draws the page of those who have not signed in, or may not come."""
    _, middle, _ = st.columns([1, 2, 1])
    with middle:
        st.title("Gradebook")
        if not st.secrets.load_if_toml_exists():
            st.error(f"{plain(', '.join(_files()))} cannot be read: nobody can come in until it can.")
        elif importlib.util.find_spec("authlib") is None:
            st.error(plain(MISSING), icon=":material/error:")
        elif lacking := _lacking(st.secrets.get(AUTH, {})):
            st.error(
                f"Nobody can come in: secrets.toml lacks {plain(', '.join(lacking))}, which docs/shared.md shows.",
                icon=":material/error:",
            )
        elif st.user.get("is_logged_in"):
            who = _named(st.user.to_dict())
            st.warning(f"{plain(who or 'Somebody without an address')} is not among the people of this server.")
            sign_out()
        else:
            st.markdown("Sign in, so that the log knows whose verdicts are whose.")
            for provider in _providers(st.secrets[AUTH]):
                words = f"Sign in with {plain(provider)}" if provider else "Sign in"
                args = (provider,) if provider else ()
                st.button(words, key=f"sign-in-{provider}", on_click=st.login, args=args, type="primary")


def sign_out() -> None:
    """Draws the way out."""
    st.button("Sign out", key="sign-out", type="tertiary", icon=":material/logout:", on_click=st.logout)


def _files() -> list[str]:
    """Returns the secrets that there are, readable or not."""
    return [file for file in st.get_option("secrets.files") if Path(file).exists()]


def _named(user: Mapping[str, Any]) -> str | None:
    """Returns the address of somebody who has signed in, which no two people share; one that nobody checked is none."""
    if user.get("email") and user.get("email_verified", True) is not False:
        return str(user["email"]).strip().lower()
    return None


def _may_come(who: str) -> bool:
    """Tells whether [gradebook] people = [...] has somebody; without it all come whom the provider lets in."""
    people = st.secrets.get(OURS, {}).get(PEOPLE)
    return people is None or who in {str(one).strip().lower() for one in people}


def _lacking(auth: Mapping[str, Any]) -> list[str]:
    """Returns what signing in needs and secrets.toml does not have."""
    providers = [(f"{AUTH}.{name}" if name else AUTH, auth[name] if name else auth) for name in _providers(auth)]
    wanted = [(AUTH, auth, OF_ALL), *((section, said, OF_PROVIDER) for section, said in providers)]
    return [f"{section}.{key}" for section, said, keys in wanted for key in keys if not said.get(key)]


def _providers(auth: Mapping[str, Any]) -> list[str]:
    """Returns the names of the providers, one that is nameless where there is but one."""
    return [key for key, value in auth.items() if isinstance(value, Mapping)] or [""]
