"""How good a model is: metrics, intervals, protocols, baselines, reports and plots."""
