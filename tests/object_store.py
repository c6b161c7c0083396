"""An object store on this machine for tests; they are left out where the packages of the dev group are not there."""

from collections.abc import Iterator

import pytest

KEYS = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_DEFAULT_REGION": "us-east-1"}


@pytest.fixture(scope="module", name="server")
def a_server() -> Iterator[str]:
    pytest.importorskip("s3fs")
    served = pytest.importorskip("moto.server").ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    served.start()
    host, port = served.get_host_and_port()
    yield f"http://{host}:{port}"
    served.stop()


@pytest.fixture(name="bucket")
def a_bucket(server, monkeypatch) -> str:
    """The address of an empty bucket."""
    import boto3
    import s3fs

    for name, value in {**KEYS, "AWS_ENDPOINT_URL": server, "AWS_ALLOW_HTTP": "true"}.items():
        monkeypatch.setenv(name, value)
    s3fs.S3FileSystem.clear_instance_cache()
    store = boto3.resource("s3", endpoint_url=server)
    name = f"bucket-{len(list(store.buckets.all()))}"
    store.create_bucket(Bucket=name)
    return f"s3://{name}"
