"""SAM 3 without PyTorch: what a text, an example or a click means in a picture or a video.

    import sam3_edge

    model = sam3_edge.Model("sam3_fp16.pth")
    found = model.segment("street.jpg", ["yellow school bus", "person"])
    for label, score, box in zip(found.labels, found.scores, found.boxes):
        print(label, score, box)
"""

from ._native import (
    CheckpointError,
    Clicked,
    DeviceError,
    Encoded,
    Frame,
    ImageError,
    Instances,
    Model,
    OutOfMemoryError,
    PromptError,
    Sam3Error,
    VerificationError,
    Video,
    __version__,
    package,
    verify,
)

__all__ = [
    "CheckpointError",
    "Clicked",
    "DeviceError",
    "Encoded",
    "Frame",
    "ImageError",
    "Instances",
    "Model",
    "OutOfMemoryError",
    "PromptError",
    "Sam3Error",
    "VerificationError",
    "Video",
    "__version__",
    "package",
    "verify",
]
