"""Fashion-MNIST, a small CNN: λ × learning rate under the five arms, on one machine.

Claim:
    λ helps at a low learning rate and hurts at a high one, as a larger learning rate would. If
    that is all it does, `class_term` carries the whole effect and `uniform_term` none of it.

Source:
    Becker and Risse, arXiv:2411.19640, appendix A.3, figure A.1 (λ × learning rate), asked of
    Fashion-MNIST and a small CNN instead of CIFAR-100 and a WideResNet-16-4.

Deviations:
    The paper shows this figure for CIFAR-100 only. Optimizer and schedule are the paper's (SGD
    with momentum, cosine, batch 256, no other regularization); its momentum and its number of
    random labels R could not be recovered and are 0.9 and 10 here. 30 epochs instead of 200.
    The full size takes hours on a CPU; a smaller one is, for example,
    ``--set train_samples=5000 --set num_epochs=10``.
"""

from rlp_sweeps.spaces import LogAxis, SearchSpace

SPACE = SearchSpace(
    claim="λ helps at a low learning rate and hurts at a high one, as a larger one would.",
    source="arXiv:2411.19640, figure A.1 (on Fashion-MNIST instead of CIFAR-100)",
    axes={
        "lr": LogAxis(low=0.003, high=0.3, num_points=5),
        "rlp_lambda": LogAxis(low=0.1, high=10.0, num_points=3, control=0.0),
    },
    arms=("control", "full", "class_term", "uniform_term", "sham"),
    num_seeds=5,
    fixed={
        "dataset": "fashion_mnist",
        "backbone": "small_cnn",
        "num_random_labels": 10,
        "optimizer": "sgd",
        "momentum": 0.9,
        "schedule": "cosine",
        "num_epochs": 30,
        "batch_size": 256,
        "eval_every": 5,
    },
)
