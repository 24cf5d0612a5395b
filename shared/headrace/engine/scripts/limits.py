"""What a script may use up."""

TIME_S = 1.5
"""From its first instruction to its last: the language's limit."""

HEAP_BYTES = 64 << 20
"""Of JavaScript values: the language's limit. V8 looks at it after each larger collection."""

HEAP_MB_OF_V8 = 96
"""V8's own limit, at which it ends its process: what grows too fast for the limit above stops here."""

PROCESS_BYTES = 128 << 20
"""What the worker may take from the system beyond what it has when it is ready. Typed arrays are outside of V8's heap;
and a collection copies what it keeps."""

OUTPUT_BYTES = 1 << 20
"""Of the returned value as JSON: what an HTTP answer may have, too."""

LOG_LINES = 200
LOG_CHARACTERS = 64 << 10
"""Of all lines together: what a record keeps of one value."""

ANSWER_BYTES = 8 << 20
"""Of a whole answer, in which each character may take six bytes; more comes only from a worker that is broken."""

REQUEST_BYTES = 16 << 20
"""Of code, inputs and context as JSON; as JavaScript values they take a multiple of it, which must fit the heap."""

OUT_OF_MEMORY = 86
"""The worker's exit code where Python itself found no memory."""

LIMITS = {
    "time_s": TIME_S,
    "heap_bytes": HEAP_BYTES,
    "v8_heap_mb": HEAP_MB_OF_V8,
    "process_bytes": PROCESS_BYTES,
    "out_of_memory": OUT_OF_MEMORY,
}
"""Those that the worker sees to: it knows nothing of Headrace but what it is started with."""
