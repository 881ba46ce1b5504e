"""TFD: deep feature maps supervise shallow ones, and strong channels weak ones."""

import keras
from keras import ops

from keras_selfkd.arguments import check_number, check_weight, refuse_unless
from keras_selfkd.distributed.replicas import sum_over_replicas
from keras_selfkd.losses.features import at_least_float32, masked_mean
from keras_selfkd.method import Method
from keras_selfkd.pixels import mask_at, pooled_like, shares_of_pixels

MAPPINGS = ("first", "mean")


@keras.saving.register_keras_serializable(package="keras_selfkd")
class TFD(Method):
    """Teacher-free feature distillation: the student's own maps teach each other.

    `CE(y, z) + w alpha 1/n sum_{i<j} mean((pool(F_i) - sg[F_j'])^2) + w beta 1/m sum_i
    mean((top(F_i) - bottom(F_i))^2)`: `pool` averages the finer map to the coarser
    one's size, `F_j'` has as many channels as `F_i`, `top` and `bottom` are the halves
    of a map's channels, sorted by their strength in the batch, and `w` rises to 1 over
    the first `warm_up` of the training. No network is added and the step costs no more
    than plain training's.

    With `channel_mapping="mean"` the first term is the idea of SFR, in which several
    deep channels are averaged onto one shallow channel.

    Args:
        inter_weight: Float, `Ramp` or schedule, weight of the term between stages
            (alpha). Defaults to 0.005.
        intra_weight: Float, `Ramp` or schedule, weight of the term within a stage
            (beta). Defaults to 0.0004.
        channel_mapping: String, how a deeper map gets a shallower one's channels:
            `"first"` takes the first of them, `"mean"` means of neighbouring ones.
            Defaults to `"first"`.
        warm_up: Float in [0, 1], share of the training in which `w` rises. Defaults
            to 1/12, the paper's 20 of 240 epochs.
        mixing: `Mixup` or `CutMix`, or `None`.

    Raises:
        ValueError: for an argument of another type or out of range.

    Example:

    >>> import keras_selfkd
    >>> keras_selfkd.TFD(intra_weight=0).loss_weights
    {'task': 1.0, 'inter': 0.005}

    References:
        Li, "Self-Regulated Feature Learning via Teacher-free Feature Distillation",
        ECCV 2022, https://doi.org/10.1007/978-3-031-19809-0_20. SFR,
        https://arxiv.org/abs/2103.07350, was withdrawn: the idea, not its numbers.
        A channel's strength is its mean in maps of unit length, over the batch.
    """

    terms = ("task", "inter", "intra")
    minimum_taps = 2

    def __init__(
        self,
        *,
        inter_weight=0.005,
        intra_weight=0.0004,
        channel_mapping="first",
        warm_up=1 / 12,
        **kwargs,
    ):
        super().__init__(**kwargs)
        check_weight(inter_weight=inter_weight, intra_weight=intra_weight)
        check_number(at_least=0, warm_up=warm_up)
        known = channel_mapping in MAPPINGS
        names = " or ".join(map(repr, MAPPINGS))
        refuse_unless(known, "channel_mapping", names, channel_mapping)
        self.inter_weight = inter_weight
        self.intra_weight = intra_weight
        self.channel_mapping = channel_mapping
        self.warm_up = warm_up

    def attach(self, student, outputs):
        super().attach(student, outputs)
        thin = [tap.shape for tap in outputs.features if tap.shape[-1] < 2]
        if thin and "intra" in self.loss_weights:
            raise ValueError(
                "The channels of each tap are compared by halves, so there must be two."
                " Name other `taps=[...]`, or set `intra_weight=0`. Received: a tap "
                f"with shape {thin[0]}"
            )

    def loss_terms(self, student, batch, supervise):
        rising = warmed_up(batch["progress"], self.warm_up)
        terms = {
            "inter": lambda: between_stages(
                student.features, self.channel_mapping, batch["valid"]
            ),
            "intra": lambda: within_stages(student.features, batch["valid"]),
        }
        in_use = [name for name in terms if name in self.loss_weights]
        return {
            "task": supervise(batch["y"], student.logits),
            **{name: risen(terms[name](), rising) for name in in_use},
        }


def warmed_up(progress, warm_up):
    """1 after a share of the training, before that a straight line from 0."""
    if not warm_up:
        return 1.0
    return ops.minimum(ops.cast(progress, "float32") / warm_up, 1.0)


def risen(values, share):
    return values * ops.cast(share, values.dtype)


def between_stages(features, mapping, valid=None):
    """The mean over pairs of how far a finer map is from a coarser one, `(batch,)`."""
    distances = []
    for i, fine in enumerate(features):
        for coarse in features[i + 1 :]:
            target = ops.stop_gradient(with_channels(coarse, fine.shape[-1], mapping))
            given = pooled_like(fine, coarse)
            given = with_channels(given, target.shape[-1], mapping)
            difference = at_least_float32(given) - at_least_float32(target)
            distance = ops.mean(ops.square(difference), axis=-1)
            distances.append(masked_mean(distance, mask_at(valid, coarse)))
    return sum(distances) / len(distances)


def with_channels(maps, count, how):
    """A map's first channels, or means of neighbours; as it is where it has fewer."""
    own = maps.shape[-1]
    if own <= count:
        return maps
    if how == "first":
        return maps[..., :count]
    shares = ops.cast(shares_of_pixels(own, count), maps.dtype)
    return ops.matmul(maps, ops.transpose(shares))


def within_stages(features, valid=None):
    """The mean over stages of how far weak channels are from strong ones."""
    distances = []
    for maps in features:
        maps = at_least_float32(maps)
        half = maps.shape[-1] // 2
        order = ops.argsort(-channel_strength(maps, mask_at(valid, maps)))
        top, bottom = (
            ops.take(maps, rows, axis=-1) for rows in (order[:half], order[-half:])
        )
        distance = ops.mean(ops.square(top - bottom), axis=-1)
        distances.append(masked_mean(distance, mask_at(valid, maps)))
    return sum(distances) / len(distances)


def channel_strength(maps, mask=None):
    """Each channel's sum over the whole batch of maps of unit length, `(channels,)`."""
    maps = ops.stop_gradient(maps)
    if mask is not None:
        maps = ops.where(mask[..., None], maps, 0.0)
    norm = ops.sqrt(ops.sum(ops.square(maps), axis=(1, 2, 3), keepdims=True))
    return sum_over_replicas(ops.sum(maps / ops.maximum(norm, 1e-12), axis=(0, 1, 2)))
