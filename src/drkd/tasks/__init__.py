"""What is trained: classifiers, detectors, segmentation networks, one object each."""
