"""Commands that serve other programs: an exported classifier over HTTP, and a project to assistants."""

from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from gradebook.pipelines.cli.options import Flag, Project, app
from gradebook.pipelines.process.progress import say


@app.command
def serve(
    classifier: Annotated[Positional[Path], arg(metavar="CLASSIFIER", help="an exported classifier")],
    *,
    host: Annotated[
        str, arg(metavar="ADDRESS", help="address to listen on; only this machine reaches 127.0.0.1")
    ] = "127.0.0.1",
    port: Annotated[int, arg(metavar="PORT", help="port to listen on; 0 for a free one")] = 8000,
    allow_host: Annotated[
        tuple[str, ...], arg(metavar="NAME", help="further names of the server, as clients put them into Host")
    ] = (),
    max_megabytes: Annotated[float, arg(metavar="N", help="largest request")] = 20.0,
    max_megapixels: Annotated[float, arg(metavar="N", help="largest image")] = 50.0,
    max_images: Annotated[int, arg(metavar="N", help="most images in a request")] = 16,
    timeout: Annotated[float, arg(metavar="SECONDS", help="longest time that a request may take")] = 30.0,
) -> None:
    """Serve an exported classifier over HTTP.

    POST image files to /predict as multipart form data under the name files. /healthz is the health check, and
    /openapi.json describes the API. There is no password: before you serve other machines, put a proxy with
    authentication in front of it.
    """
    from gradebook.pipelines.inference.classifier import Classifier
    from gradebook.pipelines.inference.serving import LOCAL
    from gradebook.pipelines.inference.serving import serve as run_server
    from gradebook.pipelines.inference.upload import Limits
    from gradebook.pipelines.process.servers import free_port

    limits = Limits(megabytes=max_megabytes, megapixels=max_megapixels, images=max_images, seconds=timeout)
    opened = Classifier(classifier.expanduser())
    if host in LOCAL:
        port = free_port(port)
    else:
        say(f"everyone who can reach {host} can use this server: it has no password")
    address = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    print(
        f"{classifier} is served at {address}/predict (Ctrl-C ends); try: curl -F files=@image.jpg {address}/predict",
        flush=True,
    )
    run_server(opened, limits, host=host, port=port, hosts=(*allow_host, host))


@app.command
def mcp(
    project: Project,
    *,
    allow_labels: Annotated[Flag, arg(help="add the tools that label images and undo these labels")] = False,
    actor: Annotated[
        str | None, arg(metavar="NAME", help="name in the log for these labels; by default assistant of ACCOUNT")
    ] = None,
) -> None:
    """Serve a project to an assistant (Model Context Protocol).

    The assistant starts this command and talks to it over standard input and output. Its tools read: status, queue,
    record, evaluate, view_image. What they return goes to the assistant, so with one that runs elsewhere, images leave
    your machine.
    """
    from gradebook.pipelines.curation.labelling import actor as account
    from gradebook.pipelines.mcp_server.server import create_server
    from gradebook.pipelines.mcp_server.tools import Tools
    from gradebook.storage.project import read_project

    root = read_project(project).root
    create_server(Tools(root, actor or f"assistant of {account()}"), may_label=allow_labels).run("stdio")
