"""Many pieces of work that do not depend on each other: a thread for each, not all for one."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_parallel(call: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
    """Yield call(item) for every item, in their order, on as many threads as torch may use.

    For pieces made of many short operations. If the threads shared every operation instead, they
    would wait for one another after each: that costs more than the work, and a hundred times
    more where other programs want the processors too. The calls run without gradients.
    """
    n_threads = torch.get_num_threads()
    if min(n_threads, len(items)) <= 1:
        yield from map(torch.no_grad()(call), items)
        return
    try:
        with ThreadPoolExecutor(n_threads, "exact", torch.set_num_threads, (1,)) as pool:
            yield from pool.map(torch.no_grad()(call), items)
    finally:
        torch.set_num_threads(n_threads)  # a worker also sets what threads made later start with
