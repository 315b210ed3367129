"""The merge methods, one page for each family.

Which page has which method:

====================  ==================================================================
page                  methods
====================  ==================================================================
``geometry``          linear, task_arithmetic, slerp, nuslerp, multislerp, karcher,
                      model_stock
``median``            geometric_median
``robust``            robust, centred_clip, nnm, monna
``krum``              krum, multi_krum
``sparse``            ties, dare_linear, dare_ties, della, della_linear, breadcrumbs,
                      breadcrumbs_ties, magnitude_prune; with ``core_`` before the name
                      the same in the joint core (``core_space``)
``sce``               sce, core_sce
``isotropic``         iso_c, tsv
``shared_a``          shared_a, shared_ties, shared_dare_linear, shared_dare_ties
====================  ==================================================================

What they are made of: ``masks`` (which entries of a delta stay), ``kth_largest`` (the
threshold for it), ``philox`` (chance), ``signs`` (sum, or elected sign), ``gram`` (inner
products of deltas), ``zero_weight`` (who has no weight is not there).
"""
