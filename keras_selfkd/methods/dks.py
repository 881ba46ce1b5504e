"""DKS: branches and the student teach each other, each pair both ways."""

import itertools

import keras

from keras_selfkd import networks
from keras_selfkd.arguments import check_boolean, check_number, check_weight
from keras_selfkd.losses import soft_label
from keras_selfkd.methods.branched import Branched


@keras.saving.register_keras_serializable(package="keras_selfkd")
class DKS(Branched):
    """Dynamic knowledge synergy: deep supervision whose branches learn from each other.

    Branches on all taps but the last repeat the student's own remaining layers with
    weights of their own. All learn the labels, and each what every other one says:

    `sum_k CE(y, z_k) + sum_{o != p} KL_1(sg[z_p] || z_o)`, the student one of the `k`.

    With `soft_label_weight=0` this is **deep supervision**, the ablation that every
    method with branches owes. `model.exits()` are the student up to each branch.

    Args:
        branch_task_weight: Float, `Ramp` or schedule, weight of the branches' labels.
            Defaults to 1, the paper's.
        soft_label_weight: Float, `Ramp` or schedule, weight of the pairs' divergences.
            Defaults to 1, the paper's.
        temperature: Float above 0, of the soft labels. Defaults to 1, the paper's.
        copied_branches: Boolean, whether branches start with the weights of the layers
            that they repeat, for a student that is trained already. Defaults to
            `False`.
        mixing: `Mixup` or `CutMix`, or `None`.

    Raises:
        ValueError: for an argument of another type or out of range, or, on a student,
            for taps that do not lead to its logits.

    Example:

    >>> import keras_selfkd
    >>> deep_supervision = keras_selfkd.DKS(soft_label_weight=0)
    >>> deep_supervision.loss_weights
    {'task': 1.0, 'branch_task': 1.0}

    References:
        Sun et al., "Deeply-supervised Knowledge Synergy", CVPR 2019,
        https://arxiv.org/abs/1906.00675; deep supervision: Lee et al.,
        "Deeply-Supervised Nets", AISTATS 2015, https://arxiv.org/abs/1409.5185
    """

    terms = ("task", "branch_task", "soft_label")

    def __init__(
        self,
        *,
        branch_task_weight=1.0,
        soft_label_weight=1.0,
        temperature=1.0,
        copied_branches=False,
        **kwargs,
    ):
        super().__init__(**kwargs)
        check_weight(
            branch_task_weight=branch_task_weight, soft_label_weight=soft_label_weight
        )
        check_number(above=0, temperature=temperature)
        check_boolean(copied_branches=copied_branches)
        self.branch_task_weight = branch_task_weight
        self.soft_label_weight = soft_label_weight
        self.temperature = temperature
        self.copied_branches = copied_branches

    def attach(self, student, outputs):
        super().attach(student, outputs)
        self.grow(outputs, networks.branches, copied=self.copied_branches)

    def loss_terms(self, student, batch, supervise):
        if self.loss_weights.keys() == {"task"}:
            return {"task": supervise(batch["y"], student.logits)}
        *branches, logits = (z for _, z in self.branch_outputs(student))
        pairs = itertools.permutations([*branches, logits], 2)
        terms = {
            "task": lambda: supervise(batch["y"], logits),
            "branch_task": lambda: sum(supervise(batch["y"], z) for z in branches),
            "soft_label": lambda: sum(
                soft_label(teacher, z, self.temperature, self.multi_label)
                for teacher, z in pairs
            ),
        }
        return {name: terms[name]() for name in self.loss_weights}
