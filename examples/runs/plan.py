"""What a run is about to do, said before it starts, whatever was left to defaults."""

from examples.runs import methods, recipe, start
from keras_selfkd import ExampleMemory
from keras_selfkd.batch_norm import largest_momentum
from keras_selfkd.distributed.layers import batch_norms, layers_in

_NAMED_CLASSES = 10


def show(data, model):
    """Prints what a training will see and how it will train, a line for each thing.

    Args:
        data: `examples.data.prepared.Data`.
        model: `SelfDistillationModel` that is about to be trained.
    """
    lines = [*_of_data(data), *start.described(model.student, data.label_names)]
    lines += [*_of_recipe(data), *_of_averages(model.student, data)]
    if model.method.minimum_taps:
        lines.append(f"Distilled at the layers {', '.join(model.taps)} (--taps).")
    lines += _of_memory(model.method)
    print("", *lines, sep="\n")


def counted(number, what):
    """Returns `"1 epoch"`, `"2 epochs"`."""
    return f"{number:,} {what}{'s' * (number != 1)}"


def _of_data(data):
    named = ", ".join(data.label_names[:_NAMED_CLASSES])
    named += ", ..." * (data.classes > _NAMED_CLASSES)
    purposes = {
        "train": "to train on",
        "validation": "to watch after each epoch",
        "test": "to test on at the end",
    }
    counts = [f"{count:,} {purposes[name]}" for name, count in data.examples.items()]
    yield f"{data.name}, {data.classes} classes: {named}"
    kept = "best epoch's" if recipe.BEST_EPOCH.value else "last"
    yield f"Images: {', '.join(counts)}. The {kept} weights are kept."
    yield from data.notes


def _of_recipe(data):
    rate, weight_decay = recipe.rates()
    warmup = recipe.warmup_epochs()
    yield (
        f"{counted(recipe.epochs(), 'epoch')} of "
        f"{counted(data.steps_per_epoch, 'step')}, "
        f"{recipe.OPTIMIZER.value}, learning rate {rate:g} ({recipe.SCHEDULE.value}"
        f" schedule), weight decay {weight_decay:g}."
    )
    if warmup and recipe.WARMUP_EPOCHS.value is None:
        yield (
            f"The learning rate rises for {counted(warmup, 'epoch')}, as "
            f"{methods.METHOD.value} asks for; the baseline's, too (--warmup_epochs)."
        )


def _of_memory(method):
    memories = [one for one in layers_in(method) if isinstance(one, ExampleMemory)]
    if memories:
        size = sum(memory.nbytes for memory in memories) / 1e6
        yield (
            f"{method.name} remembers {size:,.1f} MB of {memories[0].examples:,} images"
            ", in each checkpoint, too."
        )


def _of_averages(student, data):
    momentum = largest_momentum(recipe.epochs() * data.steps_per_epoch)
    layers = batch_norms(student)
    limited = [layer for layer in layers if layer.momentum == momentum]
    if limited:
        yield (
            f"BatchNorm: momentum {momentum:.4g} in {len(limited)} layers, so that the "
            "averages span a tenth of the steps."
        )
