"""The tables of recipes that make networks smaller: fewer numbers, or fewer bits for each."""

from collections.abc import Callable

from tools.docs_tables.content import Table, results, spread, variants


def low_rank_lenet() -> Table:
    """LeNet-300-100 with a part of its parameters, before and after it was trained again."""
    content = results("low_rank_lenet")
    table = [["", "parameters", "ranks", "accuracy before training, %", "after, %", "test errors"]]
    largest_first = sorted(variants(content).items(), key=lambda item: -item[1][0]["parameters"])
    for name, rows in largest_first:
        ranks = [str(rank) for _, rank in rows[0].get("ranks", {}).values()]
        before = rows[0].get("untrained_test_accuracy")
        cells = [name, f"{rows[0]['parameters']:,}", ", ".join(ranks)]
        cells += [f"{100 * before:.2f}" if ranks else ""]
        cells += [spread(content["summary"][name], len(rows))]
        table.append([*cells, ", ".join(str(row["test_errors"]) for row in rows)])
    return table


_FUNCTIONS = (low_rank_lenet,)
TABLES: dict[str, Callable[[], Table]] = {function.__name__: function for function in _FUNCTIONS}
