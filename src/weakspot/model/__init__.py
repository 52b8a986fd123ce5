"""The network, its pre-trained weights, its training module and the bundle it is shipped in."""
