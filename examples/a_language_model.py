r"""How stable is a language model that writes?
===========================================

A language model that writes reads its own tokens. How it chooses them decides what its Lyapunov exponents are: after
``argmax`` the choice has no derivative, and the exponents say how the state forgets while the text stays the same.
With ``softmax`` the model reads a mixture of tokens, the choice has a derivative, and the exponents are those of the
whole loop. Here a GRU learns to write in a few seconds, and both are measured.

    python examples/a_language_model.py
"""

# %%
# Train
# -----
# The text is a chain of little sentences, character by character.

import matplotlib.pyplot as plt
import numpy as np
import torch
from torch.nn.functional import cross_entropy

import lyapkit

generator = torch.Generator().manual_seed(0)
NOUNS, VERBS = ["cat", "dog", "bird", "fish"], ["sees", "hears", "likes"]


def sentence() -> str:
    """Return a sentence such as "the cat likes a bird. "."""
    one, other, verb = (
        int(torch.randint(n, (), generator=generator)) for n in (4, 4, 3)
    )
    return f"the {NOUNS[one]} {VERBS[verb]} a {NOUNS[other]}. "


text = "".join(sentence() for _ in range(400))
letters = sorted(set(text))
tokens = torch.tensor([letters.index(letter) for letter in text])


class Writer(torch.nn.Module):
    """From tokens (B, T) to the scores of the next ones, (B, T, V)."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = torch.nn.Embedding(len(letters), 8)
        self.gru = torch.nn.GRU(8, 40, batch_first=True)
        self.head = torch.nn.Linear(40, len(letters))

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Score the next token after each."""
        return self.head(self.gru(self.embedding(tokens))[0])


torch.manual_seed(0)
model = Writer()
optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
for _ in range(250):
    begin = torch.randint(len(tokens) - 61, (24,), generator=generator)
    batch = torch.stack([tokens[b : b + 61] for b in begin.tolist()])
    loss = cross_entropy(model(batch[:, :-1]).flatten(0, 1), batch[:, 1:].flatten())
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
model = model.double().requires_grad_(False)
print(f"{float(loss.detach()):.3f} nats per character")

# %%
# Reading
# -------
# Under given text the exponents are conditional: they say how fast the model forgets the state that it began with. The
# map takes the tokens themselves (see `whole models <whole_models.html>`_).

network = lyapkit.as_map(model, core="gru", encoder="embedding", readout="head")
reading = lyapkit.lyapunov_spectrum(network, tokens[:1500], transient=100)

# %%
# Writing
# -------
# ``feedback=`` closes the loop: from the output of the GRU to its next input. Written with ``argmax``, the embedding of
# the likeliest token comes next; with ``softmax``, the mean of all embeddings by their probabilities, at a temperature.


def likeliest(output: torch.Tensor) -> torch.Tensor:
    """Return the embedding of the likeliest token."""
    return model.embedding(model.head(output).argmax(-1))


def mixture(temperature: float):
    """Return the feedback of the mean embedding."""

    def mean(output: torch.Tensor) -> torch.Tensor:
        chances = torch.softmax(model.head(output) / temperature, dim=-1)
        return chances @ model.embedding.weight

    return mean


def written(states: np.ndarray) -> str:
    """Return the likeliest letter after each state (T, N)."""
    return "".join(letters[i] for i in model.head(torch.from_numpy(states)).argmax(-1))


start = torch.from_numpy(
    lyapkit.states(network, tokens[:100]).state.values[:, -1]
)  # after some text
LOOPS = {"argmax": likeliest, "softmax": mixture(1.0), "cold softmax": mixture(0.2)}
run = {"initial_state": start, "steps": 1500, "transient": 300}
spectra = {"reading": reading}
for name, feedback in LOOPS.items():
    spectra[name] = lyapkit.lyapunov_spectrum(network, feedback=feedback, **run)
    path = lyapkit.states(network, feedback=feedback, **run).state.values[0]
    leading = float(spectra[name].lyapunov_exponent[0, 0])
    print(f"{name:>12}: {leading:+.4f}  ...{written(path[:60])}...")

# %%
# Two copies
# ----------
# Two copies of the model write side by side, one with its state moved by a hundred thousandth. The Jacobians of the
# loop foretell their distance.

STEPS = 15


def apart(feedback) -> tuple[np.ndarray, np.ndarray]:
    """Return distances of two copies after each step, and those by Jacobians."""
    move = torch.full_like(start, 1e-5)
    loop = {"feedback": feedback, "steps": STEPS}
    both = lyapkit.states(
        network, initial_state=torch.cat((start, start + move)), **loop
    )
    jacobians = lyapkit.jacobians(
        network, initial_state=start, eigenvalues=False, **loop
    ).jacobian.values[0]
    foretold, way = [], move[0].numpy()
    for jacobian in jacobians:
        way = jacobian @ way
        foretold.append(np.linalg.norm(way))
    return np.linalg.norm(np.diff(both.state.values, axis=0)[0], axis=-1), np.array(
        foretold
    )


copies = {name: apart(feedback) for name, feedback in LOOPS.items()}

# %%
# Draw them
# ---------
# A: the spectra. Reading and writing with ``argmax`` are the same map under other tokens; the mixture is another map,
# and forgets more slowly. B: the distance of the copies (points), and what the Jacobians foretell (lines).

with plt.style.context("lyapkit.plots.paper"):
    _, (left, right) = plt.subplots(1, 2, figsize=(8, 3.2))
    lyapkit.plots.lyapunov_spectrum(spectra, ax=left)
    left.set_title("A", fontweight="bold")
    steps = np.arange(1, STEPS + 1)
    right.semilogy([], [])  # the colour of reading, which has no copies
    for name, (measured, foretold) in copies.items():
        (points,) = right.semilogy(steps, measured, "o", markersize=3, label=name)
        right.semilogy(steps, foretold, color=points.get_color(), linewidth=0.8)
    right.set_xlabel("time step")
    right.set_ylabel("distance of two copies")
    right.legend()
    right.set_title("B", fontweight="bold")

# %%
# Is it true?
# -----------
# The points lie on the lines: Jacobians that do not contain the choice are right for ``argmax``, as long as both copies
# write the same letters. They say nothing of moves that are large enough to change a letter. And the exponents of that
# loop are those of the GRU that reads the text it has written.

for name, (measured, foretold) in copies.items():
    assert np.allclose(np.log(measured), np.log(foretold), atol=0.02), name
path = lyapkit.states(network, feedback=likeliest, **run).state.values
own_text = torch.tensor([letters.index(letter) for letter in written(path[0])])
again = torch.from_numpy(path[:, 0])
read = lyapkit.lyapunov_spectrum(network, own_text[:-1], initial_state=again)
wrote = lyapkit.lyapunov_spectrum(
    network, steps=len(own_text) - 1, initial_state=again, feedback=likeliest
)
difference = abs(read.lyapunov_exponent - wrote.lyapunov_exponent).max()
print(f"reading its own text, the exponents differ by {float(difference):.1e}")
assert difference < 1e-6
