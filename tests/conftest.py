"""Fixtures that every part of the tests may use."""

from __future__ import annotations

from pathlib import Path

import pytest

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real photographs, captions and hostile files, which lies beside the project where it exists."""
    if not (SHARED_DATA / "README.md").is_file():
        pytest.skip("the folder of real data (shared/data beside the project) is not here")
    return SHARED_DATA
