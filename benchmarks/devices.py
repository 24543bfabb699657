"""How far the weights of a training on two processes are from those on one: DR-KD, the `mlp` on digits, last epoch.

python benchmarks/devices.py
"""

import subprocess
import sys
import tempfile
from pathlib import Path

from drkd import load_model

OPTIONS = ("--model", "mlp", "--method", "dr_kd", "--threads", "1", "--validation", "0", "--device", "cpu")


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        weights = []
        for devices in ("1", "2"):
            out = Path(folder) / devices
            command = [sys.executable, "-m", "drkd", "train", *OPTIONS, "--devices", devices, "--out", str(out)]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            weights.append(load_model(out)[0].state_dict())
    one, two = weights
    print(f"largest difference {max(float((one[name] - two[name]).abs().max()) for name in one):.1e}")
    print(f"largest weight     {max(float(value.abs().max()) for value in one.values()):.2f}")


if __name__ == "__main__":
    main()
