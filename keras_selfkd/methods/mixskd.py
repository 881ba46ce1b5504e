"""MixSKD: the views of a batch, clean and mixed, teach each other."""

from itertools import starmap

import keras
from keras import ops

from keras_selfkd import networks
from keras_selfkd.arguments import check_boolean, check_number, check_weight
from keras_selfkd.losses import features, soft_label
from keras_selfkd.methods.branched import Branched
from keras_selfkd.mixing import Mixup
from keras_selfkd.pixels import as_float, mask_at, resized_like


@keras.saving.register_keras_serializable(package="keras_selfkd")
class MixSKD(Branched):
    """Self-knowledge distillation from Mixup.

    Images `x` and mixed images `x~ = mix(x)`, `mix(v) = lam v + (1 - lam) v[pi]`, go
    through the student in one batch. Auxiliary branches on all taps but the last
    repeat the student's own remaining layers with weights of their own; with the
    student itself (branch K) each has a last map `F_k` and logits `z_k`. The
    self-teacher, a joint head `h`, reads all the last maps. What is said of the mixed
    images must agree with the mixture of what is said of the images:

    * `task`: `sum_k CE(y, z_k(x))`
    * `mixed_task`: `sum_k CE_mix(z_k(x~)) + CE_mix(h(mix(F))) + CE_mix(h(F(x~)))`
    * `feature`: `sum_k mean((mix(F_k(x)) - F_k(x~))^2)`
    * `discrimination`: binary cross-entropy of discriminators (128 hidden units) that
      tell the pooled `mix(F_k(x))` from `F_k(x~)`; the branches learn to deceive them
    * `soft_label`: `sum_{k<K} KL_T(z_k(x~) || mix(z_k(x)))` and the other way round
    * `teacher_soft_label`: `KL_T(h(F(x~)) || mix(z_K(x))) + KL_T(h(mix(F)) ||
      z_K(x~))`

    It is dear: of a ResNet-18 for 100 classes 42.6 million parameters are trained, not
    11.2, in 4.5 times the time and twice the memory of plain training. Warm the rate
    up: at 0.1 from the first step on a thin ResNet-18 stayed at chance.

    A mixed image counts with the sample weights of both its images, by their shares;
    a pixel where both are valid, in the mean over those valid in the image itself.

    Args:
        mixed_task_weight: Float or schedule. Like the next four 1 by default, the
            paper's.
        feature_weight: Float or schedule.
        discrimination_weight: Float or schedule.
        soft_label_weight: Float or schedule.
        teacher_soft_label_weight: Float or schedule.
        temperature: Float above 0, of the soft labels (T). Defaults to 3.
        adversarial: Boolean. `False` is what the paper's released code does: random
            discriminators, never trained, which the branches help. Defaults to `True`.
        copied_branches: Boolean, whether branches start with the weights of the layers
            that they repeat: of a trained student. Defaults to `False`.
        mixing: `Mixup`, or `None` for the paper's `Mixup(0.4)`; on ImageNet 0.2.

    Raises:
        ValueError: for another mixing, an argument of another type or out of range, or,
            on a student, for taps that do not lead to its logits.

    Example:

    >>> import keras_selfkd
    >>> method = keras_selfkd.MixSKD(feature_weight=0.5)
    >>> method.loss_weights["feature"], method.mixing.alpha
    (0.5, 0.4)

    References:
        Yang et al., "MixSKD: Self-Knowledge Distillation from Mixup for Image
        Recognition", ECCV 2022, https://arxiv.org/abs/2208.05768
    """

    terms = ("task", "mixed_task", "feature", "discrimination")
    terms += ("soft_label", "teacher_soft_label")
    exit_terms = ("task",)
    compares_views = True
    warmup_epochs = 5

    def __init__(
        self,
        *,
        mixed_task_weight=1.0,
        feature_weight=1.0,
        discrimination_weight=1.0,
        soft_label_weight=1.0,
        teacher_soft_label_weight=1.0,
        temperature=3.0,
        adversarial=True,
        copied_branches=False,
        mixing=None,
        **kwargs,
    ):
        super().__init__(mixing=Mixup(0.4) if mixing is None else mixing, **kwargs)
        if not isinstance(self.mixing, Mixup):
            raise ValueError(
                "MixSKD blends maps as it blends images: it needs `Mixup(...)`. "
                f"Received: mixing={mixing!r}"
            )
        check_weight(
            mixed_task_weight=mixed_task_weight,
            feature_weight=feature_weight,
            discrimination_weight=discrimination_weight,
            soft_label_weight=soft_label_weight,
            teacher_soft_label_weight=teacher_soft_label_weight,
        )
        check_number(above=0, temperature=temperature)
        check_boolean(adversarial=adversarial, copied_branches=copied_branches)
        self.mixed_task_weight = mixed_task_weight
        self.feature_weight = feature_weight
        self.discrimination_weight = discrimination_weight
        self.soft_label_weight = soft_label_weight
        self.teacher_soft_label_weight = teacher_soft_label_weight
        self.temperature = temperature
        self.adversarial = adversarial
        self.copied_branches = copied_branches

    def attach(self, student, outputs):
        super().attach(student, outputs)
        self.grow(outputs, networks.branches, copied=self.copied_branches)
        maps = [branch.outputs[0] for branch in self.branches]
        maps.append(outputs.features[self._last])
        self.joint_head = networks.joint_head(maps, outputs.logits)
        # Without its term a network has no gradient.
        self.joint_head.trainable = "mixed_task" in self.loss_weights
        self.discriminators = [
            networks.discriminator(tap.shape[-1], self.adversarial)
            for tap in maps
            if "discrimination" in self.loss_weights
        ]

    def prepare(self, batch):
        drawn = self.mixing.draw(ops.shape(batch["x"])[0])
        mixed = self.mixing.apply(batch, drawn)
        images = ops.concatenate([as_float(batch["x"]), mixed["x"]])
        return {**batch, "x": images, "drawn": drawn, "both_valid": mixed["valid"]}

    def loss_terms(self, student, batch, supervise):
        mix, inverse = batch["drawn"].blend, batch["drawn"].inverse()
        of_each_example = inverse.blend  # Its share of a mixture's loss, to weigh it.

        def mixed_task(logits):
            return inverse.blend_two(
                supervise(batch["y"], logits),
                supervise(batch["y"], ops.take(logits, inverse.order, axis=0)),
            )

        def teach(target, prediction):
            return of_each_example(self._soft_label(target, prediction, batch))

        maps, logits = self._branch_views(student, mix)
        of_mixture, of_mixed = self._joint_views(maps, student.logits)
        pairs = [(a, b, mask_at(batch["both_valid"], b)) for a, b in maps]
        *others, (clean, mixed) = logits
        all_of_mixed = [z for _, z in logits] + [of_mixture, of_mixed]
        terms = {
            "task": lambda: sum(supervise(batch["y"], z) for z, _ in logits),
            "mixed_task": lambda: sum(map(mixed_task, all_of_mixed)),
            "feature": lambda: of_each_example(mean_squares(pairs)),
            "discrimination": lambda: of_each_example(self._discrimination(pairs)),
            "soft_label": lambda: sum(
                teach(b, mix(a)) + teach(mix(a), b) for a, b in others
            ),
            "teacher_soft_label": lambda: (
                teach(of_mixed, mix(clean)) + teach(of_mixture, mixed)
            ),
        }
        return {name: terms[name]() for name in self.loss_weights}

    def _soft_label(self, target, prediction, batch):
        """Soft labels' loss, of pixels that are void in neither image."""
        loss = soft_label(target, prediction, self.temperature, self.multi_label)
        if len(loss.shape) == 3 and batch["both_valid"] is not None:
            loss = ops.where(batch["both_valid"], loss, 0.0)
        return loss

    def _branch_views(self, student, mix):
        """Pairs `(mix(F_k(x)), F_k(x~))` and pairs `(z_k(x), z_k(x~))`."""
        maps, logits = zip(*self.branch_outputs(student), strict=True)
        maps = [ops.split(one, 2) for one in maps]
        return [(mix(a), b) for a, b in maps], [ops.split(z, 2) for z in logits]

    def _joint_views(self, maps, logits):
        """The joint head's `h(mix(F))` and `h(F(x~))`."""
        views = self.joint_head([ops.concatenate(pair) for pair in maps])
        return ops.split(resized_like(views, logits), 2)

    def _discrimination(self, pairs):
        """Cross-entropy of telling each pair of maps apart, summed: `(batch,)`."""
        total = 0.0
        for network, (*pair, mask) in zip(self.discriminators, pairs, strict=True):
            for source, tap in enumerate(pair):
                logits = network(features.masked_mean(tap, mask))
                wrong = 1 - 2 * ops.one_hot(source, 2, dtype=logits.dtype)
                total += 0.5 * ops.mean(ops.softplus(wrong * logits), axis=-1)
        return total


def mean_squares(pairs):
    """The mean squared distances of pairs of maps, summed over the pairs."""
    return sum(starmap(features.mean_square_between, pairs))
