"""Finished classifiers of other packages ("peers"), scored on the same clips with the same metrics as genser."""
