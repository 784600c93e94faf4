"""Reports on evaluations and benches: JSON, Markdown, HTML, PNG pictures."""
