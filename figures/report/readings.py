"""Readings of the paper where it leaves something open, with reasons."""

from __future__ import annotations

from figures.campaign.analyses import SAMPLES
from figures.campaign.rates import CHANCE
from figures.campaign.stage import ADDING_LOSS, ADDING_RATE, CENTRE, HELD_OUT, TESTED
from figures.campaign.stages import (
    ADDING_RATES,
    COMMON_RATE,
    COUPLING_RATES,
    EPOCHS,
    FEWER_IMAGE_RATES,
    IMAGE_RATES,
    INFORMED_ADDING_RATE,
    LSTM_RATES,
    MORE_EPOCHS,
    PILOT_EPOCHS,
)


def _grid(rates: tuple[float, ...]) -> str:
    return ", ".join(f"{rate:g}" for rate in rates)


READINGS = f"""\
What is learnt:

- **Loss of the adding problem.** Sections 2.2 and 4 name a root-mean-square loss. Its gradient does not shrink with
  the error, so that SGD at a constant rate stalls at an error in proportion to the rate; the errors of Table 1 are
  out of reach, and those of 1e-6 and 1e-10 in Table 2 are near or below what float32 resolves as a root mean square.
  Both readings are trained (`adding_losses`); mean squares come nearer to the numbers of Table 1 on ADD100. So they
  are the loss of the presets, and all other stages train on and report the {ADDING_LOSS}.
- **Minimal performance of the adding problem** is 0.05 in the measure that is trained. A mean square of 0.05 is an RMS
  of 0.22.
- **Epochs of the adding problem.** The paper trains 150 but does not say how many batches one has. Table 1 counts up to
  4.1e5 iterations on ADD800, so there must be at least 2734. Ours have 1000. Batches are generated afresh.
- **Learning rates.** Only 0.1 and 0.01 on ADD100 are named (Fig. B.2). Rates are chosen by one instance, with seed 0,
  as the best of a stated grid. On images they are judged on {HELD_OUT:,} held-out training images after
  {PILOT_EPOCHS} epochs; after one for `smnist_strength`, `gauss_newton`, `size_range`, `batch_range` and `table2`;
  and after ten for `lstm`. The grids are {_grid(IMAGE_RATES)} for linear residuals against r, {_grid(COUPLING_RATES)}
  against gamma, {_grid(LSTM_RATES)} for `lstm`, and {_grid(FEWER_IMAGE_RATES)} for all others. Where all rates end
  near chance, with an accuracy of at most {100 * CHANCE:g} %, the best accuracy on the way decides. On ADD100 they
  are {_grid(ADDING_RATES)}, judged after 3,000 iterations by {TESTED:,} held-out sequences. No network had left
  chance by then, so this choice says little, and no comparison on the adding problem can fail by it. ADD200 has the
  rates of ADD100. Informed networks there have {INFORMED_ADDING_RATE:g}, the better one of two on the test sequences
  of seed 0. Stages without a choice have {COMMON_RATE:g} on images, and `adding_losses` has {ADDING_RATE:g}.
  Schedules, Adam and weight decay are not used.
- **Best r on images.** Section 4.1 says that supercritical networks were better on MNIST, and that weakly subcritical
  ones performed best overall. Both are judged; on images at most one can hold.
- **Test images.** The accuracy is that of {TESTED:,} of the 10,000 test images, one random choice for all networks.
- **Last batch.** 60,000 images are 468 batches of 128 and one of 96, which is trained on, too.
- **Efficiency within an epoch.** Table 1 reports 200 iterations to MP on sMNIST, less than an epoch, so the test metric
  is measured more often until MP is reached.
- **Permutation of psMNIST** is not published; ours is fixed, and drawn from a seed.
- **sCIFAR10** has no training protocol in the paper, and no stage trains it. Grey values are ITU-R 601 luma over 255.

Networks:

- **Two bias vectors.** Section 3 says that weights include trainable bias terms. W_xx and W_sx have one each, as
  `torch.nn.Linear` has; they only act as a sum, so that it learns at twice the rate.
- **Initial state** is 0.
- **Angle of a pair.** Section 4.3 draws phi_i for each network unit. A rotation needs two units, so that one is drawn
  for each pair.
- **Informed residuals are not normal.** They are a rotation times diag(r), and T diag(r) does not commute with its
  transpose unless both r of a pair are equal. Section 5 says that only normal matrices were used.
- **Eq. (17).** The interval is printed as U(r_0 delta_r/2, r_0 + delta_r/2). A minus sign is missing, as r_0 is called
  the base line and delta_r/2 is compared with the distance to the edge of chaos. Entries are drawn from
  U(r_0 - delta_r/2, r_0 + delta_r/2), with r_0 = {CENTRE:g} as in Fig. 5.
- **Colour classes of Fig. B.1.** The caption gives the same r to critical and weakly supercritical networks (1.0025),
  and 0.995 to both critical and strongly subcritical ones. The four classes of Fig. 2 are taken: 0.95, 0.995, 1.0025
  and 1.01.
- **The best homogeneous network of Table 1** is not named. Candidates on images are the rotations of Fig. 4, at their
  own learning rates for {EPOCHS} epochs; a rotation by phi_c, and on psMNIST also one by half of it, r = 0.995 and
  r = 1, at the common rate for {MORE_EPOCHS} epochs. On the adding problem it is r = 0.995.
- **Elman_res+clip.** The residual stands outside of tanh, x + tanh(...), and gradients are clipped to a norm of 1; the
  paper states neither.
- **Elman_wc** has the informed residual and coupling of WCRNN_best.
- **WCRNN_no tanh** is eq. (11) with the identity for sigma, in training and in testing.
- **S4** is replaced by its diagonal variant S4D-Lin, and UR-LSTM has the size of the LSTM; Table 2 quotes much larger
  ones.
- **"fail" in Table 2** is not defined. Here a network fails if its best error is not 5 % below that of answering 1.

Analyses:

- **Lyapunov exponents** are those of Algorithm 1, by QR decompositions, along one test sequence. Where figures show the
  eigenvalues of the variational term over time, they are logarithms of its singular values over t, which spread more.
- **Hessians** are those of the recurrent weights W_xx with their bias, on which section 2.2 defines the learning
  dynamics. With all parameters, the nine leading eigenvectors of a subcritical network are almost those of the
  readout alone. The paper takes 1000 random test samples; ours are {SAMPLES} random ones, the same for all trained
  networks, and 64, 24 or 8 for untrained ones.
- **Change of curvature.** The largest and the median |eigenvalue| of those computed are judged together.
- **Effective learning rates.** (1 - eta lambda)^-1 after eq. (6) is taken as printed. With momentum 0.9, SGD is stable
  for eta lambda < 3.8, not 2.
- **Eq. (9)** as printed lacks the terms in which a layer's own parameters vary; see its claim.
- **Eq. (15)** prints grad_(f^t) L on both sides. On the right it must be grad_(f^D) L, as in eq. (10).
- **The remainders**, O(gamma) in eqs. (12) and (15) and O(gamma^3) in (14), are bounded for a fixed number of steps.
  Over T steps they can grow like (1 + gamma |S W| / r)^T, with S the diagonal matrix of the derivatives of tanh. Eq.
  (14) is stated at the point of convergence; here it is measured in untrained networks."""
