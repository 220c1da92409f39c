"""The compiled part of sam3_edge. Pixels are counted from the upper left corner; boxes are x1, y1, x2, y2."""

from collections.abc import Sequence
from os import PathLike
from typing import Any, Literal, TypedDict

import numpy as np
from numpy.typing import NDArray

Image = str | PathLike[str] | bytes | NDArray[np.uint8] | Any
"""A path, the bytes of a picture's file, a uint8 array [height, width, 3] in RGB, or a Pillow image."""

class Rle(TypedDict):
    """COCO's compressed run lengths, as `pycocotools.mask` takes them."""

    size: list[int]
    counts: str

class Sam3Error(Exception):
    """What SAM 3 could not do. All others are kinds of it, but for those of files, which are OSErrors."""

class CheckpointError(Sam3Error):
    """A checkpoint or package that is none, damaged, or lacks what was asked for."""

class ImageError(Sam3Error):
    """What is no picture, or a damaged one."""

class PromptError(Sam3Error):
    """A text, a box, a click, a threshold or tiles that cannot be."""

class DeviceError(Sam3Error):
    """A GPU that is not there, or a precision, size or number of threads that cannot be had."""

class OutOfMemoryError(Sam3Error):
    """No memory, of the machine or the GPU."""

class VerificationError(Sam3Error):
    """A package whose bytes are not those that were written, or what is no package."""

class Model:
    """A SAM 3 checkpoint or package, ready to segment. Threads may share it; the GIL is released while it works.

    Ctrl-C ends a call at the model's next layer.
    """

    def __init__(
        self,
        path: str | PathLike[str],
        *,
        device: str = "auto",
        compute: Literal["auto", "f32", "bf16", "f16", "int8"] = "auto",
        image_size: int | None = None,
        threads: int | None = None,
    ) -> None:
        """Opens a file.

        Args:
            path: A package, or a checkpoint as Meta or the Hub have it.
            device: `auto` (the first GPU, else the CPU), `cpu`, `cuda` or `cuda:N`.
            compute: What large products are computed in; `auto` takes what suits the file and the device.
            image_size: Pixels in a side of the square that pictures are resized to; without it, the model's own.
            threads: Of the CPU; without it, all. Each model has its own where it is given.
        """
    @property
    def device(self) -> str: ...
    @property
    def compute(self) -> str: ...
    @property
    def image_size(self) -> int: ...
    @property
    def baked_prompts(self) -> list[str]:
        """The only texts that a package without a text encoder knows; empty where any text will do."""
    def encode(self, image: Image) -> Encoded:
        """Encodes a picture, which is nearly all of the work: for many prompts and clicks."""
    def segment(
        self,
        image: Image | Encoded,
        prompts: str | Sequence[str] | None = None,
        *,
        boxes: Sequence[Sequence[float]] | None = None,
        labels: Sequence[int] | None = None,
        threshold: float = 0.5,
        refine: bool = False,
        tiles: str | int | tuple[int, int] | None = None,
        overlap: float = 0.2,
        batch: int = 1,
    ) -> Instances:
        """Finds all that texts mean, or that is like example boxes.

        Args:
            image: The picture, or one that was encoded.
            prompts: Noun phrases; each is looked for with all the boxes.
            boxes: Examples in the same picture, in pixels.
            labels: 1 for an example, 0 for a counterexample; 1 for all without it.
            threshold: Scores above it are kept, 0 to 1.
            refine: Pass each mask once through the click head.
            tiles: Look tile by tile as well: `"auto"`, (columns, rows), or the pixels in a side of a tile.
            overlap: The least share of a tile's side that it has in common with the next.
            batch: How many tiles are encoded at once.
        """
    def click(
        self,
        image: Image | Encoded,
        points: Sequence[Sequence[float]] | None = None,
        *,
        labels: Sequence[int] | None = None,
        box: Sequence[float] | None = None,
        logits: NDArray[np.float32] | None = None,
        multimask: bool | None = None,
    ) -> Clicked:
        """Finds the one object that is shown.

        Args:
            image: The picture, or one that was encoded.
            points: x, y of each in pixels.
            labels: 1 for a point of the object, 0 for one beside it; 1 for all without it.
            box: x1, y1, x2, y2 around the object.
            logits: `Clicked.logits` of the step before.
            multimask: Three masks, or one; without it, one, which of a single point is the best of three.
        """
    def video(self, prompts: str | Sequence[str] | None = None, *, frames: int | None = None) -> Video:
        """Begins to follow what texts mean, or what is clicked later, through a video of so many frames, if known."""

class Encoded:
    """A picture that was encoded."""

    @property
    def width(self) -> int: ...
    @property
    def height(self) -> int: ...
    @property
    def bytes(self) -> int:
        """Bytes of memory that it holds."""

