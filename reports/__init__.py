"""Reports: what the warehouse holds, as Markdown with figures and as plain text for a mail.

``questions`` asks the warehouse, ``case`` holds the answers for one capture, ``findings`` says them in sentences,
``tables`` and ``figures`` show them, ``build`` and ``mail`` put them together.
"""
