"""Reports on evaluations and benches: JSON, Markdown, HTML, pictures."""
