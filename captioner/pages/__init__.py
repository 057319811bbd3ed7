"""Self-contained HTML pages: templates, style and embedded pictures; the only code that needs jinja2."""
