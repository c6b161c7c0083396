"""A project as an assistant sees it, through the client of the protocol's own SDK."""

import base64
import io
import json
import shutil
import sys
from functools import partial

import anyio
import pytest
from mcp import Client, StdioServerParameters
from PIL import Image

from gradebook.pipelines.mcp_server.server import create_server
from gradebook.pipelines.mcp_server.tools import Tools
from tests.pipelines.blocked_imports import run_without
from tests.pipelines.cli.cli_runner import done, refused

READING = {"status", "queue", "record", "evaluate", "view_image"}


@pytest.fixture
def project(world, tmp_path):
    return shutil.copytree(world.project, tmp_path / "project")


def talk(server, conversation):
    """Has a conversation with a server: an async function of a client."""

    async def run():
        async with Client(server) as client:
            return await conversation(client)

    return anyio.run(run)


def in_process(project, *, may_label=False):
    return create_server(Tools(project, "assistant of ann"), may_label=may_label)


async def call(client, tool, **arguments):
    """Returns what a tool returns, as plain data."""
    result = await client.call_tool(tool, arguments)
    assert not result.is_error, result.content
    found = result.structured_content
    return found["result"] if set(found) == {"result"} else found


async def refusal(client, tool, **arguments):
    result = await client.call_tool(tool, arguments)
    assert result.is_error
    return result.content[0].text


def test_the_tools_that_read_return_what_the_commands_print(world, project):
    async def conversation(client):
        tools = (await client.list_tools()).tools
        assert {tool.name for tool in tools} == READING
        assert all(tool.annotations.read_only_hint and tool.description for tool in tools)
        before = done("log", project, "--json").out
        status = await call(client, "status")
        queue = await call(client, "queue", limit=5)
        assert await call(client, "record", sample=str(world.image)) == world.results["record"].json
        measured = await call(client, "evaluate")
        image, about = (await client.call_tool("view_image", {"sample": queue[0]["sample_id"]})).content
        assert done("log", project, "--json").out == before
        return status, queue, measured, image, json.loads(about.text)

    status, queue, measured, image, about = talk(in_process(project), conversation)
    assert {**status, "project": None} == {**world.results["status"].json, "project": None}
    assert [row["sample_id"] for row in queue] == [row["sample_id"] for row in world.results["queue"].json]
    assert measured["accuracy"] == world.results["evaluate"].json["accuracy"]
    assert image.mime_type == "image/jpeg"
    assert Image.open(io.BytesIO(base64.b64decode(image.data))).size == (32, 32)
    assert (about["filepath"], about["label"]) == (queue[0]["filepath"], None)


def test_a_label_needs_the_flag_and_a_look_and_is_logged_under_the_assistant(project):
    async def conversation(client):
        assert {tool.name for tool in (await client.list_tools()).tools} == READING | {"label", "undo"}
        row, other, *_ = await call(client, "queue", limit=5)
        sample = row["sample_id"]
        assert "call view_image first" in await refusal(client, "label", sample=sample, label="cat")
        await client.call_tool("view_image", {"sample": sample})
        assert "'cow' is not a class" in await refusal(client, "label", sample=sample, label="cow")
        given = await call(client, "label", sample=sample, label="cat")
        (event, *_) = done("log", project, sample, "--json").json
        assert (event["event_id"], event["actor"], event["label"]) == (given["event_id"], "assistant of ann", "cat")
        assert (await call(client, "undo", event_id=given["event_id"]))["label"] is None
        await client.call_tool("view_image", {"sample": other["sample_id"]})
        assert (await call(client, "label", sample=other["sample_id"], label=None))["label"] is None
        assert done("status", project, "--json").json["rejected"] == 1

    talk(in_process(project, may_label=True), conversation)


def test_it_overrides_no_decision_of_a_person(project):
    async def conversation(client):
        sample = (await call(client, "queue", limit=1))[0]["sample_id"]
        await client.call_tool("view_image", {"sample": sample})
        done("label", project, "--sample", sample, "--label", "dog")
        event = done("log", project, sample, "--json").json[0]
        assert "(dog), and only a person may change" in await refusal(client, "label", sample=sample, label="cat")
        await client.call_tool("view_image", {"sample": sample})
        assert "only a person may change" in await refusal(client, "label", sample=sample, label="cat")
        assert "is not an event of assistant" in await refusal(client, "undo", event_id=event["event_id"])
        test_image = next(row for row in done("log", project, "--json").json if "/test/" in row["filepath"])
        await client.call_tool("view_image", {"sample": test_image["sample_id"]})
        assert "only a person may label it" in await refusal(
            client, "label", sample=test_image["sample_id"], label="cat"
        )

    talk(in_process(project, may_label=True), conversation)


@pytest.mark.parametrize(
    ("tool", "arguments", "sentence"),
    [
        ("queue", {"limit": 0}, "limit is 0: give a number from 1 to 200"),
        ("queue", {"run": "none"}, "there is no run 'none'"),
        ("view_image", {"sample": "nothing"}, "neither a sample's id nor an imported file"),
        ("evaluate", {"split": "some"}, "there is no split 'some'"),
    ],
)
def test_a_call_that_cannot_be_answered_is_one_sentence(world, tool, arguments, sentence):
    assert sentence in talk(in_process(world.project), partial(refusal, tool=tool, **arguments))


def test_without_a_project_or_the_sdk_it_ends_with_one_sentence(tmp_path, world):
    assert "is not a project" in refused("mcp", tmp_path / "none")
    code = "import sys; from gradebook.pipelines.cli.main import main; sys.exit(main(sys.argv[1:]))"
    ended = run_without(["mcp", "mcp_types"], code, "mcp", str(world.project))
    assert ended.returncode == 2 and "gradebook mcp needs the package mcp" in ended.stderr
    assert len(ended.stderr.splitlines()) == 1


@pytest.mark.slow
def test_the_command_speaks_the_protocol_over_standard_input_and_output(world):
    arguments = ["-m", "gradebook.pipelines.cli.main", "mcp", str(world.project)]
    server = StdioServerParameters(command=sys.executable, args=arguments, env={"OMP_NUM_THREADS": "1"})

    async def conversation(client):
        assert client.server_info.name == "gradebook"
        return (await client.list_tools()).tools, await call(client, "status")

    tools, status = talk(server, conversation)
    assert {tool.name for tool in tools} == READING
    assert status["samples"] == world.results["status"].json["samples"]
