"""The report: one HTML file that holds all it needs, figures drawn by Plotly in the browser.

``write.py`` puts it together: ``answers.py`` says what a reader asks first, ``sections.py`` fills
the tables of ``templates/``, ``payload.py`` gathers the numbers that ``script/`` draws, and
``packing.py`` makes them small.
"""
