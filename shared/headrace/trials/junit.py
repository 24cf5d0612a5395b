"""Results of test cases as JUnit XML, as CI servers read it."""

import re
from collections.abc import Sequence
from itertools import groupby
from xml.etree import ElementTree

from headrace.trials.cases import CaseResult

_NO_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML 1.0 cannot hold in any form."""


def junit_xml(results: Sequence[CaseResult]) -> bytes:
    """One suite an automation, one test case a case."""
    root = ElementTree.Element("testsuites", {"name": "headrace", **_counts(results)})
    for automation, cases in groupby(results, lambda each: each.automation):
        found = list(cases)
        suite = ElementTree.SubElement(root, "testsuite", {"name": automation, **_counts(found)})
        for each in found:
            case = ElementTree.SubElement(
                suite, "testcase", classname=automation, name=_clean(each.case.name), time=f"{each.seconds:.3f}"
            )
            if each.differences:
                failure = ElementTree.SubElement(case, "failure", message=_clean(str(each.differences[0])))
                failure.text = _clean("\n".join(map(str, each.differences)))
    return ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)


def _counts(results: Sequence[CaseResult]) -> dict[str, str]:
    return {
        "tests": str(len(results)),
        "failures": str(sum(bool(each.differences) for each in results)),
        "errors": "0",
        "time": f"{sum(each.seconds for each in results):.3f}",
    }


def _clean(text: str) -> str:
    return _NO_XML.sub("\ufffd", text)
