"""Reports: what the warehouse holds, as Markdown with figures and as plain text for a mail.

``questions`` asks the warehouse and ``case`` holds the answers for one capture. Each module of ``sections`` words and
draws one section; ``tables`` and ``style`` show numbers; ``build`` and ``mail`` put it all together.
"""
