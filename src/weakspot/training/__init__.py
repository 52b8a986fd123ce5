"""From labelled images to a trained model: data, features, classifier, evidence heads."""
