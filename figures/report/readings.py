"""How the paper was read where it leaves something open, and why."""

from __future__ import annotations

from figures.protocols import ADDING_LEARNING_RATE, IMAGE_LEARNING_RATE, PROTOCOLS

_PAPER = PROTOCOLS["paper"].adding["iterations_per_epoch"]
_CPU = PROTOCOLS["cpu"].adding["iterations_per_epoch"]

READINGS = f"""\
- **RMS of the adding problem.** Section 2.2 names a root-mean-square loss and all results are called RMS. It is read as
  written: the loss is the root of the mean square error of a batch, and the metric the root of the mean square error of
  the test set. Were the paper's numbers mean squares, the threshold of 0.05 would be an RMS of 0.22, and the smallest,
  1.0e-6, one of 1.0e-3; nothing in the text says so.
- **Epochs of the adding problem.** The paper trains 150 but does not say how many batches one has. Table 1 counts up to
  4.1e5 iterations on ADD800, so there must be at least 2734; the protocol `paper` takes {_PAPER}, `cpu` {_CPU}. Batches
  are generated afresh.
- **Colour classes of Fig. B.1.** The caption gives the same r to critical and weakly supercritical networks (1.0025),
  and 0.995 to both critical and strongly subcritical ones. The four classes of Fig. 2 are taken: 0.95, 0.995, 1.0025
  and 1.01.
- **Eq. (17).** The interval is printed as U(r_0 delta_r/2, r_0 + delta_r/2); a minus sign is missing, as r_0 is called
  the base line and delta_r/2 is compared with the distance to the edge of chaos. Entries are drawn from
  U(r_0 - delta_r/2, r_0 + delta_r/2).
- **Learning rates.** Only 0.1 and 0.01 on ADD100 are named (Fig. B.2). On the adding problem
  {ADDING_LEARNING_RATE:g} is used, the stable one. On sMNIST and psMNIST {IMAGE_LEARNING_RATE:g} is used: of 0.02, 0.1,
  0.5 and 2 (scalar residual, r = 0.995, one epoch of sMNIST) it learned best. As it is the smallest
  of those tried, a smaller one may be better still. It is too large for networks with scalar residuals r > 1: on
  sMNIST, r = 1.0025 learns at a tenth of it (Fig. 2, `smaller_learning_rate`) but not at it, and claims about learning
  are judged at both. All other trainings on sMNIST and psMNIST use {IMAGE_LEARNING_RATE:g} alone, also where a smaller
  rate would suit the network better: what is said of r > 1 there holds for that rate.
- **Efficiency within an epoch.** Table 1 reports 200 iterations to MP on sMNIST, less than an epoch, so the test metric
  is measured more often until MP is reached.
- **The best homogeneous network of Table 1** is not named. Taken are a rotation by 2 pi/28 with r = 1 on the data sets,
  as Fig. 4 has its peak there, and the scalar residual r = 0.995 on the adding problem.
- **Elman networks of Table 2.** Neither clipping norm nor the residual of Elman_wc is stated. The norm is 1, and
  Elman_wc has the informed residual and coupling of WCRNN_best.
- **"fail" in Table 2** is not defined. Here a network fails if its best RMS is not 5 % below that of answering 1.
- **Permutation of psMNIST** is not published; ours is fixed, and drawn from a seed.
- **sCIFAR10** has no training protocol in the paper; it is trained as sMNIST is."""
