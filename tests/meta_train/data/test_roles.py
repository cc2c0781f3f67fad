import os
import re
from pathlib import Path

import pytest

from meta_train.data import IMAGES, SERIES, SIGNALS, TABLES, TEXTS, file_of


def roles() -> dict[str, str]:
    """Every file of the data folder and its role, as the folder's own page lists them."""
    page = Path(os.environ.get("NFN_DATA") or "absent") / "README.md"
    if not page.is_file():
        pytest.skip("$NFN_DATA/README.md, which lists roles, is not there")
    found = re.findall(r"^\| ([\w/]+\.(?:npz|txt)) \| ([\w, -]+) \|", page.read_text(), re.M)
    assert found
    return dict(found)


def test_the_list_in_the_code_is_the_list_of_the_data_folder() -> None:
    allowed = {name for name, role in roles().items() if role == "meta-train"}
    listed = {file_of(name) for name in (*IMAGES, *TABLES, *SIGNALS, *SERIES, *TEXTS)}
    assert listed == allowed


def test_what_is_held_out_has_no_place_in_meta_training() -> None:
    for name in ("fashion_mnist", "cifar10", "svhn", "c_satimage", "japanese_vowels", "china.jpg"):
        with pytest.raises(ValueError, match="not for meta-training"):
            file_of(name)
