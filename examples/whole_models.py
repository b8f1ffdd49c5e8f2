r"""Take a whole model: encoder, core and head
==========================================

Most networks are more than their recurrent layer: tokens are embedded before it, and a head reads it out. Name the
parts, and every analysis takes the inputs of the model itself, such as tokens in a ``batch_first`` layout.

    python examples/whole_models.py
"""

# %%
# A model that learns
# -------------------
# The first token of a sequence is a letter; nine tokens without meaning follow. The model has to say which letter it
# was: an embedding, an LSTM that takes (B, T, M), and a linear head on its last output.

import matplotlib.pyplot as plt
import numpy as np
import torch
from torch.nn.functional import cross_entropy

import lyapkit

LETTERS, NOISE, STEPS, BATCH = 4, 6, 10, 64
generator = torch.Generator().manual_seed(0)


class Recall(torch.nn.Module):
    """From tokens (B, T) to the scores of the letters, (B, 4)."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = torch.nn.Embedding(LETTERS + NOISE, 6)
        self.lstm = torch.nn.LSTM(6, 16, batch_first=True)
        self.head = torch.nn.Linear(16, LETTERS)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Read the last output."""
        return self.head(self.lstm(self.embedding(tokens))[0][:, -1])


def examples(batch: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return tokens (B, T) and the letters at their beginning (B,)."""
    letters = torch.randint(LETTERS, (batch,), generator=generator)
    noise = torch.randint(NOISE, (batch, STEPS - 1), generator=generator) + LETTERS
    return torch.cat((letters.unsqueeze(1), noise), dim=1), letters


torch.manual_seed(0)
model = Recall()
optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
iterations, loss = 0, torch.tensor(1.0)
while loss > 0.01 and iterations < 5000:
    tokens, letters = examples(BATCH)
    loss = cross_entropy(model(tokens), letters)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    iterations += 1
model = model.double()
tokens, letters = examples(BATCH)
right = (model(tokens).argmax(1) == letters).double().mean()
print(f"{100 * float(right):.0f} % right after {iterations} iterations")

# %%
# Name the parts
# --------------
# ``core`` is the recurrent part, ``encoder`` what comes before it and ``readout`` what comes after. Each is the name of
# a part of the model, or any function. The map prints what a step reads.

network = lyapkit.as_map(model, core="lstm", encoder="embedding", readout="head")
print(network)

# %%
# Every analysis takes tokens
# ---------------------------
# `lyapkit.analyze` does four analyses at once. Loss and targets are those of the training; encoder, head and layout
# come from the model. Trajectories go by the letters that they have to remember.

few = torch.stack([tokens[letters == letter][0] for letter in range(LETTERS)])
names = [f"letter {letter}" for letter in "ABCD"]
tree = lyapkit.analyze(
    network,
    few,
    torch.arange(LETTERS),
    cross_entropy,
    trajectory_names=names,
    hessian_k=10,
    rng=0,
)
spectrum, gradients = tree["lyapunov_spectrum"], tree["gradient_propagation"]
print(lyapkit.summary(gradients)[["value", "error", "verdict"]].round(3))

# %%
# Draw them
# ---------
# A: the states of many sequences along their principal axes, which keep the letters apart. B: the leading finite-time
# exponent along one sequence of each letter, which needs no long run (dashed: no growth): a perturbation of the first
# state neither grows nor fades much, which is how the letter survives. C: gradients of the loss, back to the first
# step, where the letter came in.

order = torch.argsort(letters)[:: BATCH // 16]
run = lyapkit.states(network, tokens[order])
run = run.assign_coords(trajectory=[names[letter] for letter in letters[order]])
with plt.style.context("lyapkit.plots.paper"):
    _, axes = plt.subplots(1, 3, figsize=(10, 3.2))
    lyapkit.plots.state_space(run, ax=axes[0])
    term = tree["variational_term"]
    lyapkit.plots.variational_term(term, ax=axes[1], lines=1, reference=[0])
    lyapkit.plots.gradient_propagation(gradients, ax=axes[2])
    for ax in axes[1:]:
        ax.get_legend().remove()  # the colours are those of A
    for ax, title in zip(axes, "ABC", strict=True):
        ax.set_title(title, fontweight="bold")

# %%
# Is it true?
# -----------
# The exponents are those of the layer alone under embedded tokens. The curvature is that of the model itself, with
# respect to the parameters of core and head. The gradient of the state after the letter is the one that
# backpropagation finds.

embedded = model.embedding(few).detach()
by_hand = lyapkit.lyapunov_spectrum(model.lstm, embedded)
assert np.array_equal(spectrum.lyapunov_exponent, by_hand.lyapunov_exponent)
whole = lyapkit.hessian_spectrum(
    model,
    (few, torch.arange(LETTERS)),
    cross_entropy,
    k=10,
    parameters=["lstm.*", "head.*"],
    rng=0,
)
assert np.allclose(tree["hessian_spectrum"].eigenvalue, whole.eigenvalue, rtol=1e-4)
outputs, (h, c) = model.lstm(embedded[:, :1])
h, c = h.detach().requires_grad_(), c.detach().requires_grad_()
outputs, _ = model.lstm(embedded[:, 1:], (h, c))
loss = cross_entropy(model.head(outputs[:, -1]), torch.arange(LETTERS))
first = torch.cat(torch.autograd.grad(loss, (h, c)), dim=-1)[0]
found = gradients.gradient_norm.sel(norm="2", step=1)
assert np.allclose(found, torch.linalg.vector_norm(first, dim=-1))
assert right > 0.95
