"""Commands to begin with: a folder of images, labelled in the browser at once, and the shell's completion."""

from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from gradebook.pipelines.cli.options import app


@app.command
def start(
    images: Annotated[
        Positional[Path], arg(metavar="IMAGES", help="a folder of images, or a zip file or table of them")
    ],
    *,
    classes: Annotated[str, arg(help="class names, as a,b,c; by default the app asks for them")] = "",
    project: Annotated[
        Path | None, arg(metavar="DIR", help="the project's directory; by default IMAGES-project, next to the images")
    ] = None,
    port: Annotated[
        int | None, arg(metavar="PORT", help="port, on this machine only; by default 8501 or a free one")
    ] = None,
    token: Annotated[bool, arg(help="require the token in the printed link")] = True,
) -> int:
    """Label a folder of images in the browser.

    Creates a project next to the folder and opens the app. Images are imported and embedded in the background, and you
    can label the first ones at once. Run it again to open the same project.
    """
    from gradebook.pipelines.cli.serve_app import DEFAULT_PORT, open_app
    from gradebook.pipelines.jobs.start_project import start_project
    from gradebook.pipelines.process import servers
    from gradebook.storage.project import split_names

    names = split_names(classes) if classes.strip(",") else []
    root = start_project(images, project, names).root
    if port is None:
        running = servers.find(root, servers.APP)
        port = int(running.address.rpartition(":")[2]) if running else servers.free_port_near(DEFAULT_PORT)
    return open_app(root, port, token=token)


@app.command
def completion(
    shell: Annotated[Positional[Literal["bash", "zsh", "fish"]], arg(metavar="SHELL", help="bash, zsh or fish")],
) -> None:
    """Print a script that completes commands and options.

    For bash: gradebook completion bash > ~/.local/share/bash-completion/completions/gradebook
    """
    app.cli(prog="gradebook", args=["--tyro-print-completion", shell], use_underscores=False)
