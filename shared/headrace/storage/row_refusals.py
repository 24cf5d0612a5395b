"""Why MongoDB refuses a row, in the words of its table; never with a value of it."""

from collections.abc import Iterator, Mapping, Sequence
from typing import cast

from headrace.engine.rows import RowRefused
from headrace.storage.driver import Document

DOCUMENT_VALIDATION_FAILURE = 121

MOST_TOLD = 5
"""Columns that are told in words; of more the number."""

_WORDS = {
    "string": "text",
    "int": "number",
    "long": "number",
    "double": "number",
    "decimal": "number",
    "bool": "boolean",
    "date": "time",
    "array": "array",
    "object": "object",
}


def refusal(code: int | None, info: object = None) -> RowRefused:
    """What a caller is told of a row that MongoDB does not take; `info` is the error's `errInfo`.

    Its form: https://www.mongodb.com/docs/manual/core/schema-validation/#understand-schema-validation-error-output
    """
    if code == DOCUMENT_VALIDATION_FAILURE:
        told = list(_columns(info))
        if told:
            more = f"; and {len(told) - MOST_TOLD} more" if len(told) > MOST_TOLD else ""
            return RowRefused(f"the row does not fit its table: {'; '.join(told[:MOST_TOLD])}{more}")
        return RowRefused("the row does not fit the rules of its collection")
    return RowRefused(f"MongoDB refuses the row (code {code})")


def _columns(info: object) -> Iterator[str]:
    details = _object(_object(info).get("details"))
    for rule in _objects(details.get("schemaRulesNotSatisfied")):
        match rule.get("operatorName"):
            case "required":
                yield from (f"column {name!r} must be given" for name in _list(rule.get("missingProperties")))
            case "additionalProperties":
                yield from (f"there is no column {name!r}" for name in _list(rule.get("additionalProperties")))
            case "properties":
                for each in _objects(rule.get("propertiesNotSatisfied")):
                    yield f"column {each.get('propertyName')!r}: {_expected(_objects(each.get('details')))}"
            case _:
                pass


def _expected(details: Sequence[Document]) -> str:
    for detail in details:
        specified = _object(detail.get("specifiedAs"))
        match detail.get("operatorName"):
            case "enum":
                options = [str(each) for each in _list(specified.get("enum")) if each is not None]
                return f"expected one of {', '.join(options[:MOST_TOLD])}{' …' if len(options) > MOST_TOLD else ''}"
            case "bsonType":
                types = [str(each) for each in _list(specified.get("bsonType"))]
                words = " or ".join(dict.fromkeys(_WORDS[each] for each in types if each in _WORDS))
                found = _WORDS.get(str(detail.get("consideredType")), str(detail.get("consideredType")))
                return f"expected {words}, not {found}"
            case _:
                pass
    return "it must not be null"


def _object(value: object) -> Document:
    return cast(Document, value) if isinstance(value, Mapping) else {}


def _list(value: object) -> Sequence[object]:
    return cast("Sequence[object]", value) if isinstance(value, list) else ()


def _objects(value: object) -> list[Document]:
    return [_object(each) for each in _list(value)]
