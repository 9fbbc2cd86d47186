"""Triton kernels of `fused.py`: choose, sort by expert, two products of all experts.

A choice is a row and one of its k experts, numbered row by row. How many choices an
expert has is known on the device alone; a tile of a product finds its expert there.
What they share lies in ``work`` (int32): ``WIDTH`` ends of the experts, the choices
sorted by expert, and the counts of each block. ``WIDTH`` is E or more, a power of 2.
"""

import triton
import triton.language as tl


@triton.jit
def choose(
    logits,
    weights,
    chosen,
    rows,
    num_experts,
    K: tl.constexpr,
    BLOCK: tl.constexpr,
    WIDTH: tl.constexpr,
):
    """The ``K`` likeliest experts of each row and their weights, (rows, K) each.

    One expert's weight is its softmax over all, that of several over the chosen.
    """
    row = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    experts = tl.arange(0, WIDTH)
    here = (row < rows)[:, None] & (experts < num_experts)[None, :]
    place = row[:, None] * num_experts + experts[None, :]
    x = tl.load(logits + place, mask=here, other=-float("inf")).to(tl.float32)
    x = tl.where(row[:, None] < rows, x, 0.0)
    p = tl.exp(x - tl.max(x, axis=1)[:, None])  # (BLOCK, WIDTH)
    total = tl.sum(p, axis=1)
    if K > 1:
        total = tl.zeros_like(total)
        left = p
        for _ in tl.static_range(K):
            total += tl.max(left, axis=1)
            best = tl.argmax(left, axis=1)
            left = tl.where(experts[None, :] == best[:, None], -1.0, left)
    for choice in tl.static_range(K):
        best = tl.argmax(p, axis=1)
        place = row * K + choice
        tl.store(chosen + place, best.to(tl.int64), mask=row < rows)
        tl.store(weights + place, tl.max(p, axis=1) / total, mask=row < rows)
        p = tl.where(experts[None, :] == best[:, None], -1.0, p)


@triton.jit
def _of_block(chosen, choices, BLOCK: tl.constexpr, WIDTH: tl.constexpr):
    """Places of a block's choices, and which expert each of them is for."""
    places = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    expert = tl.load(chosen + places, mask=places < choices, other=WIDTH)
    return places, expert[:, None] == tl.arange(0, WIDTH)[None, :]  # (BLOCK, WIDTH)


@triton.jit
def count(chosen, work, choices, BLOCK: tl.constexpr, WIDTH: tl.constexpr):
    """Choices of each expert in each block."""
    _, mine = _of_block(chosen, choices, BLOCK, WIDTH)
    counts = work + WIDTH + choices + tl.program_id(0) * WIDTH
    tl.store(counts + tl.arange(0, WIDTH), tl.sum(mine.to(tl.int32), axis=0))


@triton.jit
def sort(
    chosen,
    work,
    loads,
    choices,
    blocks,
    SINGLE: tl.constexpr,
    BLOCK: tl.constexpr,
    WIDTH: tl.constexpr,
):
    """The choices by expert, stable; ends of the experts, and their ``loads`` (E,)."""
    block = tl.program_id(0)
    experts = tl.arange(0, WIDTH)
    places, mine = _of_block(chosen, choices, BLOCK, WIDTH)
    before = tl.zeros((WIDTH,), tl.int32)  # choices of each expert in earlier blocks
    if SINGLE:
        total = tl.sum(mine.to(tl.int32), axis=0)
    else:
        total = tl.zeros((WIDTH,), tl.int32)
        for other in range(blocks):
            of_other = tl.load(work + WIDTH + choices + other * WIDTH + experts)
            total += of_other
            before += tl.where(other < block, of_other, 0)
    end = tl.cumsum(total, axis=0)
    if block == 0:
        tl.store(work + experts, end)
        tl.store(loads + experts, total.to(tl.int64))
    rank = tl.cumsum(mine.to(tl.int32), axis=0) - 1  # among the expert's of this block
    first = (end - total + before)[None, :]
    target = tl.sum(tl.where(mine, first + rank, 0), axis=1)
    tl.store(work + WIDTH + target, places.to(tl.int32), mask=places < choices)


