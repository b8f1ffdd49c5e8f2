r"""Where does my network keep its memory?
======================================

A network that remembers three bits keeps them at fixed points: when no input comes, the state rests at one of eight
stable points, one for each memory. Between them lie saddles, whose unstable directions lead from one memory to
another. Here a GRU learns the task in a few seconds, and its points are found and drawn.

    python examples/fixed_points_of_a_memory.py
"""

# %%
# Train
# -----
# Each of three channels gets a pulse of +1 or -1 now and then. The network has to hold the sign of the last pulse of
# each channel.

import matplotlib.pyplot as plt
import numpy as np
import torch

import lyapkit

BITS, UNITS, STEPS, BATCH = 3, 24, 25, 64
generator = torch.Generator().manual_seed(0)


def pulses(batch: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return pulses (T, B, 3) and the bits to remember."""
    happens = torch.rand(STEPS, batch, BITS, generator=generator) < 0.2
    happens[0] = True
    signs = 2.0 * torch.randint(0, 2, happens.shape, generator=generator) - 1
    inputs, targets = happens * signs, happens * signs
    for step in range(1, STEPS):
        targets[step] = torch.where(happens[step], inputs[step], targets[step - 1])
    return inputs, targets


torch.manual_seed(0)
network, readout = torch.nn.GRU(BITS, UNITS), torch.nn.Linear(UNITS, BITS)
parameters = [*network.parameters(), *readout.parameters()]
optimizer = torch.optim.Adam(parameters, lr=1e-2)
schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 400)
for _ in range(400):
    inputs, targets = pulses(BATCH)
    loss = (readout(network(inputs)[0]) - targets).square().mean()
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(parameters, 1.0)
    optimizer.step()
    schedule.step()
print(f"mean squared error {float(loss.detach()):.3f}")

# %%
# Find the points
# ---------------
# The search starts at states that the network goes through, at zero input. All starts are searched at once, with exact
# Jacobians; equal ends are merged.

network, readout = network.double(), readout.double()
inputs, _ = pulses(BATCH)
run = lyapkit.states(network, inputs.double())
silence = torch.zeros(BITS, dtype=torch.float64)
points = lyapkit.fixed_points(network, silence, starts=run, rng=0, eigenvectors=1)
table = lyapkit.summary(points).round(3)
print(table[["value", "verdict", "unstable_dimensions", "starts"]])

# %%
# Read the memories
# -----------------
# The readout of each stable point says which bits it stands for.

stable = points.isel(fixed_point=np.flatnonzero(points.stable))
with torch.no_grad():
    bits = readout(torch.from_numpy(stable.state.values)).sign().int().tolist()
print(sorted(bits))

# %%
# Draw them
# ---------
# A: trajectories along their principal axes; stable points are filled, and red arrows are the unstable directions of
# saddles. B: eigenvalues of the Jacobian at all points. The unit circle separates what fades from what grows.

with plt.style.context("lyapkit.plots.paper"):
    _, (left, right) = plt.subplots(1, 2, figsize=(7, 3.2))
    lyapkit.plots.state_space(run, fixed_points=points, ax=left, lines=20, color="0.75")
    left.set_title("A", fontweight="bold")
    lyapkit.plots.jacobian_eigenvalues(points, ax=right)
    right.set_title("B", fontweight="bold")

# %%
# Is it true?
# -----------
# All eight memories are there, and the exponents of a run that rests at one are the logarithms of its eigenvalues.

assert len({tuple(each) for each in bits}) == len(bits) == 8
rest = torch.from_numpy(stable.state.values[:1])
spectrum = lyapkit.lyapunov_spectrum(
    network, silence.expand(300, BITS), initial_state=rest, k=1, transient=100
)
leading = np.hypot(stable.eigenvalue_real, stable.eigenvalue_imag)[0, 0]
assert abs(float(spectrum.lyapunov_exponent[0, 0]) - np.log(float(leading))) < 0.02
