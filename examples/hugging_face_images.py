"""PS-KD of a small vision transformer with Hugging Face's Trainer, offline: scikit-learn's digits.

    python examples/hugging_face_images.py

The method remembers what the student said of each sample, so the rows bear their number (`Indexed`).
"""

import tempfile

import torch
from transformers import TrainingArguments, ViTConfig, ViTForImageClassification, set_seed

import drkd
from drkd.integrations import Indexed
from drkd.integrations.transformers import SelfDistillationTrainer


def rows_of(split: drkd.Split) -> list[dict[str, torch.Tensor]]:
    """Images from -1 to 1 under the name that the model gives them, and labels."""
    images = split.inputs[torch.arange(len(split))].float() / 127.5 - 1
    return [{"pixel_values": image, "labels": label} for image, label in zip(images, split.labels, strict=True)]


def main(epochs: int = 15, limit: int = 1000) -> dict[str, float]:
    """Train with cross-entropy and with PS-KD from the same weights; accuracies on the test split."""
    data = drkd.load_data("digits", limit_train=limit, seed=0)
    shape = {"image_size": 8, "patch_size": 2, "num_channels": 1, "num_labels": 10}
    size = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    accuracies = {}
    for method in (drkd.cross_entropy(), drkd.ps_kd(0.8)):
        set_seed(0)
        with tempfile.TemporaryDirectory() as folder:
            trainer = SelfDistillationTrainer(
                ViTForImageClassification(ViTConfig(**shape, **size)),
                TrainingArguments(
                    output_dir=folder,
                    num_train_epochs=epochs,
                    per_device_train_batch_size=32,
                    learning_rate=3e-3,
                    remove_unused_columns=False,
                    save_strategy="no",
                    report_to="none",
                    disable_tqdm=True,
                    use_cpu=not torch.cuda.is_available(),
                ),
                method=method,
                train_dataset=Indexed(rows_of(data.train)),
                eval_dataset=rows_of(data.test),
                compute_metrics=lambda seen: {
                    "accuracy": float((seen.predictions.argmax(-1) == seen.label_ids).mean())
                },
            )
            trainer.train()
            accuracies[method.name] = trainer.evaluate()["eval_accuracy"]
    print(f"{limit} digits to train: cross-entropy {accuracies['cross_entropy']:.3f}, PS-KD {accuracies['ps_kd']:.3f}")
    return accuracies


if __name__ == "__main__":
    main()
