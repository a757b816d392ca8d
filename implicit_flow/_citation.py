"""`citation`: what to cite, ready to paste."""

from ._version import __version__


def citation() -> str:
    """BibTeX of the library, and of the works that its results rest on.

    Returns:
        Entries to paste into a bibliography. The first is the library at the version that is
        installed; cite the others where you use what they gave: the question, the method of the
        engine, the solvers underneath.

    Example:
        >>> import implicit_flow as imf
        >>> print(imf.citation().splitlines()[0])
        @software{implicit_flow,
    """
    return _ENTRIES.replace("VERSION", __version__)


_ENTRIES = """\
@software{implicit_flow,
  title   = {implicit\\_flow: where gradient flow on a factorization goes as the initialization
             shrinks to zero},
  author  = {{The implicit\\_flow authors}},
  version = {VERSION},
  year    = {2026},
  license = {Apache-2.0}
}

@inproceedings{gunasekar2017implicit,
  title     = {Implicit Regularization in Matrix Factorization},
  author    = {Gunasekar, Suriya and Woodworth, Blake and Bhojanapalli, Srinadh and
               Neyshabur, Behnam and Srebro, Nathan},
  booktitle = {Advances in Neural Information Processing Systems},
  volume    = {30},
  year      = {2017},
  note      = {The question, and the conjecture}
}

@book{hairer1996stiff,
  title     = {Solving Ordinary Differential Equations {II}: Stiff and Differential-Algebraic
               Problems},
  author    = {Hairer, Ernst and Wanner, Gerhard},
  edition   = {2},
  publisher = {Springer},
  year      = {1996},
  note      = {Radau IIA, section IV.8}
}

@article{blanes2006commutator,
  title   = {Fourth- and Sixth-Order Commutator-Free {Magnus} Integrators for Linear and
             Non-Linear Dynamical Systems},
  author  = {Blanes, Sergio and Moan, Per Christian},
  journal = {Applied Numerical Mathematics},
  volume  = {56},
  number  = {12},
  pages   = {1519--1537},
  year    = {2006},
  note    = {The propagator of the factor}
}

@phdthesis{kidger2021on,
  title  = {On Neural Differential Equations},
  author = {Kidger, Patrick},
  school = {University of Oxford},
  year   = {2021},
  note   = {Diffrax, whose solvers serve every other flow}
}
"""
