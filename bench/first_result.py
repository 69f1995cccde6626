"""The first result of the first executor of a program: ours or the standard library's, in a process of its own.

Run by bench/executor as people run a program, by its file: the standard library's workers read that once more, and so
nothing stands at its top that they would load.  Prints milliseconds: from making the executor, and from the first line.
"""

import sys
import time

if __name__ == "__main__":
    began = time.perf_counter()
    if sys.argv[1] == "ours":
        from foxden import SandboxExecutor

        made = time.perf_counter()
        pool = SandboxExecutor(1)
    else:
        import multiprocessing
        from concurrent.futures import ProcessPoolExecutor

        made = time.perf_counter()
        pool = ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))  # type: ignore[assignment]
    assert pool.submit(pow, 2, 3).result() == 8
    done = time.perf_counter()
    print((done - made) * 1e3, (done - began) * 1e3)
    pool.shutdown()