class Instances:
    """What was found in a picture, over all prompts in their order."""

    def __len__(self) -> int: ...
    @property
    def width(self) -> int: ...
    @property
    def height(self) -> int: ...
    @property
    def prompts(self) -> list[str]: ...
    @property
    def presence(self) -> list[float]:
        """Of each prompt: the probability that there is any such thing."""
    @property
    def class_ids(self) -> list[int]:
        """The place of each instance's prompt among `prompts`."""
    @property
    def labels(self) -> list[str]:
        """Each instance's prompt."""
    @property
    def scores(self) -> NDArray[np.float32]:
        """`[instances]`, 0 to 1."""
    @property
    def boxes(self) -> NDArray[np.float32]:
        """`[instances, 4]`: x1, y1, x2, y2 in pixels."""
    @property
    def areas(self) -> list[int]:
        """Pixels inside each mask."""
    @property
    def masks(self) -> NDArray[np.bool_]:
        """`[instances, height, width]`, made anew each time: a byte a pixel of every mask."""
    def mask(self, index: int) -> NDArray[np.bool_]:
        """`[height, width]`: the mask of one instance."""
    def rle(self) -> list[Rle]:
        """The masks as run lengths, which do not make them dense."""
    def polygons(self) -> list[list[list[float]]]:
        """Outlines of each mask: x, y, x, y, … in pixels."""
    def to_supervision(self) -> Any:
        """As `supervision.Detections`, with the prompts as `class_name`."""
    def to_fiftyone(self) -> Any:
        """As `fiftyone.Detections`."""
    def to_coco(self, image_id: int = 1, first_id: int = 1) -> list[dict[str, Any]]:
        """As COCO annotations of one image; the category is the number of the prompt, from 1 on."""

class Clicked:
    """The masks of an object that was clicked."""

    def __len__(self) -> int: ...
    @property
    def object_score(self) -> float:
        """A logit: above 0, the object is there, as the model sees it."""
    @property
    def ious(self) -> NDArray[np.float32]:
        """`[masks]`: the predicted IoU of each with the object."""
    @property
    def masks(self) -> NDArray[np.bool_]:
        """`[masks, height, width]`."""
    @property
    def mask(self) -> NDArray[np.bool_]:
        """`[height, width]`: the mask of the highest predicted IoU."""
    @property
    def logits(self) -> NDArray[np.float32]:
        """`[side, side]`: the best mask's logits, for the next click."""

class Video:
    """A video whose objects are followed. Memory does not grow with its frames."""

    def push(self, image: Image) -> list[Frame]:
        """Takes the next frame; returns those that are final: with texts, 14 frames later or at the end."""
    def look(self, frame: int, image: Image) -> None:
        """Looks at a frame, so that it can be clicked before it is pushed, or out of turn."""
    def click(
        self,
        points: Sequence[Sequence[float]] | None = None,
        *,
        labels: Sequence[int] | None = None,
        box: Sequence[float] | None = None,
        logits: NDArray[np.float32] | None = None,
        object: int | None = None,
    ) -> tuple[int, NDArray[np.bool_]]:
        """Shows an object, a new one or one that is followed, on the frame that was pushed or looked at last.

        Returns its id and its mask there, `[height, width]`.
        """
    def text(self, text: str) -> None:
        """Follows what another text means, from the next frame on."""
    def remove(self, object: int) -> bool:
        """Follows an object no longer; whether it was followed."""
    def finish(self) -> list[Frame]:
        """Ends the video; returns the frames that were held back."""
    @property
    def objects(self) -> list[int]: ...
    @property
    def bytes(self) -> int:
        """Bytes of memory that are kept of the frames behind."""

class Frame:
    """Where the objects are on one frame, in the order of their ids."""

    def __len__(self) -> int: ...
    @property
    def frame(self) -> int:
        """Its number, from 0."""
    @property
    def width(self) -> int: ...
    @property
    def height(self) -> int: ...
    @property
    def ids(self) -> list[int]: ...
    @property
    def prompt_ids(self) -> list[int | None]:
        """The place of each object's text; None of one that was clicked."""
    @property
    def scores(self) -> NDArray[np.float32]:
        """`[objects]`: the score that each began with."""
    @property
    def object_scores(self) -> list[float | None]:
        """The logit of each object's being there; None on its first frame."""
    @property
    def boxes(self) -> NDArray[np.float32]:
        """`[objects, 4]`: x1, y1, x2, y2 in pixels."""
    @property
    def masks(self) -> NDArray[np.bool_]:
        """`[objects, height, width]`."""
    @property
    def removed(self) -> list[int]:
        """Objects that this frame removed."""

def package(
    checkpoint: str | PathLike[str],
    output: str | PathLike[str],
    *,
    quantize: Literal["fp16", "bf16", "int8", "none"] = "fp16",
    tarball: bool = True,
    force: bool = False,
) -> list[Any]:
    """Packages a checkpoint, as `sam3 package` does; returns the paths of the files that were written.

    SAM 3's weights stay under Meta's SAM License.
    """

def verify(path: str | PathLike[str]) -> int:
    """Checks every tensor of a package, or of its archive, against its digest; returns how many there are."""

__version__: str
