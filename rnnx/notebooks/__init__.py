"""The functions of the notebooks that rnnx grew out of, as thin adapters over its cells.

Names, argument orders and result tuples are those that the notebooks import and use, batch first where they
are: ``from rnnx.notebooks.rnn_layers import *``. Every formula is the cells' own; what is here says which
array goes where. Functions run where their arrays are, write to none of them, and return arrays that are the
caller's own.

A cache serves any number of backward passes. The first one uses what the forward pass has kept; each further
one costs one more forward pass, of the arrays that were passed then, so these must not change in between.
"""
