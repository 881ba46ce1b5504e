"""BYOT: the student's end teaches branches on its earlier stages."""

import keras

from keras_selfkd import networks
from keras_selfkd.arguments import check_boolean, check_number, check_weight
from keras_selfkd.losses import soft_label
from keras_selfkd.losses.features import fitnet_hint
from keras_selfkd.methods.branched import Branched
from keras_selfkd.pixels import mask_at


@keras.saving.register_keras_serializable(package="keras_selfkd")
class BYOT(Branched):
    """Be your own teacher: shallow exits learn from the deepest one.

    Each tap but the last gets a branch of bottlenecks that ends in a map `F_i` like the
    student's last one, `F_n`, and in logits `z_i`. To the student's `CE(y, z_n)` comes
    for each branch

    `(1 - a) CE(y, z_i) + a KL_T(sg[z_n] || z_i) + b mean((F_i - sg[F_n])^2)`

    which trains the student's shallow layers, too. `model.exits()` are the student up
    to each branch.

    The released code differs: its soft labels lack `T^2` (here that is
    `soft_label_weight=0.3 / 9`), and the deepest branch has no feature loss
    (`last_feature=False`). Its numbers use AutoAugment throughout.

    Args:
        branch_task_weight: Float, `Ramp` or schedule, weight of the branches' labels
            (1 - a). Defaults to 0.7.
        soft_label_weight: Float, `Ramp` or schedule, weight of the soft labels (a).
            Defaults to 0.3; the paper's range from 0.1 to 0.3.
        feature_weight: Float, `Ramp` or schedule, weight of the feature loss (b).
            Defaults to 0.05.
        temperature: Float above 0, of the soft labels (T). Defaults to 3.
        last_feature: Boolean, whether the deepest branch has a feature loss, too.
            Defaults to `True`.
        mixing: `Mixup` or `CutMix`, or `None`.

    Raises:
        ValueError: for an argument of another type or out of range, or, on a student,
            for taps that do not lead to its logits.

    Example:

    >>> import keras_selfkd
    >>> keras_selfkd.BYOT(feature_weight=0).loss_weights
    {'task': 1.0, 'branch_task': 0.7, 'soft_label': 0.3}

    References:
        Zhang et al., "Be Your Own Teacher: Improve the Performance of Convolutional
        Neural Networks via Self Distillation", ICCV 2019,
        https://arxiv.org/abs/1905.08094
    """

    terms = ("task", "branch_task", "soft_label", "feature")

    def __init__(
        self,
        *,
        branch_task_weight=0.7,
        soft_label_weight=0.3,
        feature_weight=0.05,
        temperature=3.0,
        last_feature=True,
        **kwargs,
    ):
        super().__init__(**kwargs)
        check_weight(
            branch_task_weight=branch_task_weight,
            soft_label_weight=soft_label_weight,
            feature_weight=feature_weight,
        )
        check_number(above=0, temperature=temperature)
        check_boolean(last_feature=last_feature)
        self.branch_task_weight = branch_task_weight
        self.soft_label_weight = soft_label_weight
        self.feature_weight = feature_weight
        self.temperature = temperature
        self.last_feature = last_feature

    def attach(self, student, outputs):
        super().attach(student, outputs)
        self.grow(outputs, networks.bottleneck_branches)
        taught = len(self.branches) - (not self.last_feature)
        if "feature" in self.loss_weights and not taught:
            raise ValueError(
                "Without its last branch's no feature loss is left: pass "
                "feature_weight=0. Received: last_feature=False and taps for one branch"
            )

    def loss_terms(self, student, batch, supervise):
        if self.loss_weights.keys() == {"task"}:
            return {"task": supervise(batch["y"], student.logits)}
        *branches, (last, logits) = self.branch_outputs(student)
        mask = mask_at(batch["valid"], last)
        deepest = None if self.last_feature else self._by_depth[-1]
        taught = [branch for i, branch in enumerate(branches) if i != deepest]
        terms = {
            "task": lambda: supervise(batch["y"], logits),
            "branch_task": lambda: sum(supervise(batch["y"], z) for _, z in branches),
            "soft_label": lambda: sum(
                soft_label(logits, z, self.temperature, self.multi_label)
                for _, z in branches
            ),
            "feature": lambda: sum(fitnet_hint(last, f, mask) for f, _ in taught),
        }
        return {name: terms[name]() for name in self.loss_weights}
