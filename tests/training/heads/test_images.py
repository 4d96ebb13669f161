"""Images: pixels as the model wants them, vectors by hand, and that classes are learned."""

from types import SimpleNamespace

import numpy as np
import PIL.Image
import pytest
import torch
from torch import nn

from autopeft.errors import BackboneError
from autopeft.study import Columns, DataFiles, Task
from autopeft.tasks.parts import Pictures
from autopeft.tasks.table import Image
from autopeft.training.heads.images import EncodedPictures, ImageModel
from autopeft.training.model_files import find_model
from autopeft.training.pretrained import load_processor
from autopeft.trial import Fidelity
from tests.kinds import bench_of
from tests.models import VISION, opinions, save_tiny, write_rows

LORA = {"lora@attention.query": 4, "lora@attention.value": 4, "lora@ffn.input": 4}


def task(head="mean"):
    return Task(
        kind="image", metric="accuracy", columns=Columns(text="image", label="label"),
        labels=("a", "b"), head=head, max_length=128, digest="", split_seed=0, examples=(1, 1, 1),
    )  # fmt: skip


def halves(folder, count=80):
    """Write images of which the upper or the lower half is bright."""
    rng = np.random.default_rng(0)
    for number in range(count):
        pixels = rng.integers(0, 120, size=(16, 16, 3), dtype=np.uint8)
        upper = number % 2
        pixels[:8] += 130 * upper
        pixels[8:] += 130 * (1 - upper)
        (folder / "ab"[upper]).mkdir(parents=True, exist_ok=True)
        PIL.Image.fromarray(pixels).save(folder / "ab"[upper] / f"{number}.png")
    return DataFiles(train=str(folder))


class Echo(nn.Module):
    """A backbone for images of 4 x 4 in patches of 2 x 2, whose output is what it is told."""

    config = SimpleNamespace(hidden_size=1, patch_size=2)

    def __init__(self, tokens):
        super().__init__()
        self.tokens = tokens

    def forward(self, pixel_values):
        hidden = torch.tensor([[[float(token)] for token in self.tokens]])
        return SimpleNamespace(last_hidden_state=hidden, pooler_output=hidden.sum(1))


@pytest.mark.parametrize(
    ("head", "tokens", "vector"),
    [
        ("mean", [1, 2, 3, 6], 3.0),
        ("mean", [100, 1, 2, 3, 6], 3.0),
        ("mean", [100, 50, 1, 2, 3, 6], 3.0),
        ("cls", [100, 1, 2, 3, 6], 100.0),
        ("pooler", [100, 1, 2, 3, 6], 112.0),
    ],
)
def test_the_mean_is_that_of_the_patches_alone(head, tokens, vector):
    """Class, distillation and register tokens come first and are left out."""
    model = ImageModel(Echo(tokens), task(head), torch.Generator().manual_seed(0))
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[1.0], [2.0]]))

    scores = model({"pixel_values": torch.zeros(1, 3, 4, 4)})

    assert scores.tolist() == [[vector, 2 * vector]]


@pytest.mark.parametrize(("mode", "size"), [("L", (30, 4)), ("RGBA", (4, 30)), ("P", (1, 1))])
def test_every_image_comes_in_the_models_own_size_and_scale(tmp_path, mode, size):
    """White is 1 after the processor's mean and spread of one half."""
    file = tmp_path / "a.png"
    PIL.Image.new("RGB", size, "white").convert(mode).save(file)
    processor = load_processor(find_model(str(save_tiny(tmp_path / "model", "vit"))))
    pictures = Pictures(images=(Image(name=str(file)),), labels=np.array([1]))

    batch = EncodedPictures(pictures=pictures, processor=processor).batch([0])

    assert batch.inputs["pixel_values"].shape == (1, 3, 8, 8)
    torch.testing.assert_close(batch.inputs["pixel_values"], torch.ones(1, 3, 8, 8))
    assert batch.labels.tolist() == [1]


@pytest.mark.parametrize(
    ("size", "cropped", "length"),
    [
        ({"height": 224, "width": 224}, None, 196),
        ({"shortest_edge": 256}, {"height": 224, "width": 224}, 196),
        ({"shortest_edge": 384}, None, 576),
        ({"height": 8, "width": 8}, None, 1),
    ],
)
def test_what_an_image_costs_follows_from_the_size_that_the_model_takes(size, cropped, length):
    processor = SimpleNamespace(size=size, crop_size=cropped, do_center_crop=bool(cropped))
    pictures = Pictures(images=(Image(name="a.png"),) * 2, labels=np.array([1, 0]))

    assert EncodedPictures(pictures=pictures, processor=processor).lengths.tolist() == [length] * 2


@pytest.mark.parametrize("family", VISION)
@pytest.mark.parametrize("head", ["mean", "cls"])
def test_classes_of_images_are_learned(tmp_path, family, head):
    bench = bench_of(
        save_tiny(tmp_path / "model", family), halves(tmp_path / "data"), "image", head=head
    )
    rates = {"learning_rates": {"lora": 1e-2}, "head_learning_rate": 1e-2}

    begun = bench.run(LORA, fidelity=Fidelity(share=0.01), **rates)
    measured = bench.run(LORA, epochs=8, **rates)

    assert measured.score >= 0.9
    assert measured.loss < 0.5 * begun.loss
    assert measured.head_parameters == 66
    assert len(measured.predictions) == 4 * bench.task.examples[1]


def test_a_pooler_that_was_never_trained_is_refused(tmp_path):
    data = halves(tmp_path / "data")

    with pytest.raises(BackboneError, match="has no trained pooler: take the head 'mean' or 'cls'"):
        bench_of(save_tiny(tmp_path / "model", "dinov2"), data, "image", head="pooler")


def test_a_model_of_two_towers_looks_with_one_and_reads_with_the_other(tmp_path):
    """CLIP's towers have widths of their own, 24 for texts and 32 for images."""
    model = save_tiny(tmp_path / "model", "clip")
    texts = write_rows(tmp_path / "data.csv", opinions(40))
    looking = bench_of(model, halves(tmp_path / "data", 40), "image")
    reading = bench_of(model, texts, "classification", head="mean")
    lora = {slot.name: 2 for slot in looking.slots if slot.name.startswith("lora@vision.")}

    assert looking.run(lora).head_parameters == 2 * 33
    assert reading.run({}).head_parameters == 2 * 25
