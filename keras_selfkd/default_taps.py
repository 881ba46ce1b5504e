"""Which feature maps of a student are its taps, unless it is told."""

from keras_selfkd.graph import area, clean_cuts, clean_cuts_from, is_map, used_calls

MAXIMUM_TAPS = 4


def default_taps(calls, logits):
    """Paths of the default taps, fine to coarse: the end of each resolution.

    Class students are cut where every path from input to output passes through
    one map, pixel students (dense logits) going up from their smallest map.
    """
    calls = used_calls(calls, logits)
    head = max((i for i, call in enumerate(calls) if call.has_weights), default=0)
    chosen = upward_taps(calls, head) if len(logits.shape) == 4 else []
    if len(chosen) < 2:
        chosen = downward_taps(calls, head)
    return [call.path for call in chosen[-MAXIMUM_TAPS:]]


def downward_taps(calls, head):
    """The end of each resolution on the way down, before the call `head`."""
    kernels = [i for i, call in enumerate(calls) if call.has_kernel]
    counted = {id(call.output) for call in calls[min(kernels, default=head) : head]}
    stages = []
    for cut in clean_cuts(calls):
        if id(cut.output) not in counted:
            continue
        if not stages or area(cut.output) < 0.6 * area(stages[-1][0].output):
            stages.append([cut])
        elif area(cut.output) <= area(stages[-1][-1].output):
            stages[-1].append(cut)
    return [stage_end(stage) for stage in stages[:-1]] + [s[-1] for s in stages[-1:]]


def stage_end(cuts):
    """The last joining map, carried on through same-shape layers without kernels."""
    joins = [i for i, cut in enumerate(cuts) if len(set(map(id, cut.inputs))) > 1]
    if not joins:
        return cuts[-1]
    end = cuts[joins[-1]]
    for cut in cuts[joins[-1] + 1 :]:
        follows = [id(tensor) for tensor in cut.inputs] == [id(end.output)]
        if cut.has_kernel or not follows or cut.output.shape != end.output.shape:
            break
        end = cut
    return end


def upward_taps(calls, head):
    """The end of each resolution on the way up from the smallest map."""
    sizes = {
        i: area(call.output)
        for i, call in enumerate(calls[:head])
        if is_map(call.output)
    }
    if not sizes:
        return []
    smallest = max(i for i in sizes if sizes[i] == min(sizes.values()))
    counted = {id(call.output) for call in calls[smallest:head]}
    stages = []
    for cut in clean_cuts_from(calls[smallest], calls[smallest + 1 :]):
        if id(cut.output) not in counted:
            continue
        last = area(stages[-1].output) if stages else 0
        if area(cut.output) > 1.6 * last:
            stages.append(cut)
        elif area(cut.output) >= last:
            stages[-1] = cut
    return stages[::-1]
