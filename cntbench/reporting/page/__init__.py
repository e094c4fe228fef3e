"""The report: one self-contained HTML file, whose figures Plotly draws in the browser.

``write.py`` assembles it: ``cntbench.reporting.sentences`` answers a reader's first questions,
``sections.py`` fills the tables of ``templates/``, and ``payload.py`` collects the numbers that
``script/`` draws.
"""
