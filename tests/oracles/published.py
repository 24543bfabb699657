"""The papers' figures, test accuracy in percent, typed from their tables a second time: PAPER/DATA/NAME: figure."""

PUBLISHED = {
    **{
        f"tf_kd/cifar100/{name}": figure
        for name, figure in {
            **{"mobilenetv2": 68.38, "mobilenetv2-self": 70.96, "mobilenetv2-reg": 70.88, "mobilenetv2-lsr": 69.32},
            **{"shufflenetv2": 70.34, "shufflenetv2-self": 72.23, "shufflenetv2-reg": 72.09, "shufflenetv2-lsr": 70.83},
            **{"resnet18": 75.87, "resnet18-self": 77.10, "resnet18-reg": 77.36, "resnet18-lsr": 77.26},
            **{"googlenet": 78.72, "googlenet-self": 80.17, "googlenet-reg": 79.22, "googlenet-lsr": 79.07},
            **{"densenet121": 79.04, "densenet121-self": 80.26, "resnext29": 81.03, "resnext29-self": 82.08},
            "resnet50": 78.16,
            **{"mobilenetv2-kd-resnet18": 71.05, "shufflenetv2-kd-resnet18": 72.05, "resnet18-kd-resnet50": 77.19},
            "googlenet-kd-resnext29": 78.84,
            **{"resnet18-rekd-mobilenetv2": 77.28, "resnet18-rekd-shufflenetv2": 77.35},
            **{"resnet50-rekd-mobilenetv2": 79.30, "resnet50-rekd-shufflenetv2": 79.43},
            **{"densenet121-rekd-mobilenetv2": 79.55, "densenet121-rekd-shufflenetv2": 79.83},
            **{"resnext29-rekd-mobilenetv2": 81.53, "resnext29-rekd-resnet18": 81.62},
            **{"mobilenetv2-dekd-resnet18": 70.65, "shufflenetv2-dekd-resnet18": 71.82},
            **{"mobilenetv2-dekd-resnet50": 71.45, "shufflenetv2-dekd-resnet50": 72.11},
            **{"mobilenetv2-dekd-resnext29": 71.52, "shufflenetv2-dekd-resnext29": 72.26},
            **{"resnet18-dekd-resnet50": 77.23, "resnet18-dekd-resnext29": 77.28},
        }.items()
    },
    **{
        f"tf_kd/cifar10/{name}": figure
        for name, figure in {
            **{"resnet18": 95.12, "cnn": 87.14, "mobilenetv2": 90.98, "resnext29": 95.76},
            **{"resnet18-rekd-cnn": 95.33, "resnet18-rekd-mobilenetv2": 95.71, "cnn-kd-resnet18": 87.67},
            **{"mobilenetv2-kd-resnet18": 91.69, "resnext29-rekd-resnet18": 96.49},
        }.items()
    },
    **{
        f"tf_kd/{data}/{network}{suffix}": figure
        for data, networks in {
            "tiny_imagenet": {
                "mobilenetv2": (55.06, 56.77, 56.47, 56.24),
                "shufflenetv2": (60.51, 61.36, 60.93, 60.66),
                "resnet50": (67.47, 68.18, 67.92, 67.63),
                "densenet121": (68.15, 68.29, 68.37, 68.19),
            },
            "imagenet": {
                "resnet18": (69.84, 70.42, 70.24, 70.02),
                "resnet50": (75.77, 76.41, 76.42, 76.38),
                "densenet121": (75.28, 75.72, 75.62, 75.24),
                "resnext101": (79.28, 79.56, 79.76, 79.67),
            },
        }.items()
        for network, figures in networks.items()
        for suffix, figure in zip(("", "-self", "-reg", "-lsr"), figures, strict=True)
    },
    "tf_kd/tiny_imagenet/resnet18": 63.44,
}

SPREAD = {
    "resnet18-rekd-mobilenetv2": 0.28,
    "resnet18-rekd-shufflenetv2": 0.32,
    "resnet50-rekd-mobilenetv2": 0.11,
    "resnet50-rekd-shufflenetv2": 0.39,
    "densenet121-rekd-mobilenetv2": 0.11,
    "densenet121-rekd-shufflenetv2": 0.05,
    "resnext29-rekd-mobilenetv2": 0.14,
    "resnext29-rekd-resnet18": 0.22,
    "mobilenetv2-dekd-resnet18": 0.35,
    "shufflenetv2-dekd-resnet18": 0.11,
    "mobilenetv2-dekd-resnet50": 0.23,
    "shufflenetv2-dekd-resnet50": 0.09,
    "resnet18-dekd-resnet50": 0.11,
    "mobilenetv2-dekd-resnext29": 0.27,
    "shufflenetv2-dekd-resnext29": 0.36,
    "resnet18-dekd-resnext29": 0.17,
}
"""Standard deviations printed with figures on CIFAR-100."""

DEFECTIVE = {"resnet18": (0, 15.48), "resnet50": (50, 45.82), "resnext29": (50, 51.94)}
"""De-KD's teachers: the epoch they were taken after, and what they were worth."""

SELF = {
    "mobilenetv2": (0.95, 20, 1),
    "shufflenetv2": (0.95, 20, 1),
    "resnet18": (0.95, 6, 50),
    "googlenet": (0.4, 20, 50),
    "densenet121": (0.9, 20, 50),
    "resnext29": (0.9, 20, 100),
}
"""Alpha, temperature and multiplier of Tf-KD_self and DR-KD, where the public settings are whole."""
