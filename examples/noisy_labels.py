"""Wrong labels: which methods withstand them, and which images have them. Digits, a fifth of the labels wrong.

python examples/noisy_labels.py      (a quarter of a minute on one core)
"""

import tempfile
from pathlib import Path

import drkd

SMALL = {"model": "mlp", "limit_train": 300, "epochs": 30, "batch_size": 50, "jobs": 1}


def main(seeds: int = 3) -> float:
    """Compare at 20% noise, then rank the labels of one run; the fraction of the first 20 that are wrong."""
    with tempfile.TemporaryDirectory() as folder:
        compared = drkd.compare(
            methods=["label_smoothing", "online_dr_kd"], label_noise=[0.2], seeds=seeds, out=Path(folder) / "c", **SMALL
        )
        print(compared)
        run = next(compared.out.rglob("seed-0/cross_entropy/summary.json")).parent
        suspects = drkd.find_suspects(run, asked="folds", jobs=1)
    clean, noisy = (drkd.load_data("digits", limit_train=300, label_noise=noise) for noise in (0.0, 0.2))
    wrong = {
        name
        for was, now in ((clean.train, noisy.train), (clean.val, noisy.val))
        for name, right in zip(now.origins, (was.labels == now.labels).tolist(), strict=True)
        if not right
    }
    first = [suspect.image for suspect in suspects.images[:20]]
    found = sum(image in wrong for image in first) / len(first)
    print(
        f"{len(wrong)} of {len(suspects.images)} labels are wrong; of the first {len(first)} suspects {found:.0%} are"
    )
    return found


if __name__ == "__main__":
    main()
