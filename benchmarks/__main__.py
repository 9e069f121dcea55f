"""Print the table of comparisons: `python -m benchmarks`, or `python -m benchmarks em`."""

import importlib
import sys

from benchmarks.comparison import Row, print_table

COMPARISONS = (
    "ais",
    "dense_annealing",
    "exact_log_partition",
    "exact_rbm",
    "em",
    "exchange",
    "lattice",
    "minimum_probability_flow",
    "rbm_training",
)


def main(names: list[str]) -> None:
    unknown = sorted(set(names) - set(COMPARISONS))
    if unknown:
        sys.exit(f"no comparison named {', '.join(unknown)}; there are {', '.join(COMPARISONS)}.")
    rows: list[Row] = []
    for name in names or COMPARISONS:
        print(f"running {name} ...", file=sys.stderr)
        rows += importlib.import_module(f"benchmarks.{name}").rows()
    print_table(rows)


if __name__ == "__main__":
    main(sys.argv[1:])