@triton.jit
def _tile(
    work,
    num_experts,
    columns,
    BM: tl.constexpr,
    BN: tl.constexpr,
    WIDTH: tl.constexpr,
):
    """Expert, first row, end of the expert's rows and first column of a tile.

    There are as many programs as tiles could be needed; the expert of one too many is
    -1.
    """
    per_row = tl.cdiv(columns, BN)
    tile = tl.program_id(0) // per_row
    experts = tl.arange(0, WIDTH)
    end = tl.load(work + experts)
    begin = tl.load(work + experts - 1, mask=experts > 0, other=0)
    last_tile = tl.cumsum((end - begin + BM - 1) // BM, axis=0)  # (WIDTH,)
    expert = tl.sum((last_tile <= tile).to(tl.int32), axis=0)
    first_tile = tl.sum(tl.where(experts == expert - 1, last_tile, 0), axis=0)
    row = tl.sum(tl.where(experts == expert, begin, 0), axis=0)
    stop = tl.sum(tl.where(experts == expert, end, 0), axis=0)
    row += (tile - first_tile) * BM
    column = (tl.program_id(0) % per_row) * BN
    return tl.where(expert < num_experts, expert, -1), row, stop, column


@triton.jit
def _product(
    a,
    a_mask,
    weight,
    columns,
    column_mask,
    depth,
    EVEN: tl.constexpr,
    BM: tl.constexpr,
    BN: tl.constexpr,
    BK: tl.constexpr,
):
    """``(BM, BN)`` in float32, of rows at ``a`` (BM,) and ``weight`` (O, depth)."""
    steps = tl.arange(0, BK)
    left = a[:, None] + steps[None, :]  # (BM, BK)
    right = weight + columns[None, :].to(tl.int64) * depth + steps[:, None]  # (BK, BN)
    # an address out of a table is not known to be aligned, and loads would be narrow
    left = tl.multiple_of(left, [16, 16])
    right = tl.multiple_of(right, [16, 16])
    acc = tl.zeros((BM, BN), tl.float32)
    for start in range(0, depth, BK):
        if EVEN:  # depth is a multiple of BK
            rows = tl.load(left, mask=a_mask[:, None], other=0.0)
            taken = tl.load(right, mask=column_mask[None, :], other=0.0)
        else:
            here = (start + steps) < depth
            rows = tl.load(left, mask=a_mask[:, None] & here[None, :], other=0.0)
            taken = tl.load(right, mask=column_mask[None, :] & here[:, None], other=0.0)
        acc = tl.dot(rows, taken, acc)
        left += BK
        right += BK
    return acc


@triton.jit
def first(
    x,
    index,
    table,
    work,
    hidden,
    size,
    hidden_size,
    stride,
    num_experts,
    ACTIVATION: tl.constexpr,
    INDEXED: tl.constexpr,
    K: tl.constexpr,
    WIDTH: tl.constexpr,
    EVEN: tl.constexpr,
    BM: tl.constexpr,
    BN: tl.constexpr,
    BK: tl.constexpr,
):
    """``hidden`` (choices, F), sorted by expert, from the rows of ``x`` (M, D)."""
    expert, row, stop, column = _tile(work, num_experts, hidden_size, BM, BN, WIDTH)
    if expert < 0:
        return
    rows = row + tl.arange(0, BM)
    columns = column + tl.arange(0, BN)
    row_mask = rows < stop
    column_mask = columns < hidden_size
    source = tl.load(work + WIDTH + rows, mask=row_mask, other=0) // K
    if INDEXED:
        source = tl.load(index + source, mask=row_mask, other=0)
    weight = tl.load(table + expert).to(x.dtype)
    bias = tl.load(table + num_experts + expert).to(x.dtype)
    a = x + source.to(tl.int64) * stride
    acc = _product(a, row_mask, weight, columns, column_mask, size, EVEN, BM, BN, BK)
    acc += tl.load(bias + columns, mask=column_mask, other=0.0).to(tl.float32)[None, :]
    if ACTIVATION == 1:
        acc = tl.maximum(acc, 0.0)
    if ACTIVATION == 2:
        acc = acc * tl.sigmoid(acc)
    target = hidden + rows[:, None].to(tl.int64) * hidden_size + columns[None, :]
    y = acc.to(hidden.dtype.element_ty)
    tl.store(target, y, mask=row_mask[:, None] & column_mask[None, :])


@triton.jit
def second(
    hidden,
    index,
    weights,
    table,
    work,
    out,
    hidden_size,
    size,
    num_experts,
    INDEXED: tl.constexpr,
    WEIGHTED: tl.constexpr,
    WIDTH: tl.constexpr,
    EVEN: tl.constexpr,
    BM: tl.constexpr,
    BN: tl.constexpr,
    BK: tl.constexpr,
):
    """``out`` (choices, D'), each output where its choice stands.

    ``INDEXED``: where its row stands in ``out`` (M, D'), for one expert a row.
    """
    expert, row, stop, column = _tile(work, num_experts, size, BM, BN, WIDTH)
    if expert < 0:
        return
    rows = row + tl.arange(0, BM)
    columns = column + tl.arange(0, BN)
    row_mask = rows < stop
    column_mask = columns < size
    weight = tl.load(table + 2 * num_experts + expert).to(hidden.dtype)
    bias = tl.load(table + 3 * num_experts + expert).to(hidden.dtype)
    a = hidden + rows.to(tl.int64) * hidden_size
    acc = _product(
        a, row_mask, weight, columns, column_mask, hidden_size, EVEN, BM, BN, BK
    )
    acc += tl.load(bias + columns, mask=column_mask, other=0.0).to(tl.float32)[None, :]
    place = tl.load(work + WIDTH + rows, mask=row_mask, other=0)
    if WEIGHTED:
        scale = tl.load(weights + place, mask=row_mask, other=0.0).to(tl.float32)
        acc *= scale[:, None]
    if INDEXED:
        place = tl.load(index + place, mask=row_mask, other=0)
    target = out + place[:, None].to(tl.int64) * size + columns[None, :]
    y = acc.to(out.dtype.element_ty)
    tl.store(target, y, mask=row_mask[:, None] & column_mask[None, :])
