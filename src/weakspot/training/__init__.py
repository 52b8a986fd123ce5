"""From labelled images to a fitted model: data, features, classifier, evidence heads."""
