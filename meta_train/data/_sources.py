"""The data sets of images: what they must look like, and where they are."""

from __future__ import annotations

from dataclasses import dataclass

KEYS = ("x_train", "y_train", "x_test", "y_test")


@dataclass(frozen=True)
class Source:
    """What a data set must look like, and where it is.

    Attributes:
        image: Shape of an image, `(c, h, w)`.
        classes: How many there are.
        folder: Subfolder of its file.
        openml: Its number on OpenML, if it is there.
        num_train: How many of OpenML's rows, from the first, are the official training data.
    """

    image: tuple[int, int, int]
    classes: int = 10
    folder: str = "images"
    openml: int | None = None
    num_train: int = 0

    @property
    def stored(self) -> tuple[tuple[int, ...], ...]:
        """Shapes that an image may have in a file; one channel goes without saying."""
        channels, height, width = self.image
        return ((height, width),) if channels == 1 else (self.image, (height, width, channels))


_GRAY = (1, 28, 28)
_COLOR = (3, 32, 32)
SOURCES = {
    "mnist": Source(_GRAY, folder="", openml=554, num_train=60_000),
    "fashion_mnist": Source(_GRAY, folder="", openml=40996, num_train=60_000),
    "cifar10": Source(_COLOR, folder="", openml=40927, num_train=50_000),
    "svhn": Source(_COLOR, folder="", openml=41081, num_train=73_257),
    "ahcd_arabic": Source((1, 32, 32), 28),
    "cifar100_20cls": Source(_COLOR, 20),
    "emnist_bymerge47": Source(_GRAY, 47),
    "emnist_letters19": Source(_GRAY, 19),
    "hoda_farsi_digits": Source(_GRAY),
    "notmnist": Source(_GRAY),
    "omniglot_small1": Source(_GRAY, 136),
    "pneumoniamnist": Source(_GRAY, 2),
    "sign_digits_grey": Source((1, 32, 32)),
    "usps": Source((1, 16, 16)),
}
