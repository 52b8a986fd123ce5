"""How the two evidence heads are trained: from image labels and imitated defects."""
