"""The first result of an executor, ours or the standard library's, in a program as people write one.

Run by bench/executor by its file: the standard library's workers read that once more, as everybody's, so nothing stands
at its top that they would load.  And as text, by `-c`, as at a prompt or in a notebook, where they have nothing to
read.  Prints milliseconds.

    first_result.py ours|theirs     of the program's first executor: from making it, and from the program's first line
    first_result.py turns ROUNDS    of executors made in turns: ours and theirs, a pair a line
"""

import sys
import time


def first(make, program_began: float) -> tuple[float, float]:  # type: ignore[no-untyped-def]  # noqa: ANN001
    made = time.perf_counter()
    pool = make()
    assert pool.submit(pow, 2, 3).result() == 8
    done = time.perf_counter()
    pool.shutdown()
    return (done - made) * 1e3, (done - program_began) * 1e3


def maker(whose: str):  # type: ignore[no-untyped-def]  # noqa: ANN201 - an annotation would have to be imported
    if whose == "ours":
        from foxden import SandboxExecutor

        return lambda: SandboxExecutor(1)
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor

    context = multiprocessing.get_context("spawn")
    return lambda: ProcessPoolExecutor(1, mp_context=context)


if __name__ == "__main__":
    began = time.perf_counter()
    if sys.argv[1] == "turns":
        ours, theirs = maker("ours"), maker("theirs")
        for _ in range(int(sys.argv[2])):
            print(first(ours, began)[0], first(theirs, began)[0])
    else:
        print(*first(maker(sys.argv[1]), began))
