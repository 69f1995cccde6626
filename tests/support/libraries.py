"""Work of libraries that people run on what they do not trust, as functions for a box: each imports what it needs."""

from __future__ import annotations

import importlib
import sys
import threading


def load(name: str) -> str:
    return importlib.import_module(name).__name__


def with_numpy() -> float:
    import numpy as np

    matrix = np.full((600, 600), 2.0)  # large enough for the threads of the linear algebra
    return float((matrix @ np.eye(600)).sum())


def with_pandas() -> tuple[int, int]:
    import io

    import pandas as pd

    frame = pd.read_csv(io.StringIO("who,what\nann,1\nbob,2\nann,3\n"))
    file = io.BytesIO()
    frame.to_parquet(file)  # by pyarrow, in its threads
    return int(frame.groupby("who").what.sum()["ann"]), len(pd.read_parquet(io.BytesIO(file.getvalue())))


def with_pillow() -> tuple[tuple[int, int], bool, str]:
    import io

    import PIL.Image
    import PIL.ImageDraw
    import PIL.ImageFont

    picture = PIL.Image.new("RGB", (640, 480), "red")
    PIL.ImageDraw.Draw(picture).text((10, 10), "foxden", fill="white", font=PIL.ImageFont.load_default(40))
    file = io.BytesIO()
    picture.save(file, "JPEG")
    read = PIL.Image.open(io.BytesIO(file.getvalue()))
    read.thumbnail((64, 64))
    try:
        PIL.Image.open(io.BytesIO(file.getvalue()[:2000])).load()
        cut = "read"
    except OSError as error:
        cut = str(error)
    return read.size, picture.getextrema()[1] == (0, 255), cut


def with_lxml(source: str) -> str:
    import lxml.etree
    import lxml.html

    assert lxml.html.fromstring("<p>a<b>b").text_content() == "ab"
    parser = lxml.etree.XMLParser(resolve_entities=True, load_dtd=True)
    try:
        return lxml.etree.fromstring(source.encode(), parser).text or ""
    except lxml.etree.XMLSyntaxError as error:
        return str(error)


def with_sklearn() -> tuple[float, float, int]:
    import numpy as np
    from sklearn.cluster import KMeans
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.model_selection import cross_val_score

    points = np.random.default_rng(0).random((400, 4))
    side = (points[:, 0] > 0.5).astype(int)
    forest = RandomForestClassifier(10, n_jobs=2, random_state=0).fit(points, side)  # joblib's threads
    crossed = cross_val_score(forest, points, side, cv=2, n_jobs=2)  # joblib's processes, where there are any
    return float(forest.score(points, side)), float(crossed.min()), len(set(KMeans(3, n_init=1).fit(points).labels_))


def with_h5py(path: str) -> int:
    import h5py

    with h5py.File(path, "w") as file:
        file["numbers"] = list(range(100))
    with h5py.File(path) as file:
        return int(file["numbers"][:].sum())


def with_threads() -> tuple[list[int], int]:
    import multiprocessing
    from multiprocessing import pool

    lock, counted = multiprocessing.Lock(), []

    def count(number: int) -> int:
        with lock:
            counted.append(threading.get_ident())
        return number * number

    with pool.ThreadPool(4) as threads:
        return threads.map(count, range(5)), len(counted)


def find_and_load(name: str) -> tuple[str | None, int]:
    import ctypes.util

    found = ctypes.util.find_library(name)
    return found, int(ctypes.CDLL(found).abs(-7)) if found else 0


def write_without_a_name() -> bytes:
    import tempfile

    with tempfile.TemporaryFile() as file:
        file.write(b"text")
        file.seek(0)
        return file.read()


def open_in_own_folder(flags: int) -> int:
    import os
    import tempfile

    return os.open(tempfile.gettempdir(), flags)


def loaded(names: tuple[str, ...]) -> list[str]:
    return [name for name in names if name in sys.modules]
