"""Many buyers at the same moment, in threads over one database file and through a real server."""

import json
import shutil
import sys
import uuid
from concurrent.futures import ThreadPoolExecutor

from tests.ordering.served import ROOT, environment, run


def race(tmp_path, database, kind):
    shutil.copy(database, tmp_path / "shop.sqlite3")
    done = run([sys.executable, str(ROOT / "tests" / "ordering" / "race.py"), kind], environment(tmp_path))
    return json.loads(done.stdout)


def test_twenty_threads_with_one_key_place_one_order(tmp_path, database):
    result = race(tmp_path, database, "same-key")
    kinds = sorted(answer.split()[0] for answer in result["answers"])
    assert kinds == ["created"] + ["same"] * 19
    assert len({answer.split()[1] for answer in result["answers"]}) == 1
    assert (result["orders"], result["sold"], result["stock"]) == (1, 1, 4)


def test_twenty_threads_share_five_brownies(tmp_path, database):
    result = race(tmp_path, database, "stock")
    kinds = sorted(answer.split()[0] for answer in result["answers"])
    assert kinds == ["created"] * 5 + ["sold_out"] * 15
    assert (result["orders"], result["sold"], result["stock"]) == (5, 5, 0)
    assert result["numbers"] == [1, 2, 3, 4, 5]


def test_twenty_parallel_posts_with_one_key_place_one_order(shop):
    key = str(uuid.uuid4())
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: shop.order(shop.client, key, {"apple-pie": 1}), range(20)))
    assert sorted(answer.status_code for answer in answers) == [200] * 19 + [201]
    assert len({answer.text for answer in answers}) == 1
