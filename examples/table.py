"""DR-KD on a table with `drkd.self_distill`, offline: scikit-learn's breast cancer data and a small network.

python examples/table.py
"""

import torch
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split
from torch import Tensor, nn

import drkd


def load() -> drkd.Data:
    """Columns scaled by the training rows; a fifth of the rows for the test, a tenth of the rest for validation."""
    table = load_breast_cancer()
    rows, labels = torch.tensor(table.data, dtype=torch.float32), torch.tensor(table.target)
    train, test = train_test_split(range(len(rows)), test_size=0.2, random_state=0, stratify=table.target)
    mean, std = rows[train].mean(dim=0), rows[train].std(dim=0)

    def part(numbers: list[int]) -> tuple[Tensor, Tensor]:
        return (rows[numbers] - mean) / std, labels[numbers]

    return drkd.from_tensors(part(train), part(test), classes=tuple(table.target_names), name="breast cancer")


def main(epochs: int = 20) -> drkd.SelfDistillation:
    """Train self-teacher and student, and measure both on the test rows."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(30, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 2))
    data = load()
    result = drkd.self_distill(network, data, drkd.dr_kd, epochs=epochs, batch_size=32, lr=0.02)
    print(
        f"{len(data.train)} rows to train: self-teacher {result.self_teacher_test.accuracy:.3f}, student "
        f"{result.student_test.accuracy:.3f}, rectified in the last epoch "
        f"{result.student_run.history[-1]['rectified']:.3f}"
    )
    return result


if __name__ == "__main__":
    main()
