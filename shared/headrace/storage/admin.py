"""What starting and checking a MongoDB needs of the driver."""

import asyncio
import time
from dataclasses import dataclass
from typing import Any

from motor.motor_asyncio import AsyncIOMotorClient
from pymongo.errors import OperationFailure, PyMongoError

_NOT_INITIATED = 94
"""Code NotYetInitialized of replSetGetConfig."""


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """What a MongoDB says of itself."""

    version: str
    replica_set: str | None
    writable: bool


def ensure_replica_set(address: str, name: str, timeout_s: float) -> None:
    """Makes the mongod at `address` the writable one-node replica set `name`, on new data or old.

    Old data name the port of an earlier start; the configuration is then forced to the present one. Raises
    TimeoutError.
    """
    asyncio.run(_ensure(address, name, time.monotonic() + timeout_s))


def server_facts(uri: str, timeout_s: float = 5.0) -> ServerFacts:
    """Version, replica set and whether it takes writes; raises ConnectionError without the URI's secrets."""
    return asyncio.run(_facts(uri, timeout_s))


async def _ensure(address: str, name: str, deadline: float) -> None:
    last = "not asked yet"
    while time.monotonic() < deadline:
        # A client made before the initiation keeps believing that sessions are not supported.
        client: AsyncIOMotorClient[dict[str, Any]] = AsyncIOMotorClient(
            f"mongodb://{address}/?directConnection=true", serverSelectionTimeoutMS=1_000
        )
        try:
            if (await client.admin.command("hello")).get("isWritablePrimary"):
                return
            await _configure(client, address, name)
        except PyMongoError as error:
            last = type(error).__name__
            await asyncio.sleep(0.1)
        else:
            last = "no primary yet"
            await asyncio.sleep(0.05)
        finally:
            client.close()
    raise TimeoutError(f"did not become a writable replica set in time ({last})")


async def _configure(client: "AsyncIOMotorClient[dict[str, Any]]", address: str, name: str) -> None:
    member = {"_id": 0, "host": address}
    try:
        found = (await client.admin.command("replSetGetConfig"))["config"]
    except OperationFailure as error:
        if error.code != _NOT_INITIATED:
            raise
        await client.admin.command("replSetInitiate", {"_id": name, "members": [member]})
        return
    if found["members"][0]["host"] != address:
        found["members"] = [{**found["members"][0], "host": address}]
        found["version"] += 1
        await client.admin.command("replSetReconfig", found, force=True)


async def _facts(uri: str, timeout_s: float) -> ServerFacts:
    client: AsyncIOMotorClient[dict[str, Any]] = AsyncIOMotorClient(uri, serverSelectionTimeoutMS=int(timeout_s * 1000))
    try:
        hello = await client.admin.command("hello")
        build = await client.admin.command("buildInfo")
    except PyMongoError as error:
        raise ConnectionError(f"MongoDB does not answer ({type(error).__name__})") from None
    finally:
        client.close()
    return ServerFacts(str(build["version"]), hello.get("setName"), bool(hello.get("isWritablePrimary")))
