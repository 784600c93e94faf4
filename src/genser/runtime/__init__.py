"""Recognition without torch: models, recordings over time, live sound and what is written of them."""
