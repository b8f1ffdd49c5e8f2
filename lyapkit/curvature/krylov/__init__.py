"""Krylov methods: eigenpairs by block Lanczos, and distributions of eigenvalues by quadrature."""
