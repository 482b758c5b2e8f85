"""Reports: what the warehouse holds, as Markdown with figures and as plain text for a mail.

``questions`` asks the warehouse and ``case`` holds the answers for one capture. ``ranking`` is the table of
strategies, ``answers`` the questions of the thread, ``summary`` the first sentences of a page; each module of
``sections`` draws the figures of one page. ``tables`` and ``style`` show numbers; ``build`` and ``mail`` put it all
together.
"""
