"""How closely `convention="reference"` gives the public code's numbers: the largest relative error.

    python benchmarks/reference_error.py

The other side is tests/oracles/public_code.py: the formulas in numpy, float64, with derivatives taken on paper.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "objective"))

from test_reference_convention import CLASSES, METHODS, relative_errors


def main() -> None:
    print(f"{'method':<16}" + "".join(f"{f'K={k}':>20}" for k in CLASSES) + "   (loss, gradient)")
    worst = [0.0, 0.0]
    for name in METHODS:
        errors = [relative_errors(name, k) for k in CLASSES]
        print(f"{name:<16}" + "".join(f"{f'{loss:.1e}, {gradient:.1e}':>20}" for loss, gradient in errors))
        worst = [max(worst[i], *(pair[i] for pair in errors)) for i in range(2)]
    print(f"largest: loss {worst[0]:.1e}, gradient {worst[1]:.1e}")


if __name__ == "__main__":
    main()
