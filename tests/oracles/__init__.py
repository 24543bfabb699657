"""Values and gradients derived by hand, in numpy and float64, to hold the package against."""
