"""Which of two records of a run stands, and what of a batch needs writing. No I/O."""

from collections.abc import Iterable, Sequence

from headrace.contracts.runs import FINAL_STATUSES, RunRecord


def supersedes(record: RunRecord, stored: RunRecord) -> bool:
    """Whether `record` replaces `stored`: a greater (generation, sequence); in its generation a final status stays."""
    if record["generation"] == stored["generation"] and stored["status"] in FINAL_STATUSES:
        return False
    return order(record) > order(stored)


def order(record: RunRecord) -> tuple[int, int]:
    """(generation, sequence)."""
    return record["generation"], record["sequence"]


def rounds(records: Sequence[RunRecord], indexes: Iterable[int]) -> list[list[int]]:
    """Those of `indexes` to write so that the end is as if all were written one by one, in their order.

    One per run in a round, its greatest. More rounds than one come where a record is followed by one of a later
    generation, since what the earlier one came to is kept; and where a final record is followed by a greater one of its
    generation, which whoever owns its runs never writes: whether the later one counts depends on what is stored.
    """
    chosen: list[dict[str, int]] = []
    reached: dict[str, int] = {}
    for index in indexes:
        record = records[index]
        run_id = record["run_id"]
        number = reached.get(run_id, 0)
        if number == len(chosen):
            chosen.append({})
        kept = chosen[number].get(run_id)
        if kept is None or _stands_for(record, records[kept]):
            chosen[number][run_id] = index
        elif order(record) > order(records[kept]):
            reached[run_id] = number + 1
            if number + 1 == len(chosen):
                chosen.append({})
            chosen[number + 1][run_id] = index
    return [list(each.values()) for each in chosen]


def _stands_for(record: RunRecord, kept: RunRecord) -> bool:
    return record["generation"] == kept["generation"] and supersedes(record, kept)
