"""What methods share in which a teacher's logits and maps teach the student."""

from keras_selfkd.arguments import check_number, check_weight
from keras_selfkd.losses import soft_label
from keras_selfkd.losses.features import check_feature_loss, default_weight
from keras_selfkd.method import Method
from keras_selfkd.networks.projections import projections
from keras_selfkd.pixels import mask_at, resized_like


class Distillation(Method):
    """`alpha KL_T(z_t || z_s) + beta sum_i D(T_i, F_i)`: a teacher's labels and maps.

    Args:
        soft_label_weight: Float, `Ramp` or schedule, weight of the soft labels (alpha).
        feature_weight: Float, `Ramp` or schedule, weight of the feature loss (beta), or
            `None` for the feature loss's own default.
        temperature: Float above 0, of the soft labels (T).
        feature_loss: Function `(target, prediction, mask=None)`, or a Layer (D).
        **kwargs: As for `Method`.
    """

    def __init__(
        self, *, soft_label_weight, feature_weight, temperature, feature_loss, **kwargs
    ):
        super().__init__(**kwargs)
        check_feature_loss(feature_loss)
        if feature_weight is None:
            feature_weight = default_weight(feature_loss)
        check_weight(soft_label_weight=soft_label_weight, feature_weight=feature_weight)
        check_number(above=0, temperature=temperature)
        self.soft_label_weight = soft_label_weight
        self.feature_weight = feature_weight
        self.temperature = temperature
        self.feature_loss = feature_loss

    def project(self, taps, targets):
        """Creates what brings the student's taps to a teacher's channels."""
        if "feature" in self.loss_weights:
            self.projections = projections(self.feature_loss, targets, taps)

    def distillation(self, logits, targets, student, batch):
        """The terms in which a teacher's logits and maps teach the student."""
        terms = {
            "soft_label": lambda: soft_label(
                logits, student.logits, self.temperature, self.multi_label
            ),
            "feature": lambda: feature_distance(
                self.feature_loss,
                targets,
                student.features,
                self.projections,
                batch["valid"],
            ),
        }
        return {name: terms[name]() for name in terms if name in self.loss_weights}


def feature_distance(feature_loss, targets, taps, projections, valid):
    """The sum of a feature loss over the levels, `(batch,)`.

    Args:
        feature_loss: Function or Layer `(target, prediction, mask=None)`.
        targets: List of a teacher's maps, resized bilinearly where a tap has another
            size.
        taps: List of the student's maps.
        projections: List of networks for the taps.
        valid: Mask `(batch, height, width)` of the pixels that are not void, or
            `None`.
    """
    return sum(
        feature_loss(
            resized_like(target, tap),
            project(tap, training=True),
            mask=mask_at(valid, tap),
        )
        for target, tap, project in zip(targets, taps, projections, strict=True)
    )
