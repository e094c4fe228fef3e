"""Make the golden trajectory: twelve checkpoints of nano, in half precision.

    python golden/freeze_weights.py

Only needed when the golden trajectory itself is to change; training gives other last digits on
other processors, so every golden result changes with it.
"""

from pathlib import Path

from safetensors.torch import save_file

from cntbench.models.checkpoint_files import read_tensors
from cntbench.models.trajectory import open_trajectory

STEPS = (0, 8, 64, 136, 232, 280, 304, 320, 352, 456, 720, 1112)

if __name__ == "__main__":
    root = Path(__file__).parent / "nano" / "trajectory"
    trajectory = open_trajectory("nano", lambda *_: None)
    for checkpoint in trajectory.checkpoints:
        if checkpoint.step in STEPS:
            folder = root / checkpoint.name
            folder.mkdir(parents=True, exist_ok=True)
            halves = {name: t.half() for name, t in read_tensors(checkpoint.folder).items()}
            save_file(halves, folder / "model.safetensors", metadata={"format": "pt"})
            config = (checkpoint.folder / "config.json").read_text(encoding="utf-8")
            (folder / "config.json").write_text(config, encoding="utf-8")
