import pytest

from tests.models import opinions, recipe_of, save_tiny, study_on, write_rows


@pytest.fixture(scope="session")
def study(tmp_path_factory):
    """A study of the unified space on a tiny BERT with two blocks: four epochs of three steps."""
    folder = tmp_path_factory.mktemp("supernet")
    data = write_rows(folder / "data.csv", opinions(80))
    return study_on(str(save_tiny(folder / "model")), data, recipe_of(epochs=4))
