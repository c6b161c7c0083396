"""Sign-in for a shared server, through Streamlit's own login (docs/shared.md).

Sign-in is required if secrets.toml has a section [auth] or [gradebook]; `people` in [gradebook] lists who may sign in.
An incomplete or unreadable configuration admits nobody.
"""

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import streamlit as st

from gradebook.app.text import plain
from gradebook.storage.install_advice import install_command

AUTH, GRADEBOOK, PEOPLE = "auth", "gradebook", "people"  # names in secrets.toml
AUTH_KEYS = ("redirect_uri", "cookie_secret")
PROVIDER_KEYS = ("client_id", "client_secret", "server_metadata_url")
NO_AUTHLIB = f"Nobody can sign in, because the package Authlib is missing: {install_command('shared')}"


def is_required() -> bool:
    """Returns whether users must sign in. An unreadable secrets.toml requires it, so that it admits nobody."""
    return bool({AUTH, GRADEBOOK} & set(st.secrets)) if st.secrets.load_if_toml_exists() else bool(_secrets_files())


def user_name() -> str | None:
    """Returns the e-mail address of a user who has signed in and is admitted, None for anybody else."""
    if not st.secrets.load_if_toml_exists() or not st.user.get("is_logged_in"):
        return None
    email = _verified_email(st.user.to_dict())
    return email if email is not None and _is_admitted(email) else None


def public_host() -> str | None:
    """Returns the name under which users open a shared server, None if it is not configured."""
    if not st.secrets.load_if_toml_exists():
        return None
    return urlsplit(str(st.secrets.get(AUTH, {}).get("redirect_uri", ""))).hostname


def render() -> None:
    """Draws the page for users who have not signed in or are not admitted."""
    _, middle, _ = st.columns([1, 2, 1])
    with middle:
        st.title("Gradebook")
        problem = _configuration_problem()
        if problem is not None:
            st.error(problem, icon=":material/error:")
        elif st.user.get("is_logged_in"):
            email = _verified_email(st.user.to_dict())
            st.warning(f"{plain(email or 'An account without a verified address')} is not admitted to this server.")
            sign_out_button()
        else:
            st.markdown("Sign in, so that the log records who gave each label.")
            for provider in _providers(st.secrets[AUTH]):
                label = f"Sign in with {plain(provider)}" if provider else "Sign in"
                args = (provider,) if provider else ()
                st.button(label, key=f"sign-in-{provider}", on_click=st.login, args=args, type="primary")


def sign_out_button() -> None:
    """Draws the button to sign out."""
    st.button("Sign out", key="sign-out", type="tertiary", icon=":material/logout:", on_click=st.logout)


def _configuration_problem() -> str | None:
    """Returns what keeps everybody from signing in, as Markdown, None if the configuration is complete."""
    if not st.secrets.load_if_toml_exists():
        return f"Nobody can sign in: {plain(', '.join(_secrets_files()))} cannot be read."
    if importlib.util.find_spec("authlib") is None:
        return plain(NO_AUTHLIB)
    if missing := _missing_keys(st.secrets.get(AUTH, {})):
        return f"Nobody can sign in: secrets.toml lacks {plain(', '.join(missing))}; see docs/shared.md."
    return None


def _secrets_files() -> list[str]:
    """Returns the secrets files that exist, readable or not."""
    return [file for file in st.get_option("secrets.files") if Path(file).exists()]


def _verified_email(user: Mapping[str, Any]) -> str | None:
    """Returns the e-mail address of a user in lower case, None if there is none or the provider has not verified it."""
    if user.get("email") and user.get("email_verified", True) is not False:
        return str(user["email"]).strip().lower()
    return None


def _is_admitted(email: str) -> bool:
    """Returns whether [gradebook] people = [...] lists an address; without that list, everybody is admitted."""
    people = st.secrets.get(GRADEBOOK, {}).get(PEOPLE)
    return people is None or email in {str(person).strip().lower() for person in people}


def _missing_keys(auth: Mapping[str, Any]) -> list[str]:
    """Returns the keys that signing in needs and secrets.toml lacks."""
    providers = [(f"{AUTH}.{name}" if name else AUTH, auth[name] if name else auth) for name in _providers(auth)]
    required = [(AUTH, auth, AUTH_KEYS), *((section, values, PROVIDER_KEYS) for section, values in providers)]
    return [f"{section}.{key}" for section, values, keys in required for key in keys if not values.get(key)]


def _providers(auth: Mapping[str, Any]) -> list[str]:
    """Returns the names of the providers; a single provider has the name "" ([auth] itself)."""
    return [key for key, value in auth.items() if isinstance(value, Mapping)] or [""]
