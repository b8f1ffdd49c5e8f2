r"""Do two networks compute alike?
==============================

Two networks that solve the same task need not solve it in the same way, and units cannot be compared one by one: those
of another seed are others. `lyapkit.compare` runs two networks on the same inputs and gives numbers with intervals: how
far apart the shapes of their trajectories are, how their exponents differ, and whether what they remember longest lies
along the same directions.

    python examples/compare_two_networks.py
"""

# %%
# Train
# -----
# Pulses of +1 and -1 come now and then. One task is to hold the sign of the last pulse, another to add up the pulses.
# Two seeds of a small GRU learn the first, a third GRU the second.

import matplotlib.pyplot as plt
import numpy as np
import torch

import lyapkit

UNITS, STEPS, BATCH = 12, 25, 64


def pulses(
    steps: int, batch: int, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return pulses (T, B, 1), the sign of the last one, and a leaky sum of all."""
    happens = torch.rand(steps, batch, 1, generator=generator) < 0.25
    happens[0] = True
    signs = 2.0 * torch.randint(0, 2, happens.shape, generator=generator) - 1
    inputs = happens * signs
    last, total = inputs.clone(), inputs.clone()
    for step in range(1, steps):
        last[step] = torch.where(happens[step], inputs[step], last[step - 1])
        total[step] = 0.9 * total[step - 1] + inputs[step]
    return inputs, last, total / 3


def train(seed: int, adds: bool) -> tuple[torch.nn.GRU, float]:
    """Train a GRU; return it in double precision, with its last error."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    network, readout = torch.nn.GRU(1, UNITS), torch.nn.Linear(UNITS, 1)
    parameters = [*network.parameters(), *readout.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 300)
    for _ in range(300):
        inputs, last, total = pulses(STEPS, BATCH, generator)
        error = readout(network(inputs)[0]) - (total if adds else last)
        loss = error.square().mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        schedule.step()
    return network.double(), float(loss.detach())


first, error_of_first = train(0, adds=False)
second, error_of_second = train(1, adds=False)
adder, error_of_adder = train(2, adds=True)
print(
    "mean squared errors:",
    *np.round([error_of_first, error_of_second, error_of_adder], 4),
)

# %%
# A copy in other coordinates
# ---------------------------
# A network whose state is turned by an orthogonal matrix Q computes the same, although none of its units does what a
# unit of the original does: y = Q x follows the map y' = Q f(Q' y). `lyapkit.as_map` takes any function of state and
# input.

turn = torch.linalg.qr(
    torch.randn(UNITS, UNITS, generator=torch.Generator().manual_seed(3)).double()
).Q
original = lyapkit.as_map(first)
turned = lyapkit.as_map(
    lambda y, s: original.step(y @ turn, s) @ turn.T,
    state=torch.zeros(UNITS).double(),
    input=torch.zeros(1).double(),
)

# %%
# Compare
# -------
# All run on the same sequences, which none has seen. `lyapkit.summary` lists the numbers with 95 % intervals, which
# come from the differences between sequences.

inputs = pulses(200, 16, torch.Generator().manual_seed(9))[0].double()
others = {"turned copy": turned, "other seed": second, "other task": adder}
found = {
    name: lyapkit.compare(first, other, inputs, transient=120, rng=0)
    for name, other in others.items()
}
for name, ds in found.items():
    print(f"\nfirst network and {name}")
    table = lyapkit.summary(ds)
    rows = ["exponent 1", "Procrustes distance", "angle of subspace 1"]
    print(table.loc[rows, ["value", "low", "high", "verdict"]].round(3).to_string())

# %%
# Draw them
# ---------
# A: differences of exponents; open markers are not told from 0. B: the distance of the shapes of the trajectories. C:
# the largest angle between the spans of the longest lived perturbations of both networks after alignment. Dashed is a
# right angle, which is about what random directions of many dimensions have. Crosses mark what is not determined.

with plt.style.context("lyapkit.plots.paper"):
    _, (left, middle, right) = plt.subplots(1, 3, figsize=(7, 2.6))
    lyapkit.plots.comparison(found, axes=(left, right))
    for place, ds in enumerate(found.values()):
        (dot,) = middle.plot(place, ds.procrustes_distance, "o")
        low, high = ds.procrustes_distance_low, ds.procrustes_distance_high
        middle.vlines(place, low, high, color=dot.get_color(), linewidth=0.8)
    middle.axhline(np.pi / 2, color="0.6", linestyle="--", linewidth=0.6)
    middle.set_xticks(range(len(found)), [name.replace(" ", "\n") for name in found])
    middle.margins(x=0.15)
    middle.set_ylim(right.get_ylim())
    middle.set_yticks([0, np.pi / 4, np.pi / 2], ["0", "π/4", "π/2"])
    middle.set_ylabel("Procrustes distance (rad)")
    for ax, title in ((left, "A"), (middle, "B"), (right, "C")):
        ax.set_title(title, fontweight="bold")

# %%
# What the numbers mean
# ---------------------
# The Procrustes distance is an angle between two shapes: what remains between two clouds of states that are centred,
# scaled to the same size, and turned into each other as well as possible (Williams et al., "Generalized shape metrics
# on neural representations", NeurIPS 2021). 0 is the same shape, pi/2 means that nothing fits. Its cosine is the
# correlation of the aligned states. It is a metric, so that many networks can be put on a map of distances.
#
# The interval says how well these sequences determine the distance of these two networks. It says nothing of other
# seeds: for a statement about a task, train several networks and compare all pairs.
#
# A small distance with different exponents means that both networks go through the same states, but forget
# perturbations at different rates. Where the table says *not settled*, two exponents are so close that the span of the
# leading vectors is not determined.

# %%
# Is it true?
# -----------
# The copy cannot be told from the original. Two seeds of a task differ, but less than two tasks do.

assert max(error_of_first, error_of_second, error_of_adder) < 0.1
copy, seed, task = found.values()
assert float(copy.procrustes_distance) < 1e-9
assert float(abs(copy.exponent_difference).max()) < 1e-6
assert float(copy.principal_angle.max()) < 1e-6
assert float(seed.procrustes_distance_low) > 0.01
assert float(seed.procrustes_distance_high) < float(task.procrustes_distance_low)
