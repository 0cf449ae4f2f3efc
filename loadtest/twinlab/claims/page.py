"""The HTML page."""
def render(judged, sources, run, flags):
    return ""
